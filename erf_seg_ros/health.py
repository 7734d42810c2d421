"""How a camera is doing, judged from its counts over the last seconds; knows no ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from .conditions import CONDITIONS, Level, Limits, Verdict, Window
from .frame_counts import FrameCounts
from .image_checks import PictureState

WINDOW_S = 5.0
"""Rates and verdicts are over this long: short enough to notice, long enough for a 1 Hz camera."""


@dataclass(frozen=True)
class Report:
    """A camera as a whole, and one verdict for each of `CONDITIONS` by its name."""

    summary: Verdict
    conditions: dict[str, Verdict]


@dataclass(frozen=True)
class Sight:
    """What is known of a camera at one moment; see `conditions.Window` for the fields."""

    counts: FrameCounts
    picture: PictureState = field(default_factory=PictureState)
    unheard: tuple[str, ...] = ()
    cure: str = ""
    cure_values: dict[str, str] = field(default_factory=dict)


class CameraHealth:
    """Watches one camera. Times are readings of one monotonic clock, in seconds."""

    def __init__(self, topic: str, now: float, counts: FrameCounts) -> None:
        """Start watching `topic` at `now`: a camera that stays silent from here on is noticed."""
        self._topic = topic
        self._started = now
        self._history: deque[tuple[float, FrameCounts]] = deque([(now, counts)])

    def judge(self, now: float, sight: Sight, limits: Limits) -> Report:
        """Add what is seen at `now` and say how things are."""
        window = self._window(now, sight)
        verdicts = {condition.__name__: condition(window, limits) for condition in CONDITIONS}
        wrong = {name: v for name, v in verdicts.items() if v.level is not Level.OK}
        values = {
            "topic": self._topic,
            "conditions": " ".join(wrong),
            "received": str(sight.counts.received),
            "labelled": str(sight.counts.labelled),
            "mean_age_on_arrival_ms": f"{window.mean('age_sum_ms'):.1f}",
        }
        for verdict in verdicts.values():
            values |= verdict.values
        level = max((v.level for v in wrong.values()), default=Level.OK)
        message = "; ".join(v.message for v in wrong.values()) or _all_well(window)
        quiet = {
            name: replace(v, message="OK") for name, v in verdicts.items() if name not in wrong
        }
        return Report(Verdict(level, message, values), verdicts | quiet)

    def _window(self, now: float, sight: Sight) -> Window:
        self._history.append((now, sight.counts))
        while len(self._history) > 2 and self._history[1][0] <= now - WINDOW_S:
            self._history.popleft()
        start, before = self._history[0]
        last = sight.counts.last_arrival
        heard = last is not None and last >= self._started  # before says nothing about now
        return Window(
            topic=self._topic,
            seconds=max(now - start, 1e-6),
            before=before,
            after=sight.counts,
            silence=now - (last if heard else self._started),
            heard=heard,
            picture=sight.picture,
            unheard=sight.unheard,
            cure=sight.cure,
            cure_values=sight.cure_values,
        )


def _all_well(window: Window) -> str:
    if not window.count("labelled"):
        return "waiting for images"
    return f"{window.rate('labelled'):.1f} Hz, {window.mean('latency_sum_ms'):.0f} ms a frame"
