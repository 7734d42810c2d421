"""What `erf_seg demo` and `erf_seg bag replay` share: options, progress bars, the summary."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from erf_seg_cli.argument_types import named_path, positive

EXIT_INTERRUPTED = 130
TRUTH_TOPIC = "/ground_truth/label"
"""Scored against where the bag has it; any other one it must have."""


def add_replay_arguments(parser: argparse.ArgumentParser, output: str | None, video: bool) -> None:
    """Declare the options of a live run: `output` and `video` are the defaults."""
    parser.add_argument("--model", default="dg4", help="name or checkpoint file")
    parser.add_argument(
        "--output",
        type=named_path,
        default=output,
        required=output is None,
        metavar="DIR",
        help="folder for report.html, summary.json, frames.csv, labels, video and logs",
    )
    parser.add_argument("--image-topic", metavar="TOPIC", help="which camera, if there are several")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=positive(float), help="play so much of the recording")
    limit.add_argument("--frames", type=positive(int), help="play so many frames")
    parser.add_argument(
        "--rate", type=positive(float), default=1.0, help="playing speed; 2 is twice real time"
    )
    parser.add_argument("--truth-topic", default=TRUTH_TOPIC, help="label images to score against")
    parser.add_argument(
        "--truth-classes", default="camvid11", help="class set of their ids: name or YAML file"
    )
    parser.add_argument("--engine", default="auto", help="auto, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--video",
        action=argparse.BooleanOptionalAction,
        default=video,
        help="write a video of the labels over the images",
    )
    parser.add_argument(
        "--record",
        nargs="+",
        default=[],
        choices=("confidence", "overlay"),
        help="record these outputs of the node too",
    )
    parser.add_argument(
        "--storage", choices=("sqlite3", "mcap"), default="sqlite3", help="format of the labels"
    )
    parser.add_argument("--json", action="store_true", help="print summary.json's content")


def replay(args: argparse.Namespace, bag: Path) -> int:
    """Play `bag` into the node, write the report and print the summary."""
    from erf_seg_core.bags import BagReader
    from erf_seg_core.bags.topics import choose_image_topic
    from erf_seg_core.report.replay_report import Truth
    from erf_seg_ros.replay.live_options import LiveOptions
    from erf_seg_ros.replay.replay_bag import replay_bag

    with BagReader(bag) as reader:
        image_topic = choose_image_topic(reader, args.image_topic, args.truth_topic)
        if args.truth_topic != TRUTH_TOPIC:  # somebody wants it
            reader.image_topic(args.truth_topic)
    options = LiveOptions(
        bag=bag,
        image_topic=image_topic,
        output=Path(args.output),
        model=args.model,
        rate=args.rate,
        frames=args.frames,
        seconds=args.seconds,
        record_confidence="confidence" in args.record,
        record_overlay="overlay" in args.record,
        storage=args.storage,
        parameters={"engine": args.engine, "device": args.device},
    )
    truth = Truth(args.truth_topic, args.truth_classes)
    with ProgressBars() as bars:
        summary = replay_bag(options, bars, truth, video=args.video)
    if args.json:
        print(json.dumps(summary.to_dict(), ensure_ascii=False))
    else:
        print(f"\n{summary.table()}")
    return EXIT_INTERRUPTED if summary.interrupted else 0


class ProgressBars:
    """On stderr: a line for each stage, and a bar once it has frames to show."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bar: Any = None
        self._what = ""
        self._frames: int | None = None

    def stage(self, what: str, frames: int | None = None) -> None:
        """End the bar before it and say what begins."""
        self.close()
        self._what, self._frames = what, frames
        if not frames:
            print(f"{what} …", file=sys.stderr, flush=True)

    def progress(self, done: int, note: str = "") -> None:
        """Move the bar."""
        from tqdm import tqdm

        if self._bar is None:
            if not done:
                return
            self._bar = tqdm(
                total=self._frames,
                desc=self._what,
                unit=" frames",
                file=sys.stderr,
                mininterval=0.2,
            )
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def problem(self, what: str) -> None:
        """End the bar and say what went wrong."""
        self.close()
        print(f"problem: {what}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> ProgressBars:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last bar as it is."""
        self.close()
