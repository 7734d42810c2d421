"""`erf_seg train`: train a model by a recipe."""

from __future__ import annotations

import argparse
import json
import os
import sys

from erf_seg_core.errors import ErfSegError

HELP = "train a model by a recipe; a run that was stopped goes on where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "%(prog)s [-h] [--restart] [--json] RECIPE [--key value ...]"
    parser.add_argument("--restart", action="store_true", help="discard a run found in the folder")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON on stdout")
    parser.add_argument("recipe", help="YAML file, for example training/recipes/camvid.yaml")
    overrides = parser.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        metavar="--key value",
        help="any value of the recipe, dotted where nested: --data-root DIR --seed 2 "
        "--output runs/mine --stages.0.epochs 20 (after the recipe)",
    )
    overrides.required = False  # of what may be empty, argparse says otherwise


def run(args: argparse.Namespace) -> int:
    """Train, then print the scores."""
    from erf_seg_core.freed_memory import keep_freed_memory
    from erf_seg_core.training import load_recipe, train
    from erf_seg_core.training.plain_data import parse_assignments

    if "--help" in args.overrides or "-h" in args.overrides:
        raise ErfSegError(
            "options of the recipe are its keys, see the file and training/README.md; "
            "'erf_seg train --help' tells of the others"
        )
    assignments = dict(parse_assignments(args.overrides))
    # Written after the recipe, our own flags end up among the overrides.
    restart = args.restart or _flag(assignments, "restart")
    as_json = args.json or _flag(assignments, "json")
    recipe = load_recipe(args.recipe, list(assignments.items()))
    keep_freed_memory()  # this process does nothing else, so it may be so for good
    checkpoint = train(recipe, restart)
    if os.environ.get("RANK", "0") != "0":
        return 0  # under torchrun the first process has the files and the word
    metrics = json.loads((recipe.output_folder / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({"checkpoint": str(checkpoint), "metrics": metrics}))
        return 0
    for name, scores in metrics.items():
        if name != "training":
            print(f"{name}: mIoU {100 * scores['miou']:.2f} %", file=sys.stderr)
    print(checkpoint)
    return 0


def _flag(assignments: dict[str, str], name: str) -> bool:
    """Take one of our own flags out of the overrides."""
    given = assignments.pop(name, "false")
    if given not in ("true", "false"):
        raise ErfSegError(f"--{name} takes no value, not '{given}'")
    return given == "true"
