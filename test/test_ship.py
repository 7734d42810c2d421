import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml
from training_data import write_camvid

from erf_seg_core import ErfSegError, build_model
from erf_seg_core.checkpoint import (
    CheckpointInfo,
    load_checkpoint,
    read_info,
    save_checkpoint,
    shipped_checkpoints,
)
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.training import load_recipe
from erf_seg_core.training.recipe import Recipe, Source, Stage, Validation

SCRIPT = Path(__file__).parents[1] / "training" / "ship.py"


@pytest.fixture(scope="module")
def ship():
    spec = importlib.util.spec_from_file_location("ship", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained_checkpoint(folder, name="run", init="", epochs=3, validation=()):
    torch.manual_seed(0)
    classes = load_class_set("camvid11")
    recipe = Recipe(
        model="d_star_light",
        train=(Source("camvid", "camvid"), Source("synthetic", frames=20, drives=4, repeat=0.5)),
        stages=(Stage(epochs=epochs),),
        validation=validation,
        output=str(folder),
        data_root="/home/somebody/data",
        init=str(init),
    )
    scores = {
        "iou": {name: i / 10 for i, name in enumerate(classes.names)},
        "miou": 0.5,
        "accuracy": 0.75,
        "images": 101,
    }
    info = CheckpointInfo(
        "d_star_light", 11, classes, (64, 96), recipe=recipe.to_dict(), metrics={"val": scores}
    )
    return save_checkpoint(folder / f"{name}.safetensors", build_model("d_star_light", 11), info)


def recipe_file(folder, name, **changes):
    """The recipe of `trained_checkpoint` as a file, with other values."""
    recipe = {
        "model": "d_star_light",
        "train": [
            {"kind": "camvid", "path": "camvid"},
            {"kind": "synthetic", "frames": 20, "drives": 4, "repeat": 0.5},
        ],
        "stages": [{"epochs": 3}],
    }
    path = folder / name
    path.write_text(yaml.safe_dump({**recipe, **changes}))
    return str(path)


def test_card_says_what_the_checkpoint_says(ship, tmp_path, capsys):
    source = trained_checkpoint(tmp_path)
    mine = recipe_file(tmp_path, "mine.yaml")
    assert ship.main([str(source), "--recipe", mine, "--into", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "d_star_light.md").read_text(encoding="utf-8")
    assert "| pole | 20.0 |" in card
    assert "| **mean** | 50.00 |" in card
    assert "| synthetic | – | 20 frames of 4 drives | ×0.5 |" in card
    assert "`erf_seg train training/recipes/mine.yaml` (seed 1)" in card


def test_card_names_the_options_that_differ_from_the_recipe_file(ship, tmp_path, capsys):
    source = trained_checkpoint(tmp_path)
    stages = [{"epochs": 8, "grouping": {"hold": 0.3}}]
    mine = recipe_file(tmp_path, "mine.yaml", model="dg4", stages=stages)
    ship.main([str(source), "--recipe", mine, "--into", str(tmp_path / "out")])
    card = (tmp_path / "out" / "d_star_light.md").read_text(encoding="utf-8")
    options = "--model d_star_light --stages.0.epochs 3 --stages.0.grouping null"
    assert f"`erf_seg train training/recipes/mine.yaml {options}`" in card


def test_what_older_recipes_recorded_of_a_schedule_is_no_option(ship):
    file = SCRIPT.parent / "recipes" / "camvid.yaml"
    recipe = load_recipe(file).to_dict()
    grouping = recipe["stages"][0]["grouping"]
    grouping |= {"wait": 0.2, "power": 3.0}
    assert ship.training_command(file, recipe) == f"erf_seg train training/recipes/{file.name}"
    grouping["wait"] = 0.3
    assert ship.training_command(file, recipe).endswith(" --stages.0.grouping.wait 0.3")


def test_weights_stored_in_half_precision_load_as_float32(ship, tmp_path, capsys):
    source = trained_checkpoint(tmp_path)
    info, weights = load_checkpoint(source)
    weights["encoder.initial_block.bn.running_var"][0] = 4e5  # beyond the range of float16
    save_checkpoint(source, weights, info)
    mine = recipe_file(tmp_path, "mine.yaml")
    ship.main([str(source), "--recipe", mine, "--half", "--into", str(tmp_path / "out")])
    shipped = tmp_path / "out" / "d_star_light.safetensors"
    assert shipped.stat().st_size < 0.7 * source.stat().st_size
    (_, before), (_, after) = load_checkpoint(source), load_checkpoint(shipped)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-3)


def test_card_quotes_a_benchmark(ship, tmp_path, capsys):
    row = {"model": "d_star_light", "engine": "onnxruntime", "precision": "fp32", "batch": 1}
    row |= {"device": "cpu", "threads": 2, "input_size": [512, 1024]}
    row |= {"median_ms_per_image": 101.26, "p95_ms_per_image": 120.0}
    row["times_faster_than_baseline"] = {"value": 8.5, "low": 8.0, "high": 9.0}
    bench = {
        "rows": [{**row, "model": "erfnet"}, {**row, "engine": "eager"}, row],
        "baseline": {"model": "erfnet", "engine": "eager"},
        "settings": {"image_size": [720, 1280]},
        "machine": {"processor": "Z80"},
    }
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    arguments = ["--recipe", recipe_file(tmp_path, "mine.yaml"), "--into", str(tmp_path / "out")]
    ship.main(
        [str(trained_checkpoint(tmp_path)), *arguments, "--speed", str(tmp_path / "bench.json")]
    )
    card = (tmp_path / "out" / "d_star_light.md").read_text(encoding="utf-8")
    assert "Z80), from a 1280×720 image to its labels" in card
    assert card.count("| 1024×512 | 2 | 101.3 / 120.0 | 8.50 (8.00–9.00) |") == 1


def test_weights_stored_in_half_precision_are_scored_again(ship, tmp_path, capsys):
    write_camvid(tmp_path / "camvid", "val", count=2)
    val = Validation("val", Source("camvid", "camvid", split="val"))
    source = trained_checkpoint(tmp_path, validation=(val,))
    mine = recipe_file(tmp_path, "mine.yaml")
    into = ["--data-root", str(tmp_path), "--into", str(tmp_path / "out")]
    ship.main([str(source), "--recipe", mine, "--half", *into])
    scored = read_info(tmp_path / "out" / "d_star_light.safetensors").metrics["val"]
    assert (scored["images"], scored["miou"] < 0.3) == (2, True)  # the training's were 101 and 0.5


def test_nothing_of_the_machine_is_shipped(ship, tmp_path, capsys):
    source = trained_checkpoint(tmp_path)
    mine = recipe_file(tmp_path, "mine.yaml")
    ship.main([str(source), "--recipe", mine, "--into", str(tmp_path / "out")])
    shipped = tmp_path / "out" / "d_star_light.safetensors"
    assert str(tmp_path).encode() not in shipped.read_bytes()
    assert read_info(shipped).recipe["model"] == "d_star_light"
    assert b"somebody" not in shipped.read_bytes()


def test_card_of_a_training_that_went_on_tells_both_parts(ship, tmp_path, capsys):
    first = trained_checkpoint(tmp_path, "first", epochs=3)
    second = trained_checkpoint(tmp_path, "second", init=first, epochs=7)
    into = ["--into", str(tmp_path / "out")]
    with pytest.raises(ErfSegError, match="2 trainings"):
        ship.main([str(second), "--recipe", recipe_file(tmp_path, "only.yaml"), *into])
    files = [recipe_file(tmp_path, "a.yaml"), recipe_file(tmp_path, "b.yaml")]
    ship.main([str(second), "--recipe", *files, *into])
    card = (tmp_path / "out" / "d_star_light.md").read_text(encoding="utf-8")
    parts = ("a.yaml", "3 epochs", "b.yaml", "7 epochs")
    assert [card.index(part) for part in parts] == sorted(card.index(part) for part in parts)
    assert str(tmp_path).encode() not in (tmp_path / "out/d_star_light.safetensors").read_bytes()


def test_every_shipped_checkpoint_has_its_card_and_loads():
    assert set(shipped_checkpoints()) == {"d_star_light", "dg4", "dg4_star_light", "erfnet"}
    for name, path in shipped_checkpoints().items():
        info = read_info(path)
        assert info.model == name
        (scores,) = (s for key, s in info.metrics.items() if key == "camvid val")
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert f"{100 * scores['miou']:.2f}" in card
