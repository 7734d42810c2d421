"""`erf_seg bag make`: a rosbag2 of a synthetic drive, a folder of labelled images or a video."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from erf_seg_cli.argument_types import named_path

if TYPE_CHECKING:
    from erf_seg_core.bags.sources import FrameSource

HELP = (
    "make a rosbag2 of a synthetic drive, of a folder of images (images/ with labels/, or "
    "Cityscapes' leftImg8bit/ with gtFine/), or of a video"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("source", nargs="?", type=Path, help="folder of images, or video file")
    source.add_argument("--synthetic", action="store_true", help="draw a synthetic drive instead")
    parser.add_argument(
        "--output", "-o", required=True, type=named_path, help="folder of the new bag"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that is there")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="HZ",
        help="frames per second (default: the video's own, otherwise 15)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many frames")
    parser.add_argument("--storage", choices=("sqlite3", "mcap"), default="sqlite3", help="format")
    parser.add_argument(
        "--compressed",
        action="store_true",
        help="JPEG on /camera/image_raw/compressed; JPEG files keep their bytes",
    )
    parser.add_argument(
        "--class-set",
        default="camvid11",
        help="what the ids in labels/ mean; ids beyond it are void (not for Cityscapes' gtFine)",
    )
    drive = parser.add_argument_group("synthetic drive")
    drive.add_argument("--seed", type=int, default=0, help="which drive")
    drive.add_argument("--frames", type=int, default=300, help="how many frames")
    drive.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=(360, 480),
        metavar=("HEIGHT", "WIDTH"),
        help="pixels",
    )
    drive.add_argument(
        "--weather", help="clear, bright, overcast, fog, rain or dusk, not the seed's"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Make the bag, with progress on stderr."""
    from tqdm import tqdm

    from erf_seg_core.bags.make import make_bag

    source = _source(args)
    counts = [n for n in (source.count, args.limit) if n is not None]
    with tqdm(total=min(counts, default=None), unit="frame", desc=str(args.output)) as bar:
        made = make_bag(
            source,
            args.output,
            rate_hz=args.rate,
            storage=args.storage,
            compressed=args.compressed,
            limit=args.limit,
            overwrite=args.overwrite,
            on_frame=bar.update,
        )
    if args.json:
        print(json.dumps(asdict(made)))
    else:
        print(
            f"{made.path}: {made.frames} frames of {made.width}×{made.height} at "
            f"{made.rate_hz:g} Hz, {made.duration_s:.1f} s, {made.labelled} with labels"
        )
        for topic, count in made.topics.items():
            print(f"  {topic}  {count}")
    if made.interrupted:
        print(f"interrupted: the bag holds {made.frames} frames", file=sys.stderr)
        return 130
    return 0


def _source(args: argparse.Namespace) -> FrameSource:
    from erf_seg_core.bags.sources import SyntheticSource, open_source
    from erf_seg_core.class_sets import load_class_set

    if not args.synthetic:
        return open_source(args.source, load_class_set(args.class_set))
    # drawn at the rate it is stamped with, so that the speed stays plausible
    rate_hz = args.rate or SyntheticSource.rate_hz
    return SyntheticSource(args.frames, args.seed, tuple(args.size), rate_hz, args.weather)
