"""Losses over classes and unions of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..class_sets import VOID_ID

HARD_PROBABILITY = 0.7  # below it a pixel counts as hard, as in common OHEM practice


class LabelLoss(nn.Module):
    """Weighted cross-entropy of class or union labels, optionally of the hardest pixels only.

    Target ids below the number of classes are classes, the following ones are `unions`: the label
    says that the pixel is of one of several classes, and its loss is −log of their summed
    probability. 255 is ignored.
    """

    weights: Tensor

    def __init__(
        self,
        num_classes: int,
        unions: Sequence[Sequence[int]] = (),
        weights: Tensor | None = None,
        ohem_fraction: float = 1.0,
    ) -> None:
        """`weights` is one factor per class and union; 1 without it."""
        super().__init__()
        count = num_classes + len(unions)
        self.num_classes, self.unions, self.ohem_fraction = num_classes, unions, ohem_fraction
        self.register_buffer("weights", torch.ones(count) if weights is None else weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits N×C×H×W (outputs beyond the classes are void), targets uint8 N×H×W → scalar."""
        targets = targets.long()
        log_probability = self._log_probability(logits.float(), targets)
        loss = F.nll_loss(
            log_probability,
            targets,
            self.weights[: log_probability.shape[1]],
            ignore_index=VOID_ID,
            reduction="none",
        )
        known = targets != VOID_ID
        pixel_weights = self.weights[torch.where(known, targets, 0)] * known
        if self.ohem_fraction < 1:
            chosen = self._hardest(loss.detach() / pixel_weights.clamp_min(1e-9), known)
            loss, pixel_weights = loss * chosen, pixel_weights * chosen
        # A batch without labels gives 0, not 0/0.
        return loss.sum() / pixel_weights.sum().clamp_min(1e-9)

    def _log_probability(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probability = F.log_softmax(logits, 1)
        classes = log_probability[:, : self.num_classes]
        if not self.unions or not ((targets >= self.num_classes) & (targets != VOID_ID)).any():
            return classes
        unions = [log_probability[:, list(u)].logsumexp(1, keepdim=True) for u in self.unions]
        return torch.cat([classes, *unions], 1)

    def _hardest(self, loss: Tensor, known: Tensor) -> Tensor:
        """Mask of the pixels above the hardness bound, but at least `ohem_fraction` of them."""
        least = max(1, int(self.ohem_fraction * int(known.sum())))
        bound = torch.where(known, loss, -1.0).flatten().topk(least).values[-1]
        return known & (loss >= bound.clamp(max=-float(np.log(HARD_PROBABILITY))))


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened outputs, mean over pixels (arXiv 1503.02531).

    Both are logits N×C×H×W; the factor T² keeps the gradient's size independent of T.
    """
    log_student = F.log_softmax(student.float() / temperature, 1)
    log_teacher = F.log_softmax(teacher.float() / temperature, 1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1)
    return temperature**2 * divergence.mean()


WEIGHT_OFFSETS = {"encoder": 1.20, "segment": 1.10}
"""What ERFNet adds to a class's share of the pixels before the logarithm. Its code
(https://github.com/Eromera/erfnet_pytorch, train/main.py) lists the weights only: both lists fit
these offsets and the same shares. A rare class weighs up to 10.5, in the encoder's stage 5.5.
"""


def class_weights(
    pixels: np.ndarray, num_classes: int, num_unions: int = 0, offset: float = 1.10
) -> Tensor:
    """Weights 1/ln(offset + share) by pixel counts, float32 (ENet, arXiv 1606.02147, Section 5.2).

    Shares are taken within the classes and within the unions, which label different images. An id
    that never occurs keeps the weight of the rarest possible one.
    """
    parts = [pixels[:num_classes], pixels[num_classes : num_classes + num_unions]]
    shares = [part / max(1, part.sum()) for part in parts]
    return torch.from_numpy(1 / np.log(offset + np.concatenate(shares))).float()
