"""Put a finished training into the package: checkpoint, and a model card written from it.

python training/ship.py runs/dg4_seed1/dg4.safetensors --recipe training/recipes/camvid.yaml

A training that went on from another checkpoint names one recipe for each, in order. Everything on
the card is read from the checkpoint's own metadata; the recipe file is there to be named, with the
options that make it the training that it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from erf_seg_core.checkpoint import (
    CheckpointInfo,
    find_checkpoint,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from erf_seg_core.errors import ErfSegError
from erf_seg_core.models import build_model, paper_cost, real_cost
from erf_seg_core.training import load_recipe
from erf_seg_core.training.plain_data import build_dataclass
from erf_seg_core.training.recipe import Validation
from erf_seg_core.training.run_data import DATA_VARIABLE
from erf_seg_core.training.sources import open_source
from erf_seg_core.training.validation import validate

SHIPPED = Path(__file__).resolve().parents[1] / "erf_seg_core" / "checkpoints"
LOCAL_KEYS = (
    "output",
    "data_root",
    "threads",
    "workers",
    "cache",
    "save_minutes",
    "device",
    "init",
)
"""Recipe values that say where a training ran, not what it did."""
UNSAID = {"wait": 0.2, "power": 3.0}
"""What older recipes recorded of a schedule and newer ones leave to it."""


def main(argv: list[str] | None = None) -> int:
    """Copy the checkpoint without what is local to the machine, and write its card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--recipe", type=Path, required=True, nargs="+", help="recipe files, in order"
    )
    parser.add_argument("--half", action="store_true", help="store the weights as float16")
    parser.add_argument(
        "--data-root",
        default=os.environ.get(DATA_VARIABLE, "."),
        help="folder of the data sets: with --half the validation sets are scored again",
    )
    parser.add_argument(
        "--speed", type=Path, help="bench.json of `erf_seg bench`, for the card to quote"
    )
    parser.add_argument("--into", type=Path, default=SHIPPED)
    args = parser.parse_args(argv)
    info, tensors = load_checkpoint(args.checkpoint)
    info.recipe = shippable_recipe(info.recipe)
    if len(recipe_history(info.recipe)) != len(args.recipe):
        raise ErfSegError(
            f"{args.checkpoint} is the result of {len(recipe_history(info.recipe))} trainings, "
            f"but {len(args.recipe)} recipe files were named"
        )
    if args.half:
        # Not the vectors: they are few, and a variance may be beyond the range of float16.
        tensors = {k: v.half() if v.dim() > 1 else v for k, v in tensors.items()}
        info.metrics |= scores(info, tensors, args.data_root)  # those of what is shipped
    path = save_checkpoint(args.into / f"{info.model}.safetensors", tensors, info)
    card = path.with_suffix(".md")
    speed = speed_lines(info.model, args.speed) if args.speed else []
    card.write_text(model_card(info, args.recipe, speed), encoding="utf-8")
    print(f"{path}\n{card}")
    return 0


def scores(
    info: CheckpointInfo, tensors: dict[str, Tensor], data_root: str
) -> dict[str, dict[str, Any]]:
    """Score weights on the validation sets of their recipe."""
    net = build_model(info.model, info.num_outputs, info.module_order)
    net.load_state_dict(tensors)
    sets = [build_dataclass(Validation, plain) for plain in info.recipe["validation"]]
    return {
        v.name: validate(
            net, open_source(v.source, info.class_set, data_root), info.class_set, info.input_size
        ).to_dict()
        for v in sets
    }


