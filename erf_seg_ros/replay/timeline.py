"""Which messages of a bag are played, and when on the recorded timeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from erf_seg_core.bags import BagMessage, BagReader

from .stamps import NS_PER_S, read_stamp_ns, starts_with_header


@dataclass(frozen=True)
class PlayOptions:
    """What to play and how; `rate` 2 is twice real time, None for a limit is none."""

    bag: Path
    image_topic: str
    other_topics: tuple[str, ...] = ()
    rate: float = 1.0
    frames: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class TimedMessage:
    """A message with its place on the recorded timeline, in nanoseconds."""

    topic: str
    msgtype: str
    raw: bytes
    recorded_ns: int


def timed_messages(options: PlayOptions) -> Iterator[TimedMessage]:
    """Messages of the chosen topics in the bag's order, up to the limits."""
    first_ns, frames = None, 0
    for message in _all_messages(options):
        if first_ns is None:
            first_ns = message.recorded_ns
        elapsed_s = (message.recorded_ns - first_ns) / NS_PER_S
        if options.seconds is not None and elapsed_s >= options.seconds:
            return
        if message.topic == options.image_topic:
            if frames == options.frames:
                return
            frames += 1
        yield message


def _all_messages(options: PlayOptions) -> Iterator[TimedMessage]:
    with BagReader(options.bag) as bag:
        for message in bag.messages([options.image_topic, *options.other_topics]):
            raw = bytes(message.raw)
            yield TimedMessage(message.topic, message.msgtype, raw, _recorded_ns(message, raw))


def _recorded_ns(message: BagMessage, raw: bytes) -> int:
    """When the sensor saw it; drivers that leave the stamp at zero leave us the recorder's time."""
    stamp_ns = read_stamp_ns(raw) if starts_with_header(message.msgtype) else 0
    return stamp_ns or message.time_ns
