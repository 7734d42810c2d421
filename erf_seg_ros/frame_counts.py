"""What became of a camera's frames, counted by the receiving and the labelling thread."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FrameCounts:
    """Counts at one moment. A received frame ends as exactly one of the five that follow it.

    `dropped` frames were displaced by a newer one, `malformed` ones could not be read, `failed`
    ones met an error in the network, `too_old` ones arrived older than `max_age`. `lost` frames
    were never received. The sums are over the labelled frames; `last_arrival` is a reading of
    `time.monotonic`, None before the first frame.
    """

    received: int = 0
    labelled: int = 0
    dropped: int = 0
    malformed: int = 0
    failed: int = 0
    too_old: int = 0
    lost: int = 0
    latency_sum_ms: float = 0.0
    age_sum_ms: float = 0.0
    last_arrival: float | None = None
    last_malformed: str = ""
    last_failure: str = ""


class FrameCounter:
    """Thread-safe `FrameCounts`."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def received(self, one_lost: bool) -> None:
        """A frame arrived; perhaps the one before it, or itself, is never looked at."""
        with self._lock:
            self._counts = replace(
                self._counts,
                received=self._counts.received + 1,
                dropped=self._counts.dropped + one_lost,
                last_arrival=time.monotonic(),
            )

    def too_old(self) -> None:
        """A frame arrived, and it was too old to be of use."""
        with self._lock:
            self._counts = replace(
                self._counts,
                received=self._counts.received + 1,
                too_old=self._counts.too_old + 1,
                last_arrival=time.monotonic(),
            )

    def lost(self, count: int) -> None:
        """The camera sent `count` frames that never arrived."""
        with self._lock:
            self._counts = replace(self._counts, lost=self._counts.lost + count)

    def dropped(self) -> None:
        """A received frame was given up, because the node was deactivated."""
        with self._lock:
            self._counts = replace(self._counts, dropped=self._counts.dropped + 1)

    def malformed(self, reason: str) -> None:
        """A frame could not be read."""
        with self._lock:
            self._counts = replace(
                self._counts, malformed=self._counts.malformed + 1, last_malformed=reason
            )

    def failed(self, reason: str) -> None:
        """The network could not label a frame."""
        with self._lock:
            self._counts = replace(
                self._counts, failed=self._counts.failed + 1, last_failure=reason
            )

    def labelled(self, latency_ms: float, age_ms: float) -> None:
        """A label went out, `latency_ms` after its image arrived at the age of `age_ms`."""
        with self._lock:
            self._counts = replace(
                self._counts,
                labelled=self._counts.labelled + 1,
                latency_sum_ms=self._counts.latency_sum_ms + latency_ms,
                age_sum_ms=self._counts.age_sum_ms + (0.0 if math.isnan(age_ms) else age_ms),
            )

    def now(self) -> FrameCounts:
        """Return the counts at this moment."""
        with self._lock:
            return self._counts
