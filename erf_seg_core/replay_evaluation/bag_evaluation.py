"""One bag through all models: read ahead, label here, score behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..bags import BagReader
from ..bags.topics import choose_image_topic
from ..bags.writer import DISK_ERRORS
from ..class_sets import load_class_set
from ..errors import ErfSegError
from ..report.pictures import spread
from .annotated_bag import AnnotatedBag
from .bag_result import BagResult, ModelFacts
from .frame_pictures import FramePictures
from .labelled_frame import LabelledFrame
from .model_scorer import ModelScorer
from .options import EvaluationOptions
from .predictors import Predictor
from .recorded_frames import RecordedFrame, recorded_frames
from .threads import Ahead, Behind, HeldBack
from .truth import TruthAt, open_truth

SHOWN = 6
"""Frames spread over a bag of which pictures are kept."""

ALONE = 8
"""First labelled frames of a bag, labelled while nothing is scored: how fast the networks are."""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Raised by `on_frame` to end a bag early, keeping what there is."""


@dataclass(frozen=True)
class BagTask:
    """One bag to evaluate. `annotated` is where the annotated bag goes, by model."""

    bag: Path
    name: str
    options: EvaluationOptions
    annotated: Mapping[str, Path]


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
        scoring = _Scoring(task, predictors, recorded)
        labeller = _Labeller(predictors, reference, not_scored)

        def frames() -> Iterator[RecordedFrame]:
            return recorded_frames(bag, topic.name, truth_at, options.limit)

        with _kept(reading), scoring, Ahead(frames) as ahead, _behind(scoring) as behind:
            for frame in ahead:
                if frame.image_bgr is not None:
                    behind.give(labeller(frame))
                reading.note(frame)
                on_frame(reading.read)
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
        seconds=time.perf_counter() - began,
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
    """From a recorded frame to a labelled one."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        reference: Predictor | None,
        not_scored: Mapping[str, str],
    ) -> None:
        self._predictors = predictors
        self._reference = reference
        self._scored = [model for model in predictors if not not_scored.get(model)]

    def __call__(self, frame: RecordedFrame) -> LabelledFrame:
        # Scored at the truth's size, as `erf_seg evaluate` does, or the numbers would differ.
        size = (frame.image_bgr if frame.truth is None else frame.truth).shape[:2]
        results, times = {}, {}
        for model, predict in self._predictors.items():
            labelled = predict(frame, size)
            if labelled is not None:
                results[model], times[model] = labelled
        truth = frame.truth
        if self._reference is not None:
            own = [m for m, p in self._predictors.items() if p is self._reference and m in results]
            truth = results[own[0]].labels if own else self._reference(frame, size)[0].labels
        truths = {} if truth is None else dict.fromkeys(self._scored, truth)
        return LabelledFrame(frame, results, times, truths)


class _Scoring:
    """What happens to labelled frames, in a thread of its own."""

    def __init__(self, task: BagTask, predictors: Mapping[str, Predictor], recorded: int) -> None:
        class_sets = {model: p.class_set for model, p in predictors.items()}
        self._scorers = {m: ModelScorer(m, class_set) for m, class_set in class_sets.items()}
        self.pictures = FramePictures(task.name, class_sets, spread(range(recorded), SHOWN))
        self._annotated = {
            model: AnnotatedBag(path, class_sets[model], model, task.options.annotate)
            for model, path in task.annotated.items()
        }

    def __enter__(self) -> _Scoring:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the annotated bags; one that the disk refuses must not keep the others open."""
        with ExitStack() as stack:
            for writer in self._annotated.values():
                stack.callback(writer.close)

    def add(self, frame: LabelledFrame) -> None:
        scores = {model: self._scorers[model].add(frame) for model in frame.results}
        self.pictures.add(frame, scores)
        for model in frame.results.keys() & self._annotated.keys():
            self._annotated[model].add(frame.recorded, frame.results[model], frame.times_ms[model])

    def counts(self) -> dict:
        return {model: scorer.counts() for model, scorer in self._scorers.items()}


@contextmanager
def _behind(scoring: _Scoring) -> Iterator[HeldBack[LabelledFrame]]:
    """A scoring thread that has finished what it was given, whatever ends the block."""
    behind = Behind(scoring.add)
    held_back = HeldBack(behind.give, ALONE)
    try:
        yield held_back
        held_back.release()
    except BaseException:
        try:
            held_back.release()
        finally:
            behind.finish()
        raise
    behind.finish()


@contextmanager
def _kept(reading: _Reading) -> Iterator[None]:
    """Note what ended the frames early instead of losing those before it."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        reading.interrupted = True
    except ErfSegError as error:
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
