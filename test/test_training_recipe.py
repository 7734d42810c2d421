"""Recipes: checked, overridable, and the shipped ones load."""

from pathlib import Path

import pytest
import yaml
from training_data import tiny_recipe

from erf_seg_core.errors import ErfSegError
from erf_seg_core.training import load_recipe
from erf_seg_core.training.plain_data import parse_assignments

RECIPES = sorted((Path(__file__).parents[1] / "training" / "recipes").glob("*.yaml"))


def load(tmp_path, assignments=(), **changes):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(tmp_path, **changes)))
    return load_recipe(path, assignments)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(path):
    recipe = load_recipe(path)
    assert recipe.validation


def test_every_value_can_be_overridden(tmp_path):
    words = (
        "--seed 7 --stages.0.augmentation.scale=[0.5,2] --stages.0.lr 5e-4 --data-root /x --cache"
    )
    recipe = load(tmp_path, parse_assignments(words.split()))
    stage = recipe.stages[0]
    assert (recipe.seed, recipe.data_root, recipe.cache) == (7, "/x", True)
    assert (stage.lr, stage.augmentation.scale) == (5e-4, (0.5, 2.0))
    assert stage.augmentation.crop == (32, 40)


def test_a_block_can_be_added_from_the_command_line(tmp_path):
    recipe = load(tmp_path, parse_assignments(["--stages.0.grouping", "{schedule: power}"]))
    assert recipe.stages[0].grouping.schedule == "power"
    recipe = load(tmp_path, parse_assignments(["--stages.0.grouping.hold", "0.3"]))
    assert recipe.stages[0].grouping.hold == 0.3


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("--sede=1", "unknown key 'sede'; known here: model"),
        ("--stages.0.epochs=many", "'stages.0.epochs' is 'many', not of type int"),
        ("--stages.0.epochs=1.5", "'stages.0.epochs' is 1.5, not of type int"),
        ("--stages.0.optimizer=sgd", "'stages.0.optimizer' is 'sgd'; it is one of adam, adamw"),
        ("--stages.0.augmentation.crop=[30,40]", "crop must be made of multiples of 8"),
        ("--stages.0.augmentation.crop=[32]", "needs 2 values, not 1"),
        ("--stages.3.epochs=1", "'3' is not an index from 0 to 0"),
        ("--stages.0.task=encoder", "the last one must be of task 'segment'"),
        ("--stages.0.batch_size=0", "must be at least 1"),
        ("--stages.0.ohem_fraction=0", "ohem_fraction must be in"),
        ("--stages.0.freeze_epochs=1000", "freeze_epochs 1000 is more than"),
        ("--seed=true", "'seed' is True, not of type int"),
        ("--model=dg5", "no model 'dg5'"),
        ("--stages.0.lr=-1", "stages.0: lr must not be negative"),
        ("--stages.0.lr=.nan", "stages.0: lr must not be negative, nor endless"),
        ("--stages.0.augmentation.brightness=-1", "augmentation.brightness must not be negative"),
        ("--stages.0.augmentation.scale=[0.5, .inf]", "two rising positive numbers"),
        ("--stages.0.grouping={schedule: power, power: .nan}", "power > 0"),
        ("--stages.0.distillation={teacher: dg4, temperature: 0}", "needs temperature above 0"),
        ("--seed=-1", "seed must be at least 0"),
        ("--seed=36893488147419103232", "seed must be at most"),
        ("--threads=-1", "threads must be at least 0"),
        ("--workers=-1", "workers must be at least 0"),
        ("--input-size=[0, 0]", "not made of multiples of 8"),
        ("--train=[]", "'train' is empty"),
        ("--seed=9000000000000000000", "seed must be at most"),
        ("--output=x{model.foo}", "only {model} and {seed} are replaced"),
        ("--stages.0.images=pictures", "'images' is for the task 'classify'"),
        ("--stages.0.grouping={schedule: linear, wait: 0.3}", "wait is for the schedule"),
        ("--stages.0.grouping={schedule: linear, power: 2}", "power is for the schedule"),
        ("--train=[{kind: synthetic, path: x}]", "a synthetic drive has no path"),
        ("--train.0.frames=50", "a source of kind 'camvid' has no frames"),
        (
            "--stages=[{task: classify, images: x, ohem_fraction: 0.5}, {task: segment}]",
            "tasks that learn pixels",
        ),
        ("--validation.0.source.repeat=2", "stages and repeat are for training images"),
        ("--stages.0={task: segment, batch_size: 1, augmentation: {crop: [8, 8]}}", "single value"),
        ("--train.0.stages=[1]", "train.0.stages: there is no stage 1, only 0 to 0"),
        ("--train.0.stages=[-1]", "train.0.stages: there is no stage -1"),
        ("--validation.0.source.stages=[0]", "stages and repeat are for training images"),
        ("--train.0.repeat=.inf", "train.0: repeat must be above 0"),
        ("--output=runs/{date}", "only {model} and {seed} are replaced"),
        ("--validation.0.name=training", "names of their own, not 'training' again"),
        ("--stages.0.augmentation.shift=-1", "augmentation.shift must not be negative"),
        ("--stages.0.grouping.hold=1", r"stages.0.grouping: hold 1.0 and wait 0.0 leave no part"),
        ("--stages.0.grouping={schedule: power, power: 0}", "needs wait .* power > 0"),
        ("--validate-every=0", "validate_every must be at least 1"),
        ("--dropout=[0,3]", "dropout [0.0, 3.0]: each must be from 0 to below 1"),
        ("--train.0.repeat=-1", "train.0: repeat must be above 0"),
        ("--notes=[a", "--notes: '[a' is no YAML value"),
        ("--train.0.kind=kitti", "'train.0.kind' is 'kitti'; it is one of camvid"),
    ],
)
def test_mistakes_are_named(tmp_path, assignment, message):
    with pytest.raises(ErfSegError, match=message.replace("[", r"\[").replace("{", r"\{")):
        load(tmp_path, parse_assignments([assignment]))


