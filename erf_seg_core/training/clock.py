"""How long a training has taken, over all the times it was started."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds spent: `wall` by the clock, `cpu` by this process's threads.

    On a shared machine only the second says what a training costs.
    """

    wall: float = 0.0
    cpu: float = 0.0
    _marks: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def start(self) -> float:
        """Count from now on; returns the monotonic time."""
        self._marks = (time.monotonic(), time.process_time())
        return self._marks[0]

    def tick(self) -> float:
        """Add the time since the last call; returns the monotonic time."""
        wall, cpu = self._marks
        now = self.start()
        self.wall += now - wall
        self.cpu += self._marks[1] - cpu
        return now
