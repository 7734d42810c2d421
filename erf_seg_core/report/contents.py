"""What the report page is made from: a live replay or an offline evaluation, of any models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoint import CheckpointInfo
from ..class_sets import ClassSet
from ..evaluation.boundary import BoundaryScore
from ..evaluation.calibration import Calibration
from ..evaluation.flicker import TemporalConsistency
from ..evaluation.frame_scores import FrameScores
from .frames import FrameOutcome, FrameTotals
from .pictures import Strip


@dataclass(frozen=True)
class ModelResult:
    """One model over the recorded frames; what was not measured is None and left out of the page.

    `name` is unique on the page; `class_set` is that of the labels. `frames` are all recorded
    frames, in order; `scores` those that were labelled. `totals` tells where the frames of a live
    run went. `frames_per_s` is what an offline run reached, everything included,
    `network_frames_per_s` what the network reached while nothing else was done; `would_drop` is how
    many frames a camera of the recorded rate would have lost at that speed. `worst` are pictures of
    the worst frames, the worst first, `Strip.note` saying how bad.
    """

    name: str
    info: CheckpointInfo
    class_set: ClassSet
    engine: str
    frames: Sequence[FrameOutcome]
    scores: FrameScores | None = None
    boundary: BoundaryScore | None = None
    consistency: TemporalConsistency | None = None
    calibration: Calibration | None = None
    totals: FrameTotals | None = None
    frames_per_s: float | None = None
    network_frames_per_s: float | None = None
    would_drop: int | None = None
    worst: Sequence[Strip] = ()


@dataclass(frozen=True)
class ReportContents:
    """The page: models side by side on the same frames.

    Args:
        bags: paths of what was played, as shown.
        image_topic: where the images came from.
        image_size: (height, width) of the images.
        rate_hz: rate of the recording; nan where unknown.
        live: played over DDS to the node; otherwise every frame was taken from the file.
        models: results, in the order in which the user named the models.
        truth: in words, what labels were compared with; a reference model is named as such.
        reference: the model whose labels stood in for truth; empty if it was truth.
        limit: only so many frames of each bag were taken, its first.
        scores_note: why there are no scores, where there are none.
        damaged: how many images are no picture, as a sentence; empty if all are.
        strips: pictures spread over the drive, with the predictions of all models.
        partial: why frames are missing, as a sentence; empty for a complete run.
        problems: bags that were skipped, with the reason.
        played_at: speed of a live run relative to the recording.
        machine: facts, such as `machine_facts`.
        created: date and time.
        files: what else was written, by name.
        video: WebM beside the page.

    """

    bags: Sequence[str]
    image_topic: str
    image_size: tuple[int, int]
    rate_hz: float
    live: bool
    models: Sequence[ModelResult]
    machine: dict[str, str]
    created: str
    truth: str = "the truth in the bag"
    reference: str = ""
    limit: int | None = None
    scores_note: str = ""
    damaged: str = ""
    strips: Sequence[Strip] = ()
    partial: str = ""
    problems: Sequence[str] = ()
    played_at: float = 1.0
    files: dict[str, str] = field(default_factory=dict)
    video: Path | None = None

    @property
    def against(self) -> str:
        """What labels were compared with, in a word."""
        return "reference" if self.reference else "truth"

    @property
    def latency(self) -> str:
        """Which of the frames' times is the one that matters to a user."""
        return "end_to_end" if self.live else "total"
