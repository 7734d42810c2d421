"""The frame around a replay process: ROS comes up, the work is done, failures are reported."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.signals import SignalHandlerOptions

from erf_seg_core.errors import ErfSegError

from .events import emit

EXIT_ERROR = 2


def run_with_ros(work: Callable[[], None]) -> int:
    """Do `work` with rclpy up and return the exit status: 0, or 2 after an `ErfSegError`.

    Signals are the caller's: rclpy's own handlers would shut ROS down under the work.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        work()
    except ErfSegError as error:
        emit("error", message=str(error))
        print(error, file=sys.stderr)
        return EXIT_ERROR
    finally:
        rclpy.try_shutdown()
    return 0
