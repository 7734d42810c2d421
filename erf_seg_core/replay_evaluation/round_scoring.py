"""What becomes of labelled frames: scores, annotated bags and pictures, on several cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

from ..inference.engine import default_threads
from ..report.pictures import spread
from .annotated_bag import AnnotatedBag
from .bag_task import BagTask
from .frame_pictures import FramePictures
from .labelled_frame import LabelledFrame
from .model_scorer import ModelCounts, ModelScorer
from .predictors import Predictor

SHOWN = 6
"""Frames spread over a bag of which pictures are kept."""


class RoundScoring:
    """Takes frames in rounds, in order, and scores one round behind the labelling of the next.

    Each model's scores are one job, its annotated bag another. There are fewer threads for them
    than cores: Python threads that do many short things keep each other waiting.
    """

    def __init__(self, task: BagTask, predictors: Mapping[str, Predictor], recorded: int) -> None:
        """Open the annotated bags; `recorded` is how many frames there will be at most."""
        class_sets = {model: p.class_set for model, p in predictors.items()}
        self.pictures = FramePictures(task.name, class_sets, spread(range(recorded), SHOWN))
        self._scorers = {m: ModelScorer(m, class_set) for m, class_set in class_sets.items()}
        self._annotated = {
            model: AnnotatedBag(path, class_sets[model], model, task.options.annotate)
            for model, path in task.annotated.items()
        }
        self._pool = ThreadPoolExecutor(max(1, default_threads() // 2), "score")
        self._frames: Sequence[LabelledFrame] = ()
        self._miou: dict[str, dict[int, float]] = {}
        self._jobs: list[Future[None]] = []

    def __enter__(self) -> RoundScoring:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish, then close the annotated bags: one that fails must not keep the others open."""
        with ExitStack() as stack:
            for writer in self._annotated.values():
                stack.callback(writer.close)
            stack.callback(self._pool.shutdown)
            stack.callback(self.finish)

    def add(self, frames: Sequence[LabelledFrame]) -> None:
        """Begin to score a round; raises what went wrong in the one before."""
        self.finish()
        self._frames = frames
        for model, scorer in self._scorers.items():
            self._begin(_score, scorer, _of_model(model, frames), self._miou.setdefault(model, {}))
        for model, bag in self._annotated.items():
            self._begin(_annotate, bag, model, _of_model(model, frames))

    def finish(self) -> None:
        """Wait until everything that was added is scored; raises what a job raised."""
        jobs, self._jobs = self._jobs, []
        try:
            wait(jobs)
        except KeyboardInterrupt:  # the jobs must not go on while their results are read
            wait(jobs)
            raise
        finally:
            self._keep_pictures()
        for job in jobs:
            job.result()

    def counts(self) -> dict[str, ModelCounts]:
        """What was counted so far, by model."""
        return {model: scorer.counts() for model, scorer in self._scorers.items()}

    def _begin(self, job: Callable[..., None], *arguments: object) -> None:
        self._jobs.append(self._pool.submit(job, *arguments))

    def _keep_pictures(self) -> None:
        """Last, because which frames are shown depends on the scores of all models."""
        for frame in self._frames:
            found = {m: of[frame.index] for m, of in self._miou.items() if frame.index in of}
            self.pictures.add(frame, found)
        self._frames, self._miou = (), {}


def _of_model(model: str, frames: Sequence[LabelledFrame]) -> list[LabelledFrame]:
    return [frame for frame in frames if model in frame.results]


def _score(scorer: ModelScorer, frames: Sequence[LabelledFrame], miou: dict[int, float]) -> None:
    """One model's scores of a round; `miou` gets each frame's by index."""
    for frame in frames:
        miou[frame.index] = scorer.add(frame)


def _annotate(bag: AnnotatedBag, model: str, frames: Sequence[LabelledFrame]) -> None:
    """One model's annotated bag of a round."""
    for frame in frames:
        bag.add(frame.recorded, frame.results[model], frame.times_ms[model])
