"""`erf_seg import`: public weights to a checkpoint of ours."""

from __future__ import annotations

import argparse
import json

HELP = "convert public ERFNet weights or the paper authors' released ones to a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="PyTorch state dict (.pth, .pth.tar)")
    parser.add_argument("--model", required=True, metavar="NAME", help="which model it is")
    parser.add_argument("--output", required=True, metavar="OUT.safetensors", help="file to write")
    parser.add_argument(
        "--class-set",
        default="cityscapes19",
        metavar="NAME_OR_YAML",
        help="what the outputs mean",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        default=(512, 1024),
        metavar=("HEIGHT", "WIDTH"),
        help="size at which the network will run",
    )
    parser.add_argument(
        "--module-order",
        choices=("released", "figure2"),
        default="released",
        help="whether a ReLU follows the first 1×1 of the depthwise modules (released) or not",
    )
    parser.add_argument("--json", action="store_true", help="print the metadata as JSON")


def run(args: argparse.Namespace) -> int:
    """Convert and say what was written."""
    from erf_seg_core.class_sets import load_class_set
    from erf_seg_core.importing import import_checkpoint

    info = import_checkpoint(
        args.file,
        args.model,
        args.output,
        load_class_set(args.class_set),
        tuple(args.input_size),
        args.module_order,
    )
    if args.json:
        print(json.dumps({"output": args.output, **info.to_dict()}, indent=2))
    else:
        print(
            f"{args.output}: {info.model}, {info.num_outputs} outputs, {info.class_set.name}.\n"
            "Use it wherever a model is asked for: "
            f"erf_seg segment IMAGE --model {args.output} --output FOLDER"
        )
    return 0