def test_a_part_written_once_with_an_anchor_is_overridden_in_one_place(tmp_path):
    recipe = tiny_recipe(tmp_path)
    views = {"crop": [32, 40]}
    segment = {**recipe["stages"][0], "augmentation": views}
    recipe["stages"] = [{**segment, "task": "encoder"}, segment]
    path = tmp_path / "anchors.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert "*id001" in path.read_text()
    loaded = load_recipe(path, [("stages.1.augmentation.crop", "[16, 24]")])
    assert [s.augmentation.crop for s in loaded.stages] == [(32, 40), (16, 24)]


def test_validation_sets_have_names_of_their_own(tmp_path):
    twice = tiny_recipe(tmp_path)["validation"] * 2
    with pytest.raises(ErfSegError, match="names of their own, not 'val' again"):
        load(tmp_path, [("validation", yaml.safe_dump(twice))])


def test_an_empty_recipe_is_called_empty(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ErfSegError, match="no mapping of keys"):
        load_recipe(tmp_path / "empty.yaml", [("data_root", "x")])


def test_stages_that_do_not_go_together_are_refused(tmp_path):
    stage = tiny_recipe(tmp_path)["stages"][0]
    grouped = {**stage, "grouping": {}}
    with pytest.raises(ErfSegError, match=r"stages.1: the groups have evolved in stages.0"):
        load(tmp_path, stages=[grouped, grouped])
    with pytest.raises(ErfSegError, match=r"stages.1 has no training images"):
        load(tmp_path, [("train.0.stages", "[0]")], stages=[stage, stage])
    classify = {**stage, "task": "classify", "images": "x"}
    with pytest.raises(ErfSegError, match=r"train.0 is for 'classify' alone"):
        load(tmp_path, [("train.0.stages", "[0]")], stages=[classify, stage])
    taught = {**stage, "task": "encoder", "distillation": {"teacher": "dg4"}}
    with pytest.raises(ErfSegError, match=r"stages.0: distillation is for the task 'segment'"):
        load(tmp_path, stages=[taught, stage])


def test_missing_keys_and_words_without_dashes_are_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: dg4\nstages: [{}]\n")
    with pytest.raises(ErfSegError, match="'train' is missing"):
        load_recipe(path)
    with pytest.raises(ErfSegError, match="'seed' is not of the form"):
        parse_assignments(["seed", "3"])
    with pytest.raises(ErfSegError, match="cannot read recipe"):
        load_recipe(tmp_path / "absent.yaml")
