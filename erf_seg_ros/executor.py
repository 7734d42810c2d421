"""An executor that does slow work aside, after the custom executor of ros2/examples (rclpy)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)


class AsideExecutor(Executor):
    """Runs callbacks in the thread that spins, those of one group in a thread of their own.

    rclpy's MultiThreadedExecutor would hand every message to another thread, too: on a busy
    machine that alone makes an image several milliseconds older.
    """

    def __init__(self, aside: CallbackGroup) -> None:
        """Callbacks of the mutually exclusive group `aside` may take their time."""
        super().__init__()
        self._aside = aside
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="control")

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, at most `timeout_sec` seconds, and execute or start it."""
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (TimeoutException, ShutdownException, ExternalShutdownException):
            return
        if entity is not None and entity.callback_group is self._aside:
            self._thread.submit(handler)  # one that comes back before it began is not run twice
            return
        handler()
        with suppress(InvalidHandle):  # Humble's, if the other thread just took the subscription
            handler.result()
