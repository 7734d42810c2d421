"""ROS message classes by the type names that bags and the ROS graph use."""

from __future__ import annotations

from importlib import import_module

from erf_seg_core.errors import ErfSegError


def message_class(msgtype: str) -> type:
    """Class for "sensor_msgs/msg/Image"; `ErfSegError` if its package is not installed."""
    package, _, name = msgtype.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ErfSegError(
            f"message type {msgtype} is not installed; install the ROS package '{package}'"
        ) from error
