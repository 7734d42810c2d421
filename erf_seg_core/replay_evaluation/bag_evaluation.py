"""One bag through all models in rounds: label some frames, then score them and read the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..bags import BagReader
from ..bags.topics import choose_image_topic
from ..bags.writer import DISK_ERRORS
from ..class_sets import load_class_set
from ..errors import EngineError, ErfSegError
from .bag_result import BagResult, ModelFacts
from .bag_task import BagTask
from .labelled_frame import LabelledFrame, not_timed
from .options import EvaluationOptions
from .predictors import Labelled, Predictor
from .read_ahead import ReadAhead
from .recorded_frames import RecordedFrame, recorded_frames
from .round_scoring import RoundScoring
from .truth import TruthAt, open_truth

ROUND = 8
"""Frames of a round; of 1280×720 they take 22 MB, and 15 MB for each model."""

TIMED_EVERY = 8
"""Rounds of which one is timed, the first of them. In the others a network may label frames side
by side, where that is faster: then how long one takes says nothing of a node that has one camera.
"""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Raised by `on_frame` to end a bag early, keeping what there is."""


@dataclass
class _Reading:
    """How far the reading has come, and why it ended if not at the end."""

    read: int = 0
    damaged: int = 0
    truths: int = 0
    first_ns: int = 0
    last_ns: int = 0
    image_size: tuple[int, int] = (0, 0)
    problem: str = ""
    interrupted: bool = False

    def note(self, frame: RecordedFrame) -> None:
        """Count a frame that was taken on."""
        if not self.read:
            self.first_ns = frame.stamp_ns
        self.read += 1
        self.last_ns = frame.stamp_ns
        self.truths += frame.truth is not None
        if frame.image_bgr is None:
            self.damaged += 1
        else:
            self.image_size = frame.image_bgr.shape[:2]


def evaluate_bag(
    task: BagTask,
    predictors: Mapping[str, Predictor],
    reference: Predictor | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
) -> BagResult:
    """Label and score every frame of a bag; memory does not grow with its length but by the rows.

    Args:
        task: the bag.
        predictors: by model, in the order of the report.
        reference: whose labels stand in for truth.
        on_frame: told how many frames are done; `Stopped` or Ctrl-C end the bag early.

    Returns:
        What was scored. If the bag, its truth or the disk fails on the way, `problem` says so and
        the frames until then count.

    Raises:
        ErfSegError: the bag cannot be opened or has no frame to evaluate.

    """
    options, began = task.options, time.perf_counter()
    reading = _Reading()
    with BagReader(task.bag) as bag:
        topic = bag.image_topic(choose_image_topic(bag, options.image_topic, options.truth_topic))
        truth_at = open_truth(bag, task.name, options)
        recorded = topic.count if options.limit is None else min(topic.count, options.limit)
        not_scored = _why_not_scored(options, predictors, reference, truth_at)
        labeller = _Labeller(predictors, reference, not_scored)

        def frames() -> Iterator[RecordedFrame]:
            return recorded_frames(bag, topic.name, truth_at, options.limit)

        scoring = RoundScoring(task, predictors, recorded)
        with _kept(reading), scoring, ReadAhead(frames, ROUND) as rounds:
            for number, frames_read in enumerate(rounds):
                whole = [frame for frame in frames_read if frame.image_bgr is not None]
                timed = number % TIMED_EVERY == 0 or not labeller.saves_time
                if timed and labeller.on_cpu:
                    scoring.finish()  # what runs beside a network there takes its time
                else:
                    rounds.begin()
                labelling = labeller(whole, timed)
                labelled: list[LabelledFrame] = []
                try:
                    for frame in frames_read:
                        if frame.image_bgr is not None:
                            labelled.append(next(labelling))
                        reading.note(frame)
                        on_frame(reading.read)
                finally:  # what is labelled counts, whatever ends the evaluation
                    rounds.begin()
                    scoring.add(labelled)
    if reading.problem and not reading.read:
        raise ErfSegError(reading.problem)
    if options.truth and not reading.truths and not reading.problem and not reading.interrupted:
        reading.problem = (
            f"no frame of {topic.name} has truth of its exact stamp in {options.truth}"
        )
    return BagResult(
        bag=task.name,
        path=str(task.bag),
        image_topic=topic.name,
        recorded=recorded,
        seconds=time.perf_counter() - began - labeller.reference_s,
        facts={
            model: ModelFacts(p.engine, p.device, not_scored.get(model, ""))
            for model, p in predictors.items()
        },
        models=scoring.counts(),
        shown=scoring.pictures.shown,
        worst={model: scoring.pictures.worst(model) for model in predictors},
        image_size=reading.image_size,
        read=reading.read,
        damaged=reading.damaged,
        first_ns=reading.first_ns,
        last_ns=reading.last_ns,
        problem=reading.problem,
        interrupted=reading.interrupted,
    )


