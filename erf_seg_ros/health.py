"""How a camera is doing, judged from its counts over the last seconds; knows no ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from .frame_counts import FrameCounts

WINDOW_S = 5.0
"""Rates and verdicts are over this long: short enough to notice, long enough for a 1 Hz camera."""

TOLERATED_DROPS = 0.1
"""Fraction of frames that may be dropped before the node counts as slower than its camera; single
drops happen whenever the machine is busy for a moment."""

ERROR_FACTOR = 5.0
"""A camera is an error, not only a warning, after so many times the silence that warns."""


class Level(IntEnum):
    """Same values as `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Verdict:
    """One status for `/diagnostics`: its level, one sentence, and the figures behind it."""

    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


class CameraHealth:
    """Watches the counts of one camera. Times are readings of one monotonic clock, in seconds."""

    def __init__(self, topic: str, now: float) -> None:
        """Start watching `topic` at `now`: a camera that stays silent from here on is noticed."""
        self._topic = topic
        self._started = now
        self._history: deque[tuple[float, FrameCounts]] = deque([(now, FrameCounts())])

    def judge(self, now: float, counts: FrameCounts, stale_after: float) -> Verdict:
        """Add the counts at `now` and say how things are; `stale_after` seconds of silence warn."""
        self._history.append((now, counts))
        while len(self._history) > 2 and self._history[1][0] <= now - WINDOW_S:
            self._history.popleft()
        start, before = self._history[0]
        window = _Window(max(now - start, 1e-6), before, counts)
        silence = now - (self._started if counts.last_arrival is None else counts.last_arrival)
        findings = [
            *self._silence(silence, counts, stale_after),
            *_failures(window),
            *_malformed(window),
            *_slowness(window),
        ]
        level = max((level for level, _ in findings), default=Level.OK)
        message = "; ".join(sentence for _, sentence in findings) or window.summary()
        return Verdict(level, message, self._values(window, counts, silence))

    def _silence(
        self, silence: float, counts: FrameCounts, stale_after: float
    ) -> list[tuple[Level, str]]:
        if silence <= stale_after:
            return []
        level = Level.ERROR if silence > ERROR_FACTOR * stale_after else Level.WARN
        if counts.last_arrival is None:
            return [(level, f"no image on {self._topic} for {silence:.1f} s since activation")]
        return [(level, f"the last image on {self._topic} came {silence:.1f} s ago")]

    def _values(self, window: _Window, counts: FrameCounts, silence: float) -> dict[str, str]:
        return {
            "topic": self._topic,
            "rate_in_hz": f"{window.rate('received'):.2f}",
            "rate_out_hz": f"{window.rate('labelled'):.2f}",
            "received": str(counts.received),
            "labelled": str(counts.labelled),
            "dropped": str(counts.dropped),
            "malformed": str(counts.malformed),
            "last_malformed_reason": counts.last_malformed,
            "failed": str(counts.failed),
            "last_failure_reason": counts.last_failure,
            "mean_latency_ms": f"{window.mean('latency_sum_ms'):.1f}",
            "mean_age_on_arrival_ms": f"{window.mean('age_sum_ms'):.1f}",
            "time_since_last_frame_s": "never" if counts.last_arrival is None else f"{silence:.2f}",
        }


@dataclass(frozen=True)
class _Window:
    """Differences between the counts at both ends of the watched time."""

    seconds: float
    before: FrameCounts
    after: FrameCounts

    def count(self, name: str) -> int:
        return getattr(self.after, name) - getattr(self.before, name)

    def rate(self, name: str) -> float:
        return self.count(name) / self.seconds

    def mean(self, sum_name: str) -> float:
        """Mean over the labelled frames; nan if there were none."""
        total = getattr(self.after, sum_name) - getattr(self.before, sum_name)
        return total / self.count("labelled") if self.count("labelled") else float("nan")

    def summary(self) -> str:
        if not self.count("labelled"):
            return "waiting for images"
        return f"{self.rate('labelled'):.1f} Hz, {self.mean('latency_sum_ms'):.0f} ms a frame"


def _failures(window: _Window) -> list[tuple[Level, str]]:
    failed = window.count("failed")
    reason = window.after.last_failure
    return [(Level.ERROR, f"the network failed on {failed} images: {reason}")] if failed else []


def _malformed(window: _Window) -> list[tuple[Level, str]]:
    malformed = window.count("malformed")
    if not malformed:
        return []
    level = Level.WARN if window.count("labelled") else Level.ERROR
    reason = window.after.last_malformed
    return [
        (level, f"{malformed} of {window.count('received')} images were malformed, last: {reason}")
    ]


def _slowness(window: _Window) -> list[tuple[Level, str]]:
    if window.count("dropped") <= TOLERATED_DROPS * window.count("received"):
        return []
    sentence = (
        f"slower than the camera: {window.rate('received'):.1f} Hz in, "
        f"{window.rate('labelled'):.1f} Hz out"
    )
    return [(Level.WARN, sentence)]
