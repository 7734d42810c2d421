"""Whether a camera shows anything: frozen, black or saturated pictures; knows no ROS.

A few thousand pixels on a grid answer that in a fraction of a millisecond, whatever the size of
the picture. A real sensor's noise changes some of them from frame to frame even where nothing
moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = (48, 64)
"""Rows and columns that are looked at: enough that noise or a moving object cannot miss them."""

DARK = 16
"""Brightest value of a pixel without light: above the black level of cameras that have one."""

BRIGHT = 250
"""Least value of a pixel that is blown out, after what JPEG does to 255."""

WHOLE = 0.98
"""Fraction of the picture that makes it all black or all saturated; a night road has lamps."""


@dataclass(frozen=True)
class PictureState:
    """What the last picture looked like, and for how many seconds that has been so.

    Seconds are from the first to the last picture of an unbroken series, 0 for a single one.
    """

    brightness: float = float("nan")
    dark_fraction: float = 0.0
    saturated_fraction: float = 0.0
    identical_frames: int = 0
    frozen_s: float = 0.0
    black_s: float = 0.0
    saturated_s: float = 0.0


class ImageChecks:
    """Watches the pictures of one camera. One thread observes, another may read `state`."""

    def __init__(self) -> None:
        """Start without a picture."""
        self.state = PictureState()
        self._sample: np.ndarray | None = None
        self._since: dict[str, float] = {}

    def observe(self, picture: np.ndarray, now: float) -> None:
        """Look at an H×W×3 uint8 picture; `now` is a reading of a monotonic clock, in seconds."""
        sample = _sample(picture)
        frozen = self._sample is not None and np.array_equal(sample, self._sample)
        if not frozen:
            self._sample = sample
            self._since["frozen"] = now  # the first of a series, if more of the same follow
        brightest = sample.max(axis=2)
        dark = float(np.mean(brightest <= DARK))
        saturated = float(np.mean(sample.min(axis=2) >= BRIGHT))
        self.state = PictureState(
            brightness=float(sample.mean()),
            dark_fraction=dark,
            saturated_fraction=saturated,
            identical_frames=self.state.identical_frames + 1 if frozen else 0,
            frozen_s=now - self._since["frozen"],
            black_s=self._lasting("black", dark >= WHOLE, now),
            saturated_s=self._lasting("saturated", saturated >= WHOLE, now),
        )

    def _lasting(self, what: str, true: bool, now: float) -> float:
        if not true:
            self._since.pop(what, None)
            return 0.0
        return now - self._since.setdefault(what, now)


def _sample(picture: np.ndarray) -> np.ndarray:
    """Copy of the pixels on the grid; of all, where the picture is smaller."""
    rows, columns = (
        max(1, side // cells) for side, cells in zip(picture.shape, GRID, strict=False)
    )
    return picture[rows // 2 :: rows, columns // 2 :: columns].copy()