class _Labeller:
    """From recorded frames to labelled ones."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        reference: Predictor | None,
        not_scored: Mapping[str, str],
    ) -> None:
        self._predictors = predictors
        self._reference = reference
        self._scored = [model for model in predictors if not not_scored.get(model)]
        self.reference_s = 0.0  # spent on a reference that is none of the models
        self.on_cpu = any(predictor.device == "cpu" for predictor in predictors.values())
        self.saves_time = any(predictor.side_by_side > 1 for predictor in predictors.values())

    def __call__(self, frames: Sequence[RecordedFrame], timed: bool) -> Iterator[LabelledFrame]:
        """Frames with pictures, labelled in order; if `timed` need not be, by the faster way."""
        # Scored at the truth's size, as `erf_seg evaluate` does, or the numbers would differ.
        sizes = [(f.image_bgr if f.truth is None else f.truth).shape[:2] for f in frames]
        together: dict[str, Sequence[Labelled | None]] = {}
        if not timed and len(set(sizes)) == 1:
            for model, predictor in self._predictors.items():
                if len(frames) >= predictor.side_by_side > 1:
                    together[model] = predictor.untimed(frames, sizes[0])
        for place, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
            labelled = {
                model: together[model][place] if model in together else predict(frame, size)
                for model, predict in self._predictors.items()
            }
            labelled = {model: found for model, found in labelled.items() if found}
            if not timed:  # other work ran beside it
                labelled = {
                    m: (result, not_timed(times)) for m, (result, times) in labelled.items()
                }
            yield self._with_truth(frame, size, labelled)

    def _with_truth(
        self, frame: RecordedFrame, size: tuple[int, int], labelled: Mapping[str, Labelled]
    ) -> LabelledFrame:
        results = {model: result for model, (result, _) in labelled.items()}
        truth = frame.truth
        if self._reference is not None:
            own = [m for m, p in self._predictors.items() if p is self._reference and m in results]
            truth = results[own[0]].labels if own else self._labels_of_reference(frame, size)
        truths = {} if truth is None else dict.fromkeys(self._scored, truth)
        times = {model: times_ms for model, (_, times_ms) in labelled.items()}
        return LabelledFrame(frame, results, times, truths)

    def _labels_of_reference(self, frame: RecordedFrame, size: tuple[int, int]) -> np.ndarray:
        began = time.perf_counter()
        labels = self._reference(frame, size)[0].labels
        self.reference_s += time.perf_counter() - began
        return labels


@contextmanager
def _kept(reading: _Reading) -> Iterator[None]:
    """Note what ended the frames early instead of losing those before it."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        reading.interrupted = True
    except (ErfSegError, EngineError) as error:
        reading.problem = str(error)
    except DISK_ERRORS as error:
        reading.problem = (
            f"the disk refused the annotated bag ({error}); make room or go without it"
        )


def _why_not_scored(
    options: EvaluationOptions,
    predictors: Mapping[str, Predictor],
    reference: Predictor | None,
    truth_at: TruthAt | None,
) -> dict[str, str]:
    """Reason by model, empty where it can be scored."""
    if reference is not None:
        judge, owner = reference.class_set, "the reference's"
    elif truth_at is None:
        return dict.fromkeys(predictors, f"the bag has no truth on {options.truth_topic}")
    else:
        judge, owner = load_class_set(options.truth_classes), "the truth's"
    return {
        model: ""
        if p.class_set.names == judge.names
        else f"its classes are those of {p.class_set.name}, {owner} are those of {judge.name}"
        for model, p in predictors.items()
    }
