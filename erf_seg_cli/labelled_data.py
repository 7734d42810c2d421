"""Arguments that name a labelled data set, shared by the commands that score."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from erf_seg_core.errors import ErfSegError

if TYPE_CHECKING:
    from erf_seg_core.class_sets import ClassSet
    from erf_seg_core.training.recipe import Source

LAYOUTS = ("auto", "camvid", "cityscapes", "folder", "synthetic")


def add_data_arguments(parser: argparse.ArgumentParser, *, required: bool, purpose: str) -> None:
    """Declare --data, --layout, --split and --only."""
    parser.add_argument(
        "--data", required=required, help=f"folder of the data set {purpose}, or 'synthetic'"
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="auto",
        help="cityscapes: the official folders; camvid: SPLIT/images and SPLIT/labels with 11 as "
        "void; folder: the same with the model's class ids and 255 as void; auto: by what is there",
    )
    parser.add_argument(
        "--split",
        help="sub-folder to score (default: val; without it the folder itself, if it has images)",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PREFIX", help="score images of these names only"
    )


def data_source(args: argparse.Namespace, class_set: str) -> Source:
    """Return what those arguments name, for a network whose classes are `class_set`.

    Raises `ErfSegError` for arguments that do not go together.
    """
    from erf_seg_core.training.recipe import Source

    layout = _layout(args, class_set)
    if layout == "synthetic":
        if args.split or args.only:
            raise ErfSegError("--split and --only are for folders: a synthetic drive has neither")
        return Source(layout)
    folder = Path(args.data)
    whole = (folder / "images").is_dir() and not (folder / "val").is_dir()
    split = args.split or ("train" if whole else "val")
    return Source(layout, args.data, split, only=tuple(args.only))


def found_data_source(args: argparse.Namespace, class_set: ClassSet) -> Source | None:
    """Return the same where --data is optional, found wanting now and not after long work."""
    from erf_seg_core.training.sources import open_source

    if args.data is None:
        return None
    source = data_source(args, class_set.name)
    open_source(source, class_set, ".")
    return source


def _layout(args: argparse.Namespace, class_set: str) -> str:
    if args.layout != "auto":
        return args.layout
    if args.data == "synthetic":
        return "synthetic"
    if (Path(args.data) / "leftImg8bit").is_dir():
        return "cityscapes"
    return "camvid" if class_set == "camvid11" else "folder"
