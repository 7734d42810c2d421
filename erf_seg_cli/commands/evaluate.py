"""`erf_seg evaluate`: score a model on a labelled data set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from erf_seg_cli.labelled_data import add_data_arguments, data_source
from erf_seg_core.errors import ErfSegError

if TYPE_CHECKING:
    import numpy as np

    from erf_seg_core.training.sources import LabelledSet

HELP = "score a model on a labelled data set: mIoU, IoU per class, accuracy, confusion matrix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="checkpoint file or name of a shipped model")
    add_data_arguments(parser, required=True, purpose="to score on")
    parser.add_argument(
        "--protocol",
        choices=("full", "paper"),
        default="full",
        help="full: at the truth's size; paper: truth subsampled by two, as the paper reports",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="what the network sees (default: the checkpoint's)",
    )
    parser.add_argument("--engine", default="auto", help="auto, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, fp16 (GPU) or int8 (CPU, see quantize)"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="also write label PNGs; for Cityscapes in official labelIds",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from erf_seg_core.evaluation.predictions import write_prediction
    from erf_seg_core.evaluation.scoring import score
    from erf_seg_core.inference import load_segmenter
    from erf_seg_core.training.sources import open_source

    if args.predictions and args.protocol == "paper":
        raise ErfSegError(
            "--protocol paper scores at half the size, which no evaluator of files takes: write "
            "--predictions with --protocol full"
        )
    input_size = tuple(args.input_size) if args.input_size else None
    segmenter = load_segmenter(
        args.model,
        device=args.device,
        engine=args.engine,
        input_size=input_size,
        precision=args.precision,
    )
    class_set = segmenter.class_set
    source = data_source(args, class_set.name)
    labelled = open_source(source, class_set, ".")
    names = (frame.name for frame in labelled.frames)

    def predict(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        labels = segmenter(image, confidence=False, label_size=size).labels
        if args.predictions:
            write_prediction(args.predictions, next(names), labels, source.kind == "cityscapes")
        return labels

    scores = score(_with_progress(labelled), predict, class_set, args.protocol)
    if args.json:
        about = {
            "model": segmenter.info.model,
            "data": args.data,
            "split": source.split,
            "input_size": list(segmenter.input_size),
            "engine": segmenter.engine_name,
            "precision": segmenter.precision,
        }
        print(json.dumps({**about, **scores.to_dict()}))
    else:
        print(
            f"{segmenter.info.model} on {scores.images} images, protocol {args.protocol}, per cent"
        )
        print(scores.table())
    return 0


def _with_progress(labelled: LabelledSet) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from tqdm import tqdm

    for i in tqdm(range(len(labelled.frames)), "scoring", mininterval=1):
        yield labelled.load(i)
