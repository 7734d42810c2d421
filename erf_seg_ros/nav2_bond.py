"""The bond with which a Nav2 lifecycle manager notices that a node died; where bondpy is installed.

As in nav2_util's LifecycleNode (createBond, destroyBond): topic `bond`, the node's name as id, from
activation to deactivation. The manager waits for it unless its `bond_timeout` is 0.
"""

from __future__ import annotations

from rclpy.node import Node

try:
    from bondpy.bondpy import Bond
except ImportError:  # not among the ROS 2 wheels on PyPI; part of every distribution's apt
    Bond = None

TOPIC = "bond"

HEARTBEAT_TIMEOUT_S = 4.0
"""As in nav2_util: the manager gives up after so long without a heartbeat."""


class Nav2Bond:
    """One end of a bond, from construction to `end`."""

    def __init__(self, node: Node, heartbeat_period: float) -> None:
        """Begin to send heartbeats every `heartbeat_period` s; 0, or no bondpy, sends none."""
        self._node = node
        self._bond = None
        if Bond is None or heartbeat_period <= 0.0:
            return
        self._bond = Bond(node, TOPIC, node.get_name())
        self._bond.heartbeat_period = heartbeat_period
        self._bond.heartbeat_timeout = HEARTBEAT_TIMEOUT_S
        self._bond.start()

    @property
    def formed(self) -> bool:
        """Whether heartbeats are sent."""
        return self._bond is not None

    def end(self) -> None:
        """Tell the manager that this was on purpose."""
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.shutdown()
            # bondpy destroys these without telling the node, which would keep them for ever
            self._node.destroy_subscription(bond.sub)
            self._node.destroy_publisher(bond.pub)
