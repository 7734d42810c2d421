"""`erf_seg demo`: a bag in real time over DDS through the node, and a report of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from erf_seg_cli.replaying import ProgressBars, add_replay_arguments, replay

HELP = "play a drive to the node in real time over DDS; write video, labels and a report"

DRIVE_SECONDS = 10.0
"""Of the synthetic drive: with rendering and the report the demo stays well under two minutes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--bag", type=Path, help="rosbag to play; without it a synthetic drive is rendered"
    )
    add_replay_arguments(parser, output="demo_out", video=True)
    parser.add_argument("--seed", type=int, default=0, help="which synthetic drive")


def run(args: argparse.Namespace) -> int:
    """Render the drive if there is no bag, then replay it."""
    return replay(args, args.bag or _drive(args))


def _drive(args: argparse.Namespace) -> Path:
    from erf_seg_ros.demo import DriveOptions, rendered_drive

    rate_hz = DriveOptions.rate_hz
    frames = args.frames or max(2, round((args.seconds or DRIVE_SECONDS) * rate_hz))
    with ProgressBars() as bars:
        return rendered_drive(Path(args.output), DriveOptions(args.seed, frames), bars)
