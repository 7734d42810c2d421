"""The queue of comparison runs: order, resuming, sharing, table."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import yaml
from training_data import tiny_recipe, write_camvid

from erf_seg_core.errors import ErfSegError

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def run_queue(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    return importlib.import_module("run_queue")


@pytest.fixture
def queue_results(run_queue):
    return importlib.import_module("queue_results")


@pytest.fixture
def queue_file(tmp_path):
    write_camvid(tmp_path / "camvid", "train")
    write_camvid(tmp_path / "camvid", "val", count=2)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe(tmp_path, stage={"epochs": 2})))
    queue = {
        "recipe": str(recipe),
        "results": str(tmp_path / "results"),
        "seeds": [1, 2],
        "common": {"precision": "float32"},
        "runs": {
            "dense": {"model": "d_star_light"},
            "gradual + permute": {
                "model": "dg4_star_light",
                "stages.0.grouping": {"schedule": "constant_linear", "permute": "magnitude"},
            },
        },
    }
    path = tmp_path / "queue.yaml"
    path.write_text(yaml.safe_dump(queue))
    return path


def test_a_queue_is_worked_once_and_summed_up(run_queue, queue_file, tmp_path):
    queue = run_queue.read_queue(queue_file)
    assert [(r.name, r.seed) for r in queue] == [
        ("dense", 1),
        ("gradual + permute", 1),
        ("dense", 2),
        ("gradual + permute", 2),
    ]
    assert queue[0].overrides == {"precision": "float32", "model": "d_star_light"}
    assert run_queue.table(queue) == "no run of this queue is done yet"
    assert run_queue.main([str(queue_file), "--curves", str(tmp_path / "curves.png")]) == 2
    # Another worker holds the first run: this one does the others.
    with run_queue._claimed(tmp_path / "runs" / "results" / queue[0].stem) as free:
        assert free
        assert run_queue.work(queue, tmp_path / "runs", "", quiet=True) == 3
    assert run_queue.work(queue, tmp_path / "runs", "", quiet=True) == 1
    assert run_queue.work(queue, tmp_path / "runs", "", quiet=True) == 0
    failing = replace(queue[0], name="failing", overrides={"stages.0.lr": -1})
    others = replace(queue[0], name="dense again")
    with pytest.raises(ErfSegError, match=r"failing, seed 1: .* lr must not be negative"):
        run_queue.work([failing, others], tmp_path / "runs", "", quiet=True)
    assert others.result_file.exists()

    result = json.loads((tmp_path / "results" / "gradual_permute_seed2.json").read_text())
    assert result["seed"] == 2
    assert [row["epoch"] for row in result["curve"]] == [1, 2]
    assert result["curve"][-1]["alpha"] == 0
    assert 0 <= result["miou"]["val"] <= 1
    rows = run_queue.table(queue).splitlines()
    assert rows[0] == "| run | seeds | val, mIoU % | loss | CPU minutes |"
    assert rows[2].startswith("| dense | 2 | ")
    assert " ± " in rows[3]
    assert rows[3].endswith("| 0 |")  # CPU minutes
    assert run_queue.main([str(queue_file), "--curves", str(tmp_path / "curves.png")]) == 0
    assert cv2.imread(str(tmp_path / "curves.png")).shape[1] > 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read queue"),
        ("[1, 2]", "is no queue"),
        ("{recipe: a}", "needs recipe, results"),
    ],
)
def test_files_that_are_no_queues_are_named(run_queue, tmp_path, capsys, text, message):
    path = tmp_path / "queue.yaml"
    if text is not None:
        path.write_text(text)
    assert run_queue.main([str(path), "--table"]) == 2
    assert message in capsys.readouterr().err


def test_results_of_another_queue_are_told(queue_results, run_queue, queue_file, capsys):
    (run, *_) = run_queue.read_queue(queue_file)
    result = {"overrides": run.overrides, "recipe": run.base}
    write_result(run, **result)
    assert queue_results.finished_results([run]) == {"dense": {1: result}}
    assert capsys.readouterr().err == ""
    queue_results.finished_results([replace(run, overrides={"stages.0.lr": 1})])
    assert "is of an older queue or recipe" in capsys.readouterr().err
    write_result(run, **{**result, "recipe": "another"})
    queue_results.finished_results([run])
    assert "is of an older queue or recipe" in capsys.readouterr().err


def write_result(run, **result):
    run.results.mkdir(parents=True, exist_ok=True)
    run.result_file.write_text(json.dumps(result))


def scored(run, *mious, minutes=2):
    """A result whose stages ended with these scores."""
    curve = [{"stage": i, "miou val": miou} for i, miou in enumerate(mious)]
    write_result(
        run, overrides=run.overrides, curve=curve, miou={"val": mious[-1]},
        training={"final_loss": 0.5, "cpu_minutes": minutes},
    )  # fmt: skip


def test_differences_are_taken_seed_by_seed(run_queue, queue_file, capsys):
    dense, gradual, dense_2, gradual_2 = run_queue.read_queue(queue_file)
    scored(dense, 0.10, 0.40)
    scored(dense_2, 0.30, 0.60)
    scored(gradual, 0.12, 0.42)
    scored(gradual_2, 0.34, 0.62)
    assert run_queue.main([str(queue_file), "--against", "dense"]) == 0
    heading, _, row = capsys.readouterr().out.splitlines()
    assert heading == "| run, less dense | seeds | val, encoder alone, mIoU % | val, mIoU % |"
    assert row == "| gradual + permute | 2 | +3.0 ± 1.4 | +2.0 ± 0.0 |"
    assert run_queue.main([str(queue_file), "--against", "grouped"]) == 2
    assert "no result of 'grouped'; there are: dense, gradual + permute" in capsys.readouterr().err


def test_queues_are_compared_under_their_names(run_queue, queue_file, tmp_path, capsys):
    text = queue_file.read_text().replace(str(tmp_path / "results"), str(tmp_path / "others"))
    other = tmp_path / "other.yaml"
    other.write_text(text)
    scored(run_queue.read_queue(queue_file)[0], 0.10, 0.40)
    scored(run_queue.read_queue(other)[0], 0.45)  # of one stage: no encoder alone
    assert run_queue.main([str(queue_file), str(other), "--against", "results: dense"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "| others: dense | 1 | – | +5.0 |"


def test_a_teacher_whose_checkpoint_is_gone_is_trained_again(run_queue, queue_file, tmp_path):
    teacher, pupil, *_ = run_queue.read_queue(queue_file)
    scored(teacher, 0.5)
    folder = teacher.folder(tmp_path / "runs")
    pupil = replace(pupil, overrides={"teacher": f"{folder}/d_star_light.safetensors"})
    assert run_queue._is_done(teacher, folder, [teacher])
    assert not run_queue._is_done(teacher, folder, [teacher, pupil])
    folder.mkdir(parents=True)
    (folder / "d_star_light.safetensors").touch()
    assert run_queue._is_done(teacher, folder, [teacher, pupil])


def test_shipped_queues_name_valid_recipes(run_queue, monkeypatch):
    from erf_seg_core.training import load_recipe

    monkeypatch.chdir(TRAINING.parent)
    for path in (TRAINING / "queues").glob("*.yaml"):
        queue = run_queue.read_queue(path)
        assert len({run.stem for run in queue}) == len(queue)
        for run in queue:
            load_recipe(run.recipe, [(k, json.dumps(v)) for k, v in run.overrides.items()])
