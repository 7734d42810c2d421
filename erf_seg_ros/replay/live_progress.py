"""How far a live run is, read from the events of its processes."""

from __future__ import annotations

import time
from typing import Any, Protocol

from .live_options import DIAGNOSTICS_TOPIC, LABEL_TOPIC

QUIET_S = 5.0
"""Without a label for so long, or five times the longest pause so far, the node has finished."""


class Listener(Protocol):
    """Is told what is going on, so that somebody can watch."""

    def stage(self, what: str, frames: int | None = None) -> None:
        """Something new begins; `frames` is how many it will go through, where that is known."""

    def progress(self, done: int, note: str = "") -> None:
        """So many frames are done."""

    def problem(self, what: str) -> None:
        """Something went wrong, and the rest goes on."""


class LiveProgress:
    """What the events so far say about how far the run is.

    `recorded` messages of all topics have reached the recorder; `written` is how many of them are
    in the closed recording, None before that.
    """

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.sent = 0
        self.labelled = 0
        self.recorded = 0
        self.written: int | None = None
        self._all_sent = False
        self._last_live_ns = -1
        self._last_label_live_ns = -1
        self._last_label_at = time.monotonic()
        self._longest_pause_s = 0.0
        self._last_label_ns = 0
        self._diagnosed_ns = 0

    def add(self, event: dict[str, Any]) -> None:
        """Take note of one event of the player or the recorder."""
        now = time.monotonic()
        self.recorded += event["event"] == "message"
        if event["event"] == "frame":
            self.sent = event["sent"]
            self._last_live_ns = event["live_ns"]
        elif event["event"] == "done":
            self._all_sent = True
            self._last_label_at = max(self._last_label_at, now - QUIET_S / 2)
        elif event["event"] == "closed":
            self.written = event["written"]
        elif event["event"] == "message" and event["topic"] == LABEL_TOPIC:
            if self.labelled:
                self._longest_pause_s = max(self._longest_pause_s, now - self._last_label_at)
            self.labelled += 1
            self._last_label_at = now
            self._last_label_live_ns = event["live_ns"]
            self._last_label_ns = time.time_ns()
        elif event["event"] == "message" and event["topic"] == DIAGNOSTICS_TOPIC:
            self._diagnosed_ns = event["live_ns"]

    def finished(self) -> bool:
        """The last frame is never displaced: its label, or a long silence, is the end.

        The counts come once a second: one more diagnostics message must follow, by its own stamp,
        since messages of different topics overtake each other.
        """
        if not self._all_sent:
            return False
        silence_s = time.monotonic() - self._last_label_at
        if self._last_label_live_ns == self._last_live_ns:
            return self._diagnosed_ns > self._last_label_ns or silence_s > QUIET_S
        return silence_s > max(QUIET_S, 5 * self._longest_pause_s)
