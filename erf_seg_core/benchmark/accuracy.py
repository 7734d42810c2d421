"""The mIoU beside a latency: measured on a labelled set, or what the checkpoint's card says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..evaluation.scoring import score
from ..inference import Segmenter
from ..training.recipe import Source
from ..training.sources import open_source
from .configuration import EAGER, Configuration
from .contenders import Subject, load_subject


@dataclass(frozen=True)
class Accuracy:
    """`miou` as a fraction, and in words on what and at which network input size."""

    miou: float
    on: str


class AccuracyTable:
    """Looks up or measures each network once per precision and input size.

    Engines of one precision give the same labels (the tests hold them to it), so one scores for
    all of them.
    """

    def __init__(self, source: Source | None, outputs: int, on_image: Callable[[], None]) -> None:
        """Without a `source` of labelled images the checkpoints' cards are believed."""
        self._source, self._outputs, self._on_image = source, outputs, on_image
        self._known: dict[tuple[object, ...], Accuracy | None] = {}

    def of(self, configuration: Configuration) -> Accuracy | None:
        """None for random weights; `ErfSegError` if the images are not in the network's classes."""
        c = configuration
        key: tuple[object, ...] = (c.model, c.precision, c.input_size)
        if c.precision == "auto":  # each engine and device has its own
            key += (c.engine, c.device)
        if key not in self._known:
            subject = load_subject(c.model, self._outputs, c.input_size)
            self._known[key] = self._measured(c, subject) if self._source else on_card(subject, c)
        return self._known[key]

    def _measured(self, c: Configuration, subject: Subject) -> Accuracy | None:
        if subject.weights != "trained":
            return None
        labelled = open_source(self._source, subject.info.class_set, ".")
        segmenter = Segmenter(
            subject.net,
            subject.info,
            device=c.device,
            engine="auto" if c.engine in EAGER else c.engine,
            input_size=c.input_size,
            threads=c.threads,
            precision=c.precision,
        )

        def predict(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            self._on_image()
            return segmenter(image, confidence=False, label_size=size).labels

        try:
            frames = (labelled.load(index) for index in range(len(labelled.frames)))
            scores = score(frames, predict, segmenter.class_set)
        finally:
            segmenter.close()
        source = labelled.source
        on = f"{source.kind} {source.split}, {scores.images} images, at {_text(c.input_size)}"
        return Accuracy(scores.confusion.mean_iou(), on)


def on_card(subject: Subject, configuration: Configuration) -> Accuracy | None:
    """Return the first score in a trained checkpoint's metadata, which is of float32."""
    if subject.weights != "trained" or configuration.precision != "fp32":
        return None
    for name, scores in subject.info.metrics.items():
        if isinstance(scores, dict) and scores.get("miou") is not None:
            on = f"{name} at {_text(subject.info.input_size)}, by the checkpoint"
            return Accuracy(scores["miou"], on)
    return None


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"
