"""Temporal consistency: how much of the picture changes its label from one frame to the next."""

from __future__ import annotations

import numpy as np

from ..class_sets import VOID_ID


class TemporalConsistency:
    """Share of pixels that flicker over consecutive frames.

    Without truth, every change counts, those that the drive itself brings too: the number compares
    models on the same frames and is no error rate. With truth, only pixels count whose true class
    stays the same and is known, so every change is an error of the network in one frame or both.
    `changed` and `compared` are pixel counts; those of two parts of a drive may be added.
    """

    def __init__(self) -> None:
        """Start from zero."""
        self.changed = 0
        self.compared = 0

    def update(
        self,
        previous: np.ndarray,
        labels: np.ndarray,
        previous_truth: np.ndarray | None = None,
        truth: np.ndarray | None = None,
    ) -> float:
        """Add a pair of consecutive frames, uint8 arrays of one shape; its own share, or nan."""
        changes = previous != labels
        if previous_truth is not None and truth is not None:
            still = (previous_truth == truth) & (truth != VOID_ID)
            changes &= still
            compared = int(np.count_nonzero(still))
        else:
            compared = changes.size
        changed = int(np.count_nonzero(changes))
        self.changed += changed
        self.compared += compared
        return changed / compared if compared else float("nan")

    def flicker(self) -> float:
        """Share of the compared pixels that changed, 0 to 1; nan without any."""
        return self.changed / self.compared if self.compared else float("nan")
