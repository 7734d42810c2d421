"""Ctrl-C and SIGTERM as a flag that the main loop looks at; knows no ROS."""

from __future__ import annotations

import faulthandler
import signal
from types import FrameType

LAST_RESORT_S = 10.0
"""Everything that an end waits for is bounded well below this, except a library that hangs."""


class StopSignal:
    """Whether the process was asked to end.

    One that has not ended `LAST_RESORT_S` later says on stderr where it is stuck, and ends.

    An exception out of nowhere, as Python raises for Ctrl-C, would leave rclpy with handles that
    are never released, and the network with a node that never says goodbye.
    """

    def __init__(self) -> None:
        """Not asked yet; `install` starts to listen."""
        self.raised = False

    def install(self) -> None:
        """Listen to SIGINT and SIGTERM; only from the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback_later(LAST_RESORT_S, exit=True)
        self.raised = True
