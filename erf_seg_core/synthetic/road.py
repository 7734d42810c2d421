"""The road's course: a gently winding centre line with (s, d) coordinates.

s is metres along the centre line, d metres to its left.
"""

from __future__ import annotations

import numpy as np

_STEP_M = 1.0
_BEHIND_M = 128.0  # the road also goes back, for what lies behind the first frame


class Road:
    """Centre line whose heading is a sum of slow waves, so that it can be looked up anywhere."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the waves; curve radii stay above about 80 m."""
        count = 3
        self._length = rng.uniform(140, 600, count)
        sharpness = rng.uniform(0, 1 / 240, count) * rng.choice([0.3, 1.0, 1.0])
        self._swing = sharpness * self._length / (2 * np.pi)
        self._phase = rng.uniform(0, 2 * np.pi, count)
        self._grid = np.zeros(0)
        self._points = np.zeros((0, 2))
        self._extend(1000.0)

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Direction of the road in radians, from world x towards y."""
        angle = np.asarray(s)[..., None] * (2 * np.pi / self._length) + self._phase
        return (self._swing * np.sin(angle)).sum(axis=-1)

    def point(self, s: np.ndarray | float, d: np.ndarray | float = 0.0) -> np.ndarray:
        """World x, y (…×2) of road coordinates."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        if s.size and s.max() > self._grid[-1]:
            self._extend(2 * float(s.max()))
        heading = self.heading(s)
        x = np.interp(s, self._grid, self._points[:, 0]) - d * np.sin(heading)
        y = np.interp(s, self._grid, self._points[:, 1]) + d * np.cos(heading)
        return np.stack([x, y], axis=-1)

    def ground(self, s: np.ndarray | float, d: np.ndarray | float, z: float = 0.0) -> np.ndarray:
        """World points (…×3) at height z."""
        flat = self.point(s, d)
        return np.concatenate([flat, np.full((*flat.shape[:-1], 1), z)], axis=-1)

    def tangent(self, s: float) -> np.ndarray:
        """Unit vector (3) along the road."""
        heading = float(self.heading(s))
        return np.array([np.cos(heading), np.sin(heading), 0.0])

    def left(self, s: float) -> np.ndarray:
        """Unit vector (3) to the left of the road."""
        heading = float(self.heading(s))
        return np.array([-np.sin(heading), np.cos(heading), 0.0])

    def _extend(self, end: float) -> None:
        """Integrate from the fixed start: a longer table repeats the shorter one exactly."""
        self._grid = np.arange(-_BEHIND_M, end + 2 * _STEP_M, _STEP_M)
        heading = self.heading(self._grid[:-1] + _STEP_M / 2)
        steps = _STEP_M * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        self._points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
