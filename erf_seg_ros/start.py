"""What both nodes do as they start: rclpy, and the parameters that nobody will read."""

from __future__ import annotations

import difflib

import rclpy
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from erf_seg_core.errors import first_line

from .cloud_parameters import CLOUD_SPECS
from .parameter_specs import SPECS

_OF_EITHER_NODE = {spec.name for spec in (*SPECS, *CLOUD_SPECS)}
_ALIKE = 0.7  # difflib's ratio: model and modle have 0.8; others' names in a shared file have less


def init_ros(args: list[str] | None, name: str) -> bool:
    """Start rclpy without signal handlers of its own.

    False, and the reason in the log, for arguments that ROS cannot use: a parameter file that is
    not there, a remapping to an impossible name.
    """
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # RCLError and its kin have no public names
        get_logger(name).fatal(f"cannot start: {first_line(error)}")
        return False
    return True


def warn_of_misspelled_parameters(node: Node) -> None:
    """Warn of start parameters that the node does not have, but nearly: ROS ignores them.

    Those of the other node are no mistake: a file for all nodes (`/**`) may give both theirs.
    """
    known = [*node.get_parameters_by_prefix(""), "use_sim_time"]
    # rclpy has no public way to them.
    for name in getattr(node, "_parameter_overrides", {}):
        if name in known or name in _OF_EITHER_NODE:
            continue
        if alike := difflib.get_close_matches(name, known, 1, _ALIKE):
            node.get_logger().warning(
                f"there is no parameter '{name}'; was '{alike[0]}' meant? It is ignored"
            )
