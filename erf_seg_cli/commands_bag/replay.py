"""`erf_seg bag replay`: a bag in real time over DDS through the node."""

from __future__ import annotations

import argparse
from pathlib import Path

from erf_seg_cli.replaying import add_replay_arguments, replay

HELP = "play a bag to the node in real time over DDS; record labels and times, and report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder or file, ROS 1 .bag")
    add_replay_arguments(parser, output=None, video=False)


def run(args: argparse.Namespace) -> int:
    """Replay it."""
    return replay(args, args.bag)
