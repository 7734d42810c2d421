"""Images that never arrived, told by the gaps between the stamps of those that did; knows no ROS.

For middlewares that do not count what is lost. It needs a camera with a steady rate, some images
that follow each other without a gap, and says nothing of a camera whose intervals vary.
"""

from __future__ import annotations

import statistics
from collections import deque

MEMORY = 30
"""Intervals that the rate is measured over: two seconds of a usual camera, more when many fail."""

ENOUGH = 10
"""Fewer intervals are no measurement."""

SINGLE = 1.5
"""Up to this many periods, an interval is one period with jitter."""

STEADY = 0.8
"""Fraction of intervals that must lie near a whole number of periods for a camera to be steady."""

NEAR = 0.25
"""Periods; half of all intervals are this near to a whole number by chance."""

LEAST_SINGLES = 0.1
"""Fraction of intervals without a gap below which the period itself is a guess."""

NEW_RATE = 8
"""So many equal gaps in a row are a camera that became slower, not losses."""


class StampGaps:
    """Estimates how many images of one camera were lost, from the stamps as they arrive."""

    def __init__(self) -> None:
        """Start with an unknown rate."""
        self._last_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=MEMORY)
        self._gaps: list[int] = []

    def add(self, stamp_ns: int) -> int:
        """Add the stamp of an image; returns how many before it are now known to be lost.

        A gap counts once an interval without a gap follows, since until then it may be a camera
        that changed its rate. Stamps that repeat are ignored; going back in time starts anew.
        """
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None or stamp_ns == last:
            return 0
        if stamp_ns < last:
            self._forget()
            return 0
        self._intervals.append(stamp_ns - last)
        period = self._period()
        return 0 if period is None else self._judge((stamp_ns - last) / period)

    def _judge(self, periods: float) -> int:
        if periods >= SINGLE:
            self._gaps.append(round(periods))
            if len(self._gaps) >= NEW_RATE and len(set(self._gaps[-NEW_RATE:])) == 1:
                self._forget()
            return 0
        lost = sum(gap - 1 for gap in self._gaps)
        self._gaps = []
        return lost

    def _period(self) -> float | None:
        """Nanoseconds between images, None while unknown or not steady."""
        if len(self._intervals) < ENOUGH:
            return None
        ordered = sorted(self._intervals)
        low = ordered[int(LEAST_SINGLES * len(ordered))]
        period = statistics.median(i for i in ordered if i < SINGLE * low)
        near = sum(abs(i / period - round(i / period)) <= NEAR for i in ordered)
        return period if near >= STEADY * len(ordered) else None

    def _forget(self) -> None:
        self._intervals.clear()
        self._gaps = []
