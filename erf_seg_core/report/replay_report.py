"""From a replay's two bags to its report: scores, pictures, video, page and numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..bags import BagReader
from ..checkpoint import CheckpointInfo
from ..class_sets import ClassSet, load_class_set
from ..machine import machine_facts
from .bag_pictures import camera_pictures, label_pictures
from .contents import ModelResult, ReportContents
from .frames import NS_PER_S, Fate, FrameOutcome, FrameTotals, write_frames_csv
from .html import write_report
from .matched_frames import MatchedFrame, StampedArray, matched_frames
from .pictures import StripCollector, spread
from .scoring import RecordedScores, why_not_comparable
from .summary import ReplaySummary, Source
from .video import SUFFIX, OverlayVideo

VIDEO_FILE = f"overlay{SUFFIX}"
STRIPS = 6
PARTIAL = "Interrupted: this report is partial. It covers the frames played until then."


@dataclass(frozen=True)
class Truth:
    """Topic of label images in the played bag, and the class set of their ids."""

    topic: str = "/ground_truth/label"
    class_set: str = "camvid11"


@dataclass(frozen=True)
class Replay:
    """A finished replay: `labels` is the recorded bag, its stamps are those of `bag`."""

    bag: Path
    image_topic: str
    labels: Path
    label_topic: str
    model: CheckpointInfo
    engine: str
    frames: list[FrameOutcome]
    totals: FrameTotals
    played_at: float = 1.0
    lateness_ms: list[float] = field(default_factory=list)
    interrupted: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def report_replay(
    replay: Replay,
    output: Path,
    truth: Truth,
    video: bool = True,
    on_frame: Callable[[int], None] = lambda done: None,
) -> ReplaySummary:
    """Write report.html, summary.json, frames.csv and, if wanted, the video into `output`.

    `on_frame` is told how many of the frames are done. Ctrl-C leaves a report of those.
    """
    class_set = replay.model.class_set
    rate_hz = _rate_hz(replay.frames)
    scores = RecordedScores(class_set)
    shown = _shown(replay.frames)
    strips = StripCollector(replay.model.model, class_set, shown, apart=max(1, round(rate_hz)))
    video_path = output / VIDEO_FILE if video and replay.frames else None
    interrupted = replay.interrupted
    size = (0, 0)
    with ExitStack() as stack:
        bag = stack.enter_context(BagReader(replay.bag))
        labels = stack.enter_context(BagReader(replay.labels))
        note = _why_no_scores(bag, truth, class_set)
        consumers = [lambda frame: strips.add(frame, scores.add(frame))]
        if video_path:
            movie = OverlayVideo(video_path, class_set, rate_hz * replay.played_at)
            consumers.append(stack.enter_context(movie).add)
        try:
            for done, frame in enumerate(_frames(replay, bag, labels, truth, note), start=1):
                size = frame.image_bgr.shape[:2]
                for consume in consumers:
                    consume(frame)
                on_frame(done)
        except KeyboardInterrupt:
            interrupted = True
    summary = ReplaySummary(
        source=Source(str(replay.bag), replay.image_topic, size, rate_hz, replay.played_at),
        model=replay.model,
        engine=replay.engine,
        frames=replay.frames,
        totals=replay.totals,
        scores=scores.scores(),
        scores_note=note or scores.why_none(),
        lateness_ms=replay.lateness_ms,
        machine={**machine_facts(), **replay.environment},
        interrupted=interrupted,
        created=time.strftime("%Y-%m-%d %H:%M %Z"),
        files=_files(replay, output, video_path),
    )
    summary.write_json(output / "summary.json")
    write_frames_csv(output / "frames.csv", replay.frames)
    write_report(output / "report.html", _contents(summary, scores, strips, video_path))
    return summary


def _contents(
    summary: ReplaySummary, scores: RecordedScores, strips: StripCollector, video: Path | None
) -> ReportContents:
    """The page about one model that ran live."""
    source, model = summary.source, summary.model
    machine = dict(summary.machine)
    if summary.lateness_ms:
        machine["player"] = f"missed its deadlines by at most {max(summary.lateness_ms):.1f} ms"
    result = ModelResult(
        name=model.model,
        info=model,
        class_set=model.class_set,
        engine=summary.engine,
        frames=summary.frames,
        scores=scores.frame_scores(source.bag, summary.frames),
        boundary=scores.boundary,
        consistency=scores.consistency,
        totals=summary.totals,
        worst=strips.worst(),
    )
    return ReportContents(
        bags=[source.bag],
        image_topic=source.image_topic,
        image_size=source.image_size,
        rate_hz=source.rate_hz,
        live=True,
        models=[result],
        machine=machine,
        created=summary.created,
        scores_note=summary.scores_note,
        strips=strips.strips,
        partial=PARTIAL if summary.interrupted else "",
        played_at=source.played_at,
        files=summary.files,
        video=video,
    )


def _frames(
    replay: Replay, bag: BagReader, labels: BagReader, truth: Truth, note: str
) -> Iterator[MatchedFrame]:
    """The frames that were played, in order."""
    if not replay.frames:
        return
    last_ns = replay.frames[-1].stamp_ns
    recorded = {topic.name for topic in labels.topics}
    label_images: Iterator[StampedArray] = iter(())
    if replay.label_topic in recorded:
        label_images = label_pictures(labels, replay.label_topic)
    truth_images: Iterator[StampedArray] = iter(())
    if not note:
        truth_images = label_pictures(bag, truth.topic)
    images = camera_pictures(bag, replay.image_topic)
    for frame in matched_frames(images, label_images, truth_images):
        if frame.stamp_ns > last_ns:
            return
        yield frame


def _why_no_scores(bag: BagReader, truth: Truth, class_set: ClassSet) -> str:
    if truth.topic not in {topic.name for topic in bag.topics}:
        return f"Not scored: the bag has no truth on {truth.topic}."
    return why_not_comparable(class_set, load_class_set(truth.class_set))


def _shown(frames: list[FrameOutcome]) -> list[int]:
    labelled = [frame.stamp_ns for frame in frames if frame.fate is Fate.LABELLED]
    return spread(labelled, STRIPS)


def _rate_hz(frames: list[FrameOutcome]) -> float:
    """Rate of the recorded frames; 1 where it cannot be told."""
    span_ns = frames[-1].stamp_ns - frames[0].stamp_ns if frames else 0
    return (len(frames) - 1) * NS_PER_S / span_ns if span_ns > 0 else 1.0


def _files(replay: Replay, output: Path, video: Path | None) -> dict[str, str]:
    files = {"report": output / "report.html", "summary": output / "summary.json"}
    files |= {"frames": output / "frames.csv", "labels": replay.labels}
    if video:
        files["video"] = video
    return {name: str(path) for name, path in files.items()}
