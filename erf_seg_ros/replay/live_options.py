"""What a live run is asked to do, and what each of its processes is told."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from erf_seg_core.bags import BagReader
from erf_seg_core.bags.messages import COMPRESSED_IMAGE
from erf_seg_core.checkpoint import find_checkpoint
from erf_seg_core.errors import ErfSegError, make_folder, refuse_undecodable

NODE = "/segmentation"
LABEL_TOPIC = f"{NODE}/label"
CONFIDENCE_TOPIC = f"{NODE}/confidence"
OVERLAY_TOPIC = f"{NODE}/overlay"
TIMING_TOPIC = f"{NODE}/timing"
DIAGNOSTICS_TOPIC = "/diagnostics"

RATES = (0.001, 1000.0)
"""Slowest and fastest playing."""


@dataclass(frozen=True)
class LiveOptions:
    """What to play into which model. `output` is a folder; the node takes `parameters` as well."""

    bag: Path
    image_topic: str
    output: Path
    model: str = "dg4"
    rate: float = 1.0
    frames: int | None = None
    seconds: float | None = None
    record_confidence: bool = False
    record_overlay: bool = False
    storage: str = "sqlite3"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    start_timeout_s: float = 180.0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        refuse_rate(self.rate)
        if self.frames is not None and self.frames < 1:
            raise ErfSegError(f"{self.frames} frames are none to play: give at least 1")
        if self.seconds is not None and not self.seconds > 0:
            raise ErfSegError(f"there is nothing to play in {self.seconds:g} seconds: give more")


def refuse_rate(rate: float) -> None:
    """Beyond these, stamps of different frames would become one, or the end would never come."""
    slowest, fastest = RATES
    if not slowest <= rate <= fastest:
        raise ErfSegError(
            f"the rate is {rate:g}; it must be from {slowest:g} to {fastest:g} (1 is real time)"
        )


def label_topics(options: LiveOptions) -> list[str]:
    """Topics that the run records."""
    optional = {
        CONFIDENCE_TOPIC: options.record_confidence,
        OVERLAY_TOPIC: options.record_overlay,
    }
    wanted = [topic for topic, recorded in optional.items() if recorded]
    return [LABEL_TOPIC, TIMING_TOPIC, DIAGNOSTICS_TOPIC, *wanted]


@dataclass(frozen=True)
class LivePlan:
    """Files of a run and the arguments of its processes."""

    logs: Path
    labels: Path
    played_frames: Path
    player: list[str]
    recorder: list[str]
    node: list[str]
    frames: int

    @classmethod
    def of(cls, options: LiveOptions) -> LivePlan:
        """Check bag and model, and prepare the output folder.

        Raises `ErfSegError` when the options cannot work, before anything is started.
        """
        refuse_undecodable(options.output.resolve())
        with BagReader(options.bag) as bag:
            types = {topic.name: topic.msgtype for topic in bag.topics}
            count = bag.image_topic(options.image_topic).count
            frames = _frames_to_play(options, count, bag.duration_s)
        info_topic = sibling_camera_info(options.image_topic, types)
        logs = options.output / "logs"
        make_folder(logs)
        labels = options.output / "labels"
        _remove_old_recording(labels)
        played_frames = logs / "played_frames.csv"
        played_frames.unlink(missing_ok=True)
        recorded = label_topics(options)
        compressed = types[options.image_topic] == COMPRESSED_IMAGE
        return cls(
            logs,
            labels,
            played_frames,
            _player_arguments(options, info_topic, played_frames, recorded),
            [
                _as_argument(labels),
                *recorded,
                f"--storage={options.storage}",
                f"--live-stamps={played_frames}",
            ],
            _node_arguments(options, compressed, logs / "node_parameters.yaml"),
            frames,
        )


def sibling_camera_info(image_topic: str, topics: Mapping[str, str]) -> str | None:
    """The camera_info beside an image topic (or beside what it is the compressed form of)."""
    compressed = topics[image_topic] == COMPRESSED_IMAGE
    base = image_topic.removesuffix("/compressed") if compressed else image_topic
    folder, _, _ = base.rpartition("/")
    sibling = f"{folder}/camera_info"
    return sibling if sibling in topics else None


def _frames_to_play(options: LiveOptions, recorded: int, duration_s: float) -> int:
    """About how many frames there will be; a time limit is taken as a share of the recording."""
    if options.frames is not None:
        return min(recorded, options.frames)
    if options.seconds is not None and options.seconds < duration_s:
        return round(recorded * options.seconds / duration_s)
    return recorded


def _as_argument(path: Path) -> str:
    """Absolute, since what begins with a dash would be taken for an option."""
    return str(path.absolute())


def _remove_old_recording(folder: Path) -> None:
    """Make room for this run's bag, but delete nothing that is not a bag's."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ErfSegError(f"{folder} is a file, and the recording's folder goes there: move it")
    foreign = [
        path.name
        for path in folder.iterdir()
        if path.name != "metadata.yaml" and ".db3" not in path.name and path.suffix != ".mcap"
    ]
    if foreign:
        raise ErfSegError(f"{folder} holds {foreign[0]}, which is no recording; choose another")
    shutil.rmtree(folder)


def _player_arguments(
    options: LiveOptions, info_topic: str | None, played_frames: Path, recorded: list[str]
) -> list[str]:
    arguments = [
        _as_argument(options.bag),
        f"--image-topic={options.image_topic}",
        f"--rate={options.rate}",
        f"--frames-file={played_frames}",
        f"--wait-active={NODE}",
        *(f"--wait-subscribed={topic}" for topic in recorded),
        f"--timeout={options.start_timeout_s}",
        "--hold",
    ]
    if info_topic:
        arguments.append(f"--other-topic={info_topic}")
    for name in ("frames", "seconds"):
        if (limit := getattr(options, name)) is not None:
            arguments.append(f"--{name}={limit}")
    return arguments


def _node_arguments(options: LiveOptions, compressed: bool, file: Path) -> list[str]:
    # A checkpoint's path goes absolute and into a file: `-p` would read it as YAML.
    refuse_undecodable(find_checkpoint(options.model))
    model = options.model
    if Path(model).is_file():
        model = str(Path(model).resolve())
    transport = "compressed" if compressed else "raw"
    parameters = {**options.parameters, "model": model, "transport": transport}
    content = {"/**": {"ros__parameters": parameters}}
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    image = "image/compressed" if compressed else "image"
    # The node finds camera_info by itself, beside the images.
    remapping = ["-r", f"{image}:={options.image_topic}"]
    return ["--ros-args", "--params-file", _as_argument(file), *remapping]
