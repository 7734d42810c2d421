"""`erf_seg models`: the zoo with the paper's costs, the real ones, and the shipped checkpoints."""

from __future__ import annotations

import argparse
import json
from typing import Any

HELP = "list the models: parameters and MACs as the paper counts and really, mIoU, shipped weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="*", help="only these models (any spelling)")
    parser.add_argument(
        "--all", action="store_true", help="list the encoder-only models too (default: without)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from erf_seg_core.models import list_models, parse_model_name

    names = [parse_model_name(name) for name in args.name] or [
        name for name in list_models() if args.all or not name.endswith("_encoder")
    ]
    rows = [_row(name) for name in names]
    if args.json:
        print(json.dumps({"models": rows}, indent=2))
    else:
        _print_table(rows)
    return 0


def _row(name: str) -> dict[str, Any]:
    from erf_seg_core.checkpoint import read_info, shipped_checkpoints
    from erf_seg_core.models import PAPER_ROWS, get_spec, paper_cost, real_cost

    paper, counted, real = PAPER_ROWS.get(name), paper_cost(name), real_cost(name)
    shipped = shipped_checkpoints().get(name)
    info = read_info(shipped) if shipped else None
    spec = get_spec(name)
    return {
        "name": name,
        "groups": spec.groups,
        "shuffle": spec.shuffle,
        "decoder": spec.decoder,
        "paper_printed": paper and {"params": paper.params, "gflops": paper.gflops},
        "paper_accounting": {"params": counted.params, "gflops": round(counted.macs / 1e9, 3)},
        "paper_miou": paper and paper.miou,
        "real": {"params": real.params, "gmacs": round(real.macs / 1e9, 3)},
        "shipped": info
        and {
            "file": str(shipped),
            "class_set": info.class_set.name,
            "input_size": list(info.input_size),
            "metrics": info.metrics,
        },
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    header = f"{'model':<22}{'paper params':>13}{'GFLOPs':>8}{'mIoU':>7}"
    print(f"{header}   {'real params':>11}{'GMACs':>8}   shipped weights")
    for row in rows:
        counted, real, miou = row["paper_accounting"], row["real"], row["paper_miou"]
        mark = "*" if _differs_from_print(row) else " "
        print(
            f"{row['name']:<22}{counted['params']:>12,}{mark}{counted['gflops']:>8.3f}"
            f"{'–' if miou is None else format(miou, '.2f'):>7}   "
            f"{real['params']:>11,}{real['gmacs']:>8.3f}   {_describe_shipped(row['shipped'])}"
        )
    print(
        "\nPaper: MACs (printed as FLOPs) at 1024×512 with 20 classes, weights without biases and"
        "\nbatch norm, one module per decoder stage; mIoU in % on Cityscapes val, truth subsampled"
        "\nby 2. Real: every trainable parameter and MAC of the network as it runs, same size."
    )
    for row in filter(_differs_from_print, rows):
        printed = row["paper_printed"]
        print(
            f"* {row['name']}: the paper prints {printed['params']:,} / {printed['gflops']:.3f}, "
            "which does not fit its own other rows; shown is what its convention gives."
        )


def _differs_from_print(row: dict[str, Any]) -> bool:
    return row["paper_printed"] is not None and row["paper_printed"] != row["paper_accounting"]


def _describe_shipped(shipped: dict[str, Any] | None) -> str:
    if shipped is None:
        return "–"
    height, width = shipped["input_size"]
    return f"{shipped['class_set']}, {width}×{height}"
