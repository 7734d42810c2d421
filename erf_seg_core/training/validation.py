"""Scoring the network in training on held-out sets."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..class_sets import VOID_ID, ClassSet
from ..evaluation.scoring import Scores, score
from ..label_size import resize_labels
from .dataset import to_rgb
from .sources import LabelledSet


def network_predictor(
    net: nn.Module, input_size: tuple[int, int], num_classes: int
) -> Callable[[np.ndarray, tuple[int, int]], np.ndarray]:
    """Predictor for `score`: image uint8 BGR → labels uint8 at the size asked for.

    The network sees the image at `input_size`. Smaller outputs, as of an encoder with a head alone,
    are enlarged bilinearly; outputs beyond the classes become void.
    """
    device = next(net.parameters()).device

    def predict(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        resized = cv2.resize(image, input_size[::-1], interpolation=cv2.INTER_LINEAR)
        batch = to_rgb(resized)[None].to(device).float() / 255
        logits = net(batch)
        if logits.shape[-2:] != batch.shape[-2:]:
            logits = F.interpolate(logits, batch.shape[-2:], mode="bilinear", align_corners=False)
        labels = logits[0].max(0).indices.to("cpu", torch.uint8).numpy()
        labels[labels >= num_classes] = VOID_ID
        return resize_labels(labels, size)

    return predict


@torch.no_grad()
def validate(
    net: nn.Module, labelled: LabelledSet, class_set: ClassSet, input_size: tuple[int, int]
) -> Scores:
    """Score a network in evaluation mode at the truth's full size; its mode is restored."""
    training = net.training
    net.eval()
    try:
        frames = (labelled.load(i) for i in range(len(labelled.frames)))
        return score(frames, network_predictor(net, input_size, class_set.num_classes), class_set)
    finally:
        net.train(training)
