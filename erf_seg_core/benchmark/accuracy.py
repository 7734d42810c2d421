"""The mIoU beside a latency: measured on a labelled set, or what the checkpoint's card says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ErfSegError
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

    def of(self, configuration: Configuration, precision: str) -> Accuracy | None:
        """Look up a row's; `precision` is what its "auto" came to. None for random weights.

        Raises `ErfSegError` if the images are not in the network's classes, or without images where
        the checkpoint tells none of this size and precision.
        """
        c = configuration
        key = (c.model, precision, c.input_size)
        if key not in self._known:
            subject = load_subject(c.model, self._outputs, c.input_size)
            if subject.weights != "trained":
                self._known[key] = None
            elif self._source is None:
                self._known[key] = on_card(subject, c, precision)
            else:
                self._known[key] = self._measured(c, subject, precision)
        return self._known[key]

    def _measured(self, c: Configuration, subject: Subject, precision: str) -> Accuracy:
        labelled = open_source(self._source, subject.info.class_set, ".")
        segmenter = Segmenter(
            subject.net,
            subject.info,
            device=c.device,
            engine="auto" if c.engine in EAGER else c.engine,
            input_size=c.input_size,
            threads=c.threads,
            precision=precision,
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


def on_card(subject: Subject, configuration: Configuration, precision: str) -> Accuracy:
    """Return the first score in a trained checkpoint's metadata, of float32 and one size."""
    own, size = subject.info.input_size, configuration.input_size
    for name, scores in subject.info.metrics.items():
        if isinstance(scores, dict) and scores.get("miou") is not None:
            if precision == "fp32" and own == size:
                return Accuracy(scores["miou"], f"{name} at {_text(own)}, by the checkpoint")
            raise ErfSegError(
                f"its checkpoint tells that of fp32 at {_text(own)} only; --data measures that of "
                f"{precision} at {_text(size)}"
            )
    raise ErfSegError("its checkpoint tells none; --data measures it")


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"
