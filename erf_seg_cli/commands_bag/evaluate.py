"""`erf_seg bag evaluate`: recorded drives through several models, scored and compared."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erf_seg_cli.argument_types import named_path, positive
from erf_seg_cli.replaying import ProgressBars
from erf_seg_core.errors import ErfSegError

if TYPE_CHECKING:
    from erf_seg_core.replay_evaluation.evaluation import Evaluation
    from erf_seg_core.replay_evaluation.options import EvaluationOptions

HELP = "run models over every frame of recorded drives; score, time and compare them in a report"

EXIT_INCOMPLETE = 1
EXIT_INTERRUPTED = 130
_ANNOTATIONS = ("labels", "confidence", "overlay", "timing", "image", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "bags",
        nargs="+",
        metavar="BAG",
        help="bags, folders of bags, or patterns such as 'drives/*'",
    )
    parser.add_argument(
        "--models",
        default="dg4",
        metavar="NAME[,…]",
        help="names or checkpoint files, separated by commas; the first is what others are held to",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=named_path,
        default=Path("evaluation_out"),
        metavar="DIR",
        help="folder for report.html, summary.json, frames.csv and a folder for each model; bags "
        "that are finished in it are not done again",
    )
    parser.add_argument("--image-topic", metavar="TOPIC", help="which camera, if there are several")
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--truth",
        metavar="TOPIC|FOLDER",
        help="label images to score against: a topic, or a folder of PNGs named after the stamps "
        "(default: /ground_truth/label where a bag has it)",
    )
    truth.add_argument(
        "--reference", metavar="MODEL", help="compare with this model's labels instead of truth"
    )
    parser.add_argument(
        "--truth-classes",
        default="camvid11",
        help="class set of the truth's ids: name or YAML file",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many frames of each bag")
    parser.add_argument(
        "--annotate",
        nargs="+",
        choices=_ANNOTATIONS,
        default=list(_ANNOTATIONS[:4]),
        metavar="WHAT",
        help="what goes into the annotated bag of each model: labels, confidence, overlay, timing, "
        "image; or none (default: all but the image)",
    )
    parser.add_argument("--engine", default="auto", help="auto, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of each network")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="bags at a time, each in a process of its own (default: the cores; 1 on a GPU)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="do the bags on a Dask cluster (tcp://HOST:8786, or local) with the same paths",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="play the bags over DDS to the node instead, one model after the other; needs ROS 2",
    )
    parser.add_argument(
        "--rate", type=positive(float), help="playing speed, with --live only (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print summary.json's content")


def run(args: argparse.Namespace) -> int:
    """Evaluate, with progress on stderr."""
    from erf_seg_core.bags.find import find_bags
    from erf_seg_core.replay_evaluation.evaluation import Parallel, evaluate_bags

    if args.rate and not args.live:
        raise ErfSegError("--rate is the playing speed of a live run; add --live, or leave it out")
    options, bags = _options(args), find_bags(args.bags, args.output, on_skipped=_say)
    if args.live:
        evaluation = _run_live(args, options, bags)
    else:
        parallel = Parallel(args.workers, args.cluster)
        with _Progress() as progress:
            evaluation = evaluate_bags(bags, options, args.output, parallel, progress)
    print(json.dumps(evaluation.summary) if args.json else evaluation.table)
    return _exit_status(evaluation)


def _run_live(args: argparse.Namespace, options: EvaluationOptions, bags: list[Path]) -> Evaluation:
    from erf_seg_ros.replay.live_evaluation import evaluate_live

    with ProgressBars() as bars:
        return evaluate_live(bags, options, args.output, args.rate or 1.0, bars)


def _options(args: argparse.Namespace) -> EvaluationOptions:
    from erf_seg_core.replay_evaluation.options import EvaluationOptions

    return EvaluationOptions(
        models=tuple(name for name in args.models.split(",") if name),
        image_topic=args.image_topic,
        truth=args.truth,
        truth_classes=args.truth_classes,
        reference=args.reference,
        limit=args.limit,
        engine=args.engine,
        device=args.device,
        threads=args.threads,
        annotate=() if "none" in args.annotate else tuple(args.annotate),
    )


def _exit_status(evaluation: Evaluation) -> int:
    if evaluation.interrupted:
        print("interrupted: the report is partial", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0 if evaluation.complete else EXIT_INCOMPLETE


def _say(what: str) -> None:
    print(f"problem: {what}", file=sys.stderr)


class _Progress:
    """One bar over the frames of all bags, on stderr, with the time that is left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self, frames: int, kept_bags: int) -> None:
        from tqdm import tqdm

        if kept_bags:
            print(f"{kept_bags} bags were finished by an earlier run", file=sys.stderr)
        self._bar = tqdm(total=frames, unit=" frames", desc="evaluating", mininterval=0.2)

    def progress(self, frames: int) -> None:
        self._bar.update(frames - self._bar.n)

    def problem(self, what: str) -> None:
        from tqdm import tqdm

        tqdm.write(f"problem: {what}", file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
