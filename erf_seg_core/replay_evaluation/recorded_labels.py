"""What the node made of a drive, as it was recorded: labels and times instead of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..bags import BagReader
from ..checkpoint import CheckpointInfo
from ..inference import Segmentation
from ..label_size import resize_labels
from ..report.bag_pictures import label_pictures
from ..report.frames import FrameOutcome
from ..report.matched_frames import Follower
from .predictors import Labelled
from .recorded_frames import RecordedFrame


class RecordedLabels:
    """A predictor that looks up what a live run recorded for a frame."""

    side_by_side = 1

    def __init__(
        self,
        info: CheckpointInfo,
        engine: str,
        label_at: Follower,
        frames: Sequence[FrameOutcome],
    ) -> None:
        """`label_at` gives the label of a stamp, `frames` have the times."""
        self.info = info
        self.class_set = info.class_set
        self.engine = engine
        self.device = ""
        self._label_at = label_at
        self._times = {frame.stamp_ns: frame.times_ms for frame in frames}
        self._names = list(dict.fromkeys(name for f in frames for name in f.times_ms))

    def __call__(self, frame: RecordedFrame, size: tuple[int, int]) -> Labelled | None:
        """The recorded label at (height, width) `size`, if there is one; nan for lost times."""
        labels = self._label_at(frame.stamp_ns)
        if labels is None:
            return None
        times = self._times.get(frame.stamp_ns, {})
        named = {name: times.get(name, float("nan")) for name in self._names}
        return Segmentation(resize_labels(labels, size), None), named

    def untimed(
        self, frames: Sequence[RecordedFrame], size: tuple[int, int]
    ) -> list[Labelled | None]:
        """The same of several frames."""
        return [self(frame, size) for frame in frames]


@contextmanager
def recorded_labels(
    bag: Path,
    topic: str,
    info: CheckpointInfo,
    engine: str,
    frames: Sequence[FrameOutcome],
) -> Iterator[RecordedLabels]:
    """Open the bag of labels that a live run recorded under the stamps of its images."""
    with BagReader(bag) as labels:
        recorded = topic in {t.name for t in labels.topics}
        pictures = label_pictures(labels, topic) if recorded else iter(())
        yield RecordedLabels(info, engine, Follower(pictures), frames)
