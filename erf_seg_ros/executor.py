"""An executor that does slow work aside, after the custom executor of ros2/examples (rclpy)."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.logging import get_logger
from rclpy.task import Task

MOST_FAILURES = 100
"""In a row. Two or three happen, so many are no coincidence: an end is better than a deaf node."""


class AsideExecutor(Executor):
    """Runs callbacks in the thread that spins, those of one group in a thread of their own.

    rclpy's MultiThreadedExecutor would hand every message to another thread, too: on a busy
    machine that alone makes an image several milliseconds older.
    """

    def __init__(self, aside: CallbackGroup | None = None, context: Context | None = None) -> None:
        """Callbacks of the mutually exclusive group `aside`, if any, may take their time."""
        super().__init__(context=context)
        self._aside = aside
        self._failures = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="control")

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, at most `timeout_sec` seconds, and execute or start it."""
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
            self._failures = 0
        except (TimeoutException, ShutdownException, ExternalShutdownException):
            self._failures = 0
            return
        except RuntimeError:
            # InvalidHandle, or RCLError, which has no public name: what the other thread takes away
            # may be half in rclpy's wait set.
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            return
        group = entity.callback_group if entity is not None else None
        if group is not None and group is self._aside:
            # One that comes back before it began is not run twice.
            self._thread.submit(_execute, handler)
        else:
            _execute(handler)


def _execute(handler: Task) -> None:
    """Run a callback; what it raises concerns that call only, and is logged."""
    handler()
    try:
        handler.result()
    except InvalidHandle:  # Humble's, if the other thread just took the subscription
        pass
    except Exception:
        get_logger("erf_seg_ros").error(f"a callback failed:\n{traceback.format_exc()}")