def shippable_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Recipe without what is local; `started_from` holds that of the checkpoint it went on from."""
    kept = _not_local(recipe)
    if recipe.get("init"):
        kept["started_from"] = shippable_recipe(read_info(find_checkpoint(recipe["init"])).recipe)
    return kept


def _not_local(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in LOCAL_KEYS}


def recipe_history(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """All trainings that led to a checkpoint, the first one first."""
    before = recipe.get("started_from")
    return [*(recipe_history(before) if before else []), recipe]


def training_command(file: Path, recipe: dict[str, Any]) -> str:
    """`erf_seg train FILE` with the options that turn the file into `recipe`."""
    options = _differences(_not_local(load_recipe(file).to_dict()), _not_local(recipe))
    return " ".join(["erf_seg train", f"training/recipes/{file.name}", *options])


def _differences(base: Any, other: Any, key: str = "") -> list[str]:
    """Options `--key value`, dotted, for what differs in `other`."""
    if base == other or (base is None and (key.rpartition(".")[2], other) in UNSAID.items()):
        return []
    if isinstance(base, dict) and isinstance(other, dict):
        pairs = [(k, base.get(k), v) for k, v in other.items() if k != "started_from"]
    elif isinstance(base, list) and isinstance(other, list) and len(base) == len(other):
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(base, other, strict=True))]
    else:
        return [f"--{key} {shlex.quote(other if isinstance(other, str) else json.dumps(other))}"]
    return [o for k, a, b in pairs for o in _differences(a, b, f"{key}.{k}" if key else str(k))]


def speed_lines(model: str, bench: Path) -> list[str]:
    """What a benchmark measured of a shipped model in ONNX Runtime, float32, one image a time."""
    document = json.loads(bench.read_text(encoding="utf-8"))
    rows = [
        row
        for row in document["rows"]
        if (row["model"], row["engine"], row["precision"], row["batch"])
        == (model, "onnxruntime", "fp32", 1)
    ]
    baseline, image = document["baseline"], document["settings"]["image_size"]
    lines = [
        f"Speed (`erf_seg bench`, ONNX Runtime on {rows[0]['device']}, "
        f"{document['machine']['processor']}), from a {image[1]}×{image[0]} image to its labels:",
        "",
        f"| network input | threads | ms, median / 95 % | × {baseline['model']} "
        f"{baseline['engine']} (95 %) |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        height, width = row["input_size"]
        faster = row["times_faster_than_baseline"]
        lines.append(
            f"| {width}×{height} | {row['threads']} | {row['median_ms_per_image']:.1f} / "
            f"{row['p95_ms_per_image']:.1f} | {faster['value']:.2f} ({faster['low']:.2f}–"
            f"{faster['high']:.2f}) |"
        )
    return [*lines, ""]


def model_card(info: CheckpointInfo, recipes: list[Path], speed: list[str]) -> str:
    """Markdown page about a checkpoint."""
    real, paper = real_cost(info.model, info.num_outputs), paper_cost(info.model)
    height, width = info.input_size
    lines = [
        f"# {info.model}, {info.class_set.name}",
        "",
        f"Input {width}×{height} RGB, {info.num_outputs} outputs, module order "
        f"`{info.module_order}`. {real.params:,} parameters, {real.macs / 1e9:.2f} GMACs at "
        f"1024×512 (by the paper's accounting, with 20 classes: {paper.params:,} and "
        f"{paper.macs / 1e9:.2f}).",
        "",
        "Trained from scratch.",
        "",
        *_training_lines(info, recipes),
        info.notes,
        "",
        *speed,
        *_score_lines(info),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _training_lines(info: CheckpointInfo, recipes: list[Path]) -> list[str]:
    lines = []
    for number, (recipe, file) in enumerate(
        zip(recipe_history(info.recipe), recipes, strict=True), 1
    ):
        lines += [
            f"{number}. `{training_command(file, recipe)}` (seed {recipe['seed']})",
            "",
            *_data_lines(recipe["train"]),
            "",
            *_stage_lines(recipe["stages"]),
            "",
        ]
    return lines


def _data_lines(sources: list[dict[str, Any]]) -> list[str]:
    lines = ["| trained on | split | of it | shown per epoch |", "|---|---|---|---|"]
    for source in sources:
        what = "all"
        if source["kind"] == "synthetic":
            what = f"{source['frames']} frames of {source['drives']} drives"
        elif source["only"] or source["skip"]:
            what = f"only {source['only']}" if source["only"] else f"without {source['skip']}"
        if source.get("stages"):  # numbered from 1 on the card
            what += f", in stage {' and '.join(str(stage + 1) for stage in source['stages'])}"
        split = "–" if source["kind"] == "synthetic" else source["split"]
        lines.append(f"| {source['kind']} | {split} | {what} | ×{source['repeat']:g} |")
    return lines


def _stage_lines(stages: list[dict[str, Any]]) -> list[str]:
    lines = []
    for number, stage in enumerate(stages, 1):
        crop = "×".join(str(side) for side in reversed(stage["augmentation"]["crop"]))
        grouping = stage["grouping"]
        alpha = (
            f"gradual grouping ({grouping['schedule']}, α = 0 for the last {grouping['hold']:.0%})"
            if grouping
            else "no gradual grouping"
        )
        lines.append(
            f"Stage {number}: {stage['task']}, {stage['epochs']} "
            f"epoch{'s' * (stage['epochs'] > 1)}, batch "
            f"{stage['batch_size']}, crops {crop}, {stage['optimizer']} {stage['lr']:g}, {alpha}."
        )
    return lines


def _score_lines(info: CheckpointInfo) -> list[str]:
    sets = {name: s for name, s in info.metrics.items() if isinstance(s, dict) and "iou" in s}
    if not sets:
        return []
    names = list(sets)
    lines = [f"| IoU in % | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for cls in info.class_set.names:
        row = ("–" if v is None else f"{100 * v:.1f}" for v in (sets[n]["iou"][cls] for n in names))
        lines.append(f"| {cls} | {' | '.join(row)} |")
    for key, label in (("miou", "mean"), ("accuracy", "pixel accuracy"), ("images", "images")):
        factor, form = (1, "d") if key == "images" else (100, ".2f")
        row = (format(factor * sets[n][key], form) for n in names)
        lines.append(f"| **{label}** | {' | '.join(row)} |")
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ErfSegError as error:
        sys.exit(f"error: {error}")
