"""`erf_seg segment`: images, folders and videos to labels and overlays."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from erf_seg_cli.argument_types import named_path

if TYPE_CHECKING:
    from tqdm import tqdm

    from erf_seg_core.inference import Segmenter
    from erf_seg_core.inference.files import Summary

HELP = "label images, folders or videos: writes class-id PNGs and overlays"

EXIT_SOME_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input", nargs="+", type=Path, metavar="INPUT", help="image, video, or folder of them"
    )
    parser.add_argument(
        "--model", default="dg4", metavar="NAME_OR_PATH", help="shipped model or checkpoint file"
    )
    parser.add_argument(
        "--output", required=True, type=named_path, metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--engine", default="auto", help="auto, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, fp16 (GPU) or int8 (CPU, see quantize)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: physical cores)")
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="what the network sees, multiples of 8 (default: the checkpoint's)",
    )
    parser.add_argument(
        "--class-map",
        type=Path,
        metavar="YAML",
        help="file that renames or merges the classes (examples: config/class_maps)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="P",
        help="pixels of a lower probability, 0 to 1, become void (default: none)",
    )
    parser.add_argument(
        "--confidence", action="store_true", help="write the winning class's probability too"
    )
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="weight of the colours in the overlay, 0 to 1"
    )
    parser.add_argument("--no-overlay", action="store_true", help="write labels only")
    parser.add_argument(
        "--video-labels", action="store_true", help="write a video's labels as PNGs, frame by frame"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="stop after N frames (default: all of them)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Segment everything and say what was written; 1 if some input could not be read."""
    from tqdm import tqdm

    from erf_seg_core.errors import ErfSegError, refuse_undecodable
    from erf_seg_core.inference import load_segmenter
    from erf_seg_core.inference.files import segment_media
    from erf_seg_core.inference.media import find_media
    from erf_seg_core.inference.results import ResultOptions

    if args.limit is not None and args.limit < 1:
        raise ErfSegError(f"--limit is {args.limit}; it must be at least 1")
    if not 0.0 <= args.alpha <= 1.0:
        raise ErfSegError(f"--alpha is {args.alpha}; it must lie between 0 and 1")
    refuse_undecodable(args.output)
    media = find_media(args.input, exclude=args.output)
    options = ResultOptions(
        args.output,
        not args.no_overlay,
        args.alpha,
        args.confidence,
        args.video_labels,
        args.min_confidence,
    )
    size = tuple(args.input_size) if args.input_size else None
    segmenter = load_segmenter(
        args.model,
        args.device,
        args.engine,
        size,
        args.threads,
        class_map=args.class_map,
        precision=args.precision,
    )
    segmenter.warm_up(1)
    counts = [medium.count for medium in media]
    total = None if None in counts else min(sum(counts), args.limit or sum(counts))
    start = time.perf_counter()
    with tqdm(total=total, unit="frame", desc=str(args.output)) as bar:
        summary = segment_media(segmenter, media, options, _Bar(bar), args.limit)
    seconds = time.perf_counter() - start
    if args.json:
        print(json.dumps(_document(summary, segmenter, seconds), indent=2))
    else:
        _print_summary(summary, segmenter, args.output, seconds)
    return EXIT_SOME_FAILED if summary.failures else 0


class _Bar:
    """Moves the bar; messages go above it."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def frame_done(self) -> None:
        self._bar.update()

    def failed(self, message: str) -> None:
        self._bar.write(f"skipped: {message}", file=sys.stderr)


def _document(summary: Summary, segmenter: Segmenter, seconds: float) -> dict[str, object]:
    return {
        "model": segmenter.info.model,
        "class_set": segmenter.class_set.name,
        "input_size": list(segmenter.input_size),
        "engine": segmenter.engine_name,
        "device": segmenter.device,
        "frames": summary.frames,
        "seconds": round(seconds, 3),
        "median_ms": summary.median_ms(),
        "outputs": summary.outputs,
        "failures": summary.failures,
    }


def _print_summary(summary: Summary, segmenter: Segmenter, folder: Path, seconds: float) -> None:
    height, width = segmenter.input_size
    print(
        f"{summary.frames} frames in {seconds:.1f} s to {folder}: {segmenter.info.model} "
        f"({segmenter.class_set.name}) at {height}×{width}, "
        f"{segmenter.engine_name} on {segmenter.device}"
    )
    times = summary.median_ms()
    if times:
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in times.items())
        print(f"median ms per frame: {stages}")
    if summary.failures:
        count = len(summary.failures)
        print(f"{count} input{'s' * (count > 1)} could not be read or written whole, see above")
