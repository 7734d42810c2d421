"""`erf_seg quantize`: calibrate a network for INT8 on the CPU, and say what that is worth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erf_seg_cli.argument_types import positive
from erf_seg_cli.labelled_data import add_data_arguments, found_data_source
from erf_seg_core.errors import ErfSegError

if TYPE_CHECKING:
    import numpy as np

    from erf_seg_core.benchmark import Benchmark
    from erf_seg_core.training.recipe import Source

HELP = "calibrate a model for INT8 on the CPU with your pictures; compare its speed and mIoU"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="checkpoint file or name of a shipped model")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of pictures like those it is to label"
    )
    parser.add_argument(
        "--most", type=positive(int), default=32, help="pictures to use, evenly spread"
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="what the network sees (default: the checkpoint's)",
    )
    parser.add_argument(
        "--rounds", type=positive(int), default=20, help="timed calls of each precision"
    )
    parser.add_argument(
        "--threads", type=positive(int), help="CPU threads (default: the physical cores)"
    )
    add_data_arguments(parser, required=False, purpose="to measure the loss of mIoU on")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Calibrate, compare, record, print."""
    from tqdm import tqdm

    from erf_seg_core.benchmark import run_benchmark
    from erf_seg_core.checkpoint import build_from_checkpoint
    from erf_seg_core.inference.calibration import Worth, conditions_here, record_worth
    from erf_seg_core.inference.quantization import calibrate

    net, info = build_from_checkpoint(args.model)
    size = tuple(args.input_size) if args.input_size else info.input_size
    data = found_data_source(args, info.class_set)
    images = pictures_of(args.images, args.most)
    benchmark = _comparison(args, info.num_outputs, size, images[0].shape[:2], data)
    with tqdm(unit=" steps", mininterval=1) as progress:

        def on_step(what: str = "calibrating") -> None:
            progress.set_description(what, refresh=False)
            progress.update()

        calibrate(net, size, images, str(args.images), on_step)
        run_benchmark(benchmark, list(benchmark.rows), on_step)
    document = _document(benchmark)
    conditions = conditions_here(size, next(iter(benchmark.rows)).threads)
    worth = Worth(
        document["miou_loss"], document["speedup_at_least"], document["scored_on"], conditions
    )
    document["conditions"] = conditions
    document["used_by_auto"] = record_worth(net, worth).worth_it(conditions)
    print(json.dumps(document) if args.json else _text(benchmark, document))
    return 0


def pictures_of(folder: Path, most: int) -> list[np.ndarray]:
    """Return pictures of a folder, spread evenly over it."""
    from erf_seg_core.inference.media import ImageFile, find_media

    files = [medium for medium in find_media([folder]) if isinstance(medium, ImageFile)]
    if not files:
        raise ErfSegError(f"there is no picture to calibrate with in {folder}")
    count = min(most, len(files))
    spread = [files[index * len(files) // count] for index in range(count)]
    return [image for file in spread for image in file.frames()]


def _comparison(
    args: argparse.Namespace,
    outputs: int,
    size: tuple[int, int],
    image_size: tuple[int, int],
    data: Source | None,
) -> Benchmark:
    """Plan both precisions in the same rounds, float32 as the baseline."""
    from erf_seg_core.benchmark import Baseline, Benchmark, Row, Settings, combinations
    from erf_seg_core.benchmark.configuration import checked_model
    from erf_seg_core.inference.engine import default_threads
    from erf_seg_core.synthetic.drive import LARGEST, SMALLEST

    threads = [args.threads or default_threads()]
    baseline = Baseline(checked_model(args.model), "onnxruntime")
    rows = combinations(
        *([args.model], ["onnxruntime"], ["fp32", "int8"], [size], ["cpu"], threads),
        baseline=baseline,
    )
    height, width = (min(max(side, SMALLEST), LARGEST) for side in image_size)
    settings = Settings((height, width), args.rounds, outputs, memory=False, data=data)
    return Benchmark(settings, baseline, {row: Row(row) for row in rows})


def _document(benchmark: Benchmark) -> dict[str, Any]:
    from erf_seg_core.benchmark.table import to_dict

    plain, int8 = benchmark.rows.values()
    if int8.failure or plain.failure:
        raise ErfSegError(f"INT8 does not run here: {int8.failure or plain.failure}")
    scored = benchmark.settings.data is not None
    if scored and not (int8.accuracy and plain.accuracy):
        raise ErfSegError("; ".join(dict.fromkeys(benchmark.remarks)))
    return {
        "miou_loss": plain.accuracy.miou - int8.accuracy.miou if scored else None,
        "speedup": benchmark.speedup(int8).value,
        "speedup_at_least": benchmark.speedup(int8).low,
        "scored_on": int8.accuracy.on if scored else "",
        **to_dict(benchmark),
    }


def _text(benchmark: Benchmark, document: dict[str, Any]) -> str:
    from erf_seg_core.benchmark.table import cells, header, plain_text

    table = plain_text(header(benchmark), [cells(benchmark, row) for row in benchmark.measured()])
    loss = document["miou_loss"]
    lost = "not measured: name labelled images with --data" if loss is None else f"{100 * loss:.2f}"
    use = "uses it" if document["used_by_auto"] else "does not use it"
    return (
        f"{table}\nloss of mIoU in points: {lost}\nprecision 'auto' {use} under these conditions "
        f"({document['conditions']}): the interval of its speedup must lie above 1, and it must "
        "lose less than half a point; --precision int8 always does"
    )
