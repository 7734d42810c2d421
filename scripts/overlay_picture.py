"""The README's first picture: a frame of a synthetic drive, its exact labels and the overlay.

    erf_seg bag make --synthetic --seed 11 --frames 75 --output drive
    python scripts/overlay_picture.py drive docs/images/overlay.jpg

Needs a bag with truth, as `erf_seg bag make` writes it. Take public or synthetic recordings.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from erf_seg_core import load_segmenter
from erf_seg_core.bags import BagReader
from erf_seg_core.bags.make import TRUTH_TOPIC
from erf_seg_core.bags.topics import choose_image_topic
from erf_seg_core.overlay import blend, colorize

SIZE = (480, 360)
"""Width and height of each of the three."""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path, help="bag with images and truth")
    parser.add_argument("picture", type=Path, help="JPEG to write")
    parser.add_argument("--model", default="dg4", help="whose overlay")
    parser.add_argument("--frame", type=int, default=30, help="number of the frame, from 0")
    args = parser.parse_args()
    strip = photograph(args.bag, args.model, args.frame)
    cv2.imwrite(str(args.picture), strip, [cv2.IMWRITE_JPEG_QUALITY, 90])
    print(f"{args.picture}: {args.picture.stat().st_size // 1000} kB")


def photograph(path: Path, model: str, number: int) -> np.ndarray:
    """Image, labels and overlay side by side, uint8 H×W×3 BGR."""
    segmenter = load_segmenter(model, device="cpu")
    with BagReader(path) as bag:
        image = _nth(bag, choose_image_topic(bag, None, TRUTH_TOPIC), number)
        truth = _nth(bag, TRUTH_TOPIC, number)
    overlay = blend(image, segmenter(image).labels, segmenter.class_set)
    panels = (image, colorize(truth, segmenter.class_set), overlay)
    return np.hstack([cv2.resize(panel, SIZE, interpolation=cv2.INTER_AREA) for panel in panels])


def _nth(bag: BagReader, topic: str, number: int) -> np.ndarray:
    return next(picture for _, _, picture in islice(bag.images(topic), number, None))


if __name__ == "__main__":
    main()
