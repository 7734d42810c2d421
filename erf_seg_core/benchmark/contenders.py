"""The things that are timed: from camera images to labels of their size, whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import torch

from ..checkpoint import (
    CheckpointInfo,
    build_from_checkpoint,
    find_checkpoint,
    read_info,
    shipped_checkpoints,
)
from ..class_sets import ClassSet
from ..devices import existing_device, parse_device
from ..inference import Segmenter
from ..models import SegmentationNetwork, build_model, list_models
from .configuration import EAGER, Configuration

PAPER_OUTPUTS = 20

Weights = Literal["trained", "random"]


@dataclass(frozen=True)
class Subject:
    """A network to be timed; with random weights its labels mean nothing, but cost the same."""

    net: SegmentationNetwork
    info: CheckpointInfo
    weights: Weights


class Contender(Protocol):
    """Labels images; what a configuration became."""

    device: str
    precision: str

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return labels H×W uint8 of each image H×W×3 uint8 BGR."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


def load_subject(model: str, outputs: int | None, input_size: tuple[int, int]) -> Subject:
    """Network of a checkpoint or of a name.

    `outputs` is the number of logits per pixel: where it differs from the checkpoint's, or where no
    weights are shipped for the name, they are random (seed 0). None takes trained weights where
    there are any, and 20 outputs, as the paper counts, where there are none.
    """
    path = _checkpoint_of(model)
    if path is None:
        return _random_subject(model, outputs or PAPER_OUTPUTS, input_size)
    net, info = build_from_checkpoint(path)
    if outputs in (None, info.num_outputs):
        return Subject(net, info, "trained")
    return _random_subject(info.model, outputs, input_size)


def common_outputs(models: Sequence[str]) -> int:
    """Return the number of outputs at which all these models are compared.

    It is that of the first trained one among them: a head with fewer classes is faster, so a
    baseline with random weights must not have more.
    """
    for path in map(_checkpoint_of, models):
        if path is not None:
            return read_info(path).num_outputs
    return PAPER_OUTPUTS


def create_contender(configuration: Configuration, subject: Subject) -> Contender:
    """Build what a configuration names; `ErfSegError` says why it can't run here."""
    if configuration.engine in EAGER:
        return EagerNetwork(configuration, subject)
    return SegmenterContender(configuration, subject)


class EagerNetwork:
    """The network in plain PyTorch, as in a script: resize, floats, forward, labels, resize."""

    def __init__(self, configuration: Configuration, subject: Subject) -> None:
        """Refuse a device that is not there."""
        device = existing_device(parse_device(configuration.device))
        self.device, self.precision = str(device), "fp32"
        self._net = subject.net.to(device)
        self._size = configuration.input_size
        self._as_upstream = configuration.engine == "upstream"
        self._threads = configuration.threads

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Contender`."""
        torch.set_num_threads(self._threads)
        height, width = self._size
        resized = [cv2.resize(image, (width, height)) for image in images]
        rgb = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in resized])
        with torch.inference_mode():
            batch = torch.from_numpy(rgb).to(self.device).permute(0, 3, 1, 2).contiguous()
            logits = self._net(batch.float() / 255)
            best = logits.max(1)[1] if self._as_upstream else logits.argmax(1)
            labels = best.to(torch.uint8).cpu().numpy()
        return [
            cv2.resize(label, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            for label, image in zip(labels, images, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held but the network."""


class SegmenterContender:
    """A `Segmenter`, which is what the node calls for every frame; without confidence."""

    def __init__(self, configuration: Configuration, subject: Subject) -> None:
        """Build the engine."""
        c = configuration
        self.segmenter = Segmenter(
            subject.net,
            subject.info,
            device=c.device,
            engine=c.engine,
            input_size=c.input_size,
            threads=c.threads,
            precision=c.precision,
        )
        self.device, self.precision = self.segmenter.device, self.segmenter.precision

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Contender`."""
        if len(images) == 1:
            return [self.segmenter(images[0], confidence=False).labels]
        return [result.labels for result in self.segmenter.batch(images, confidence=False)]

    def close(self) -> None:
        """Free the engine."""
        self.segmenter.close()


def _checkpoint_of(model: str) -> Path | None:
    """File with trained weights: the one named, the one shipped, or none."""
    known = model in list_models()
    return None if known and model not in shipped_checkpoints() else find_checkpoint(model)


def _random_subject(model: str, outputs: int, input_size: tuple[int, int]) -> Subject:
    torch.manual_seed(0)
    names = tuple(f"output {index}" for index in range(outputs))
    class_set = ClassSet("random weights", names, ((128, 128, 128),) * outputs)
    info = CheckpointInfo(model, outputs, class_set, input_size)
    return Subject(build_model(model, outputs).eval(), info, "random")
