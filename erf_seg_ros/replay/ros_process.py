"""The frame around a replay process: ROS comes up, the work is done, failures are reported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import rclpy
from rclpy.signals import SignalHandlerOptions

from erf_seg_core.bags.writer import DISK_ERRORS
from erf_seg_core.errors import ErfSegError

from .events import emit

EXIT_ERROR = 2


def run_with_ros(work: Callable[[], None]) -> int:
    """Do `work` with rclpy up and return the exit status: 0, or 2 after an error that is reported.

    Signals are the caller's: rclpy's own handlers would shut ROS down under the work.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        work()
    except ErfSegError as error:
        return _failed(str(error))
    except DISK_ERRORS as error:
        return _failed(f"the disk refused what was to be written ({error}): make room")
    finally:
        rclpy.try_shutdown()
    return 0


def _failed(message: str) -> int:
    emit("error", message=message)
    with suppress(OSError):  # the log may be on the same full disk
        print(message, file=sys.stderr, flush=True)
    return EXIT_ERROR
