"""What a live run left behind: every frame's fate and times, and the sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from erf_seg_core.bags import BagReader
from erf_seg_core.errors import ErfSegError
from erf_seg_core.report.frames import Fate, FrameOutcome, FrameTotals
from erf_seg_ros.timing import FrameTiming

from .live_options import DIAGNOSTICS_TOPIC, LABEL_TOPIC, TIMING_TOPIC
from .played_frames import PlayedFrame, read_played_frames
from .stamps import read_stamp_ns

_COUNTERS = ("received", "labelled", "dropped", "malformed", "failed", "too_old")


@dataclass(frozen=True)
class LiveRecording:
    """What a run left behind: a bag of labels under recorded stamps, and each frame's fate.

    `lateness_ms` is by how much the player missed its deadlines, frame by frame.
    """

    labels: Path
    frames: list[FrameOutcome]
    totals: FrameTotals
    model: str
    engine: str
    lateness_ms: list[float]
    interrupted: bool


def collect(labels: Path, played_frames: Path, interrupted: bool) -> LiveRecording:
    """Read the bag that the recorder wrote and the table that the player wrote."""
    played = read_played_frames(played_frames)
    timings: dict[int, FrameTiming] = {}
    labelled: set[int] = set()
    counts: dict[str, int] = {}
    with BagReader(labels) as bag:
        recorded = {topic.name for topic in bag.topics}
        for message in bag.messages(sorted(recorded & {LABEL_TOPIC})):
            labelled.add(read_stamp_ns(message.raw))
        for stamp_ns, message in _diagnostic_arrays(bag, recorded, TIMING_TOPIC):
            timings[stamp_ns] = FrameTiming.from_message(message)
        for _, message in _diagnostic_arrays(bag, recorded, DIAGNOSTICS_TOPIC):
            counts = max(counts, _camera_counts(message), key=lambda c: sum(c.values()))
    frames = [_outcome(frame, labelled, timings) for frame in played]
    last = timings[max(timings)] if timings else None
    return LiveRecording(
        labels=labels,
        frames=frames,
        totals=totals(len(played), len(labelled), counts),
        model=last.model if last else "",
        engine=last.engine if last else "",
        lateness_ms=[frame.late_us / 1000 for frame in played],
        interrupted=interrupted,
    )


def _diagnostic_arrays(
    bag: BagReader, recorded: set[str], topic: str
) -> Iterator[tuple[int, DiagnosticArray]]:
    for message in bag.messages(sorted(recorded & {topic})):
        raw = bytes(message.raw)
        yield read_stamp_ns(raw), deserialize_message(raw, DiagnosticArray)


def _camera_counts(message: DiagnosticArray) -> dict[str, int]:
    """Counters of the node's camera status; empty where the message has none."""
    for status in message.status:
        values = {value.key: value.value for value in status.values}
        if values.keys() >= set(_COUNTERS):
            return {name: int(values[name]) for name in _COUNTERS}
    return {}


def _outcome(
    frame: PlayedFrame, labelled: set[int], timings: Mapping[int, FrameTiming]
) -> FrameOutcome:
    if frame.recorded_ns not in labelled:
        return FrameOutcome(frame.recorded_ns, Fate.MISSING)
    timing = timings.get(frame.recorded_ns)
    times_ms = {}
    if timing is not None:
        times_ms = {
            "age_on_arrival": timing.age_on_arrival_ms,
            "waiting": timing.waiting_ms,
            **timing.stages_ms,
            "end_to_end": timing.end_to_end_ms,
        }
    return FrameOutcome(frame.recorded_ns, Fate.LABELLED, times_ms)


def totals(recorded: int, labelled: int, counts: Mapping[str, int]) -> FrameTotals:
    """Sums of a run. Whatever has no label is unfinished where the node's counts are not known.

    They come once a second, so that a run that was broken off may have labels after the last of
    them. Raises `ErfSegError` where they contradict what was played and recorded.
    """
    if not counts or counts["labelled"] < labelled:
        return FrameTotals(recorded, labelled, unfinished=recorded - labelled)
    in_node = sum(counts[name] for name in _COUNTERS[1:])
    found = FrameTotals(
        recorded=recorded,
        labelled=labelled,
        dropped=counts["dropped"],
        malformed=counts["malformed"],
        failed=counts["failed"],
        too_old=counts["too_old"],
        unfinished=counts["received"] - in_node,
        lost_to_node=recorded - counts["received"],
        lost_from_node=counts["labelled"] - labelled,
    )
    if min(found.to_dict().values()) < 0:
        raise ErfSegError(
            f"the counts do not add up: {recorded} frames were played and {labelled} labels "
            f"recorded, and the node counted {dict(counts)}; play the bag again"
        )
    return found
