"""Whole trainings on tiny data: the paper's procedure, resuming, several processes, failures."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from inference_helpers import info_for
from training_data import tiny_recipe, write_camvid

from erf_seg_cli.main import main
from erf_seg_cli.signals import ended_as_by_ctrl_c
from erf_seg_core.checkpoint import build_from_checkpoint, load_checkpoint, save_checkpoint
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.grouping import FadingGroups
from erf_seg_core.models import build_model
from erf_seg_core.output_lock import output_lock
from erf_seg_core.training import load_recipe, train
from erf_seg_core.training import stage as stage_module
from erf_seg_core.training.ema import WeightAverage
from erf_seg_core.training.processes import Processes
from erf_seg_core.training.starting_weights import load_starting_weights
from erf_seg_core.training.tasks import hidden_channels, recalibrate_norms
from erf_seg_core.training.trainer import Training

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path):
    write_camvid(tmp_path / "camvid", "train")
    write_camvid(tmp_path / "camvid", "val", count=3, seed=1)
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def recipe_file(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(folder, **changes)))
    return path


def run(folder, restart=False, **changes):
    return train(load_recipe(recipe_file(folder, **changes)), restart=restart, quiet=True)


def command(folder):
    program = "import sys; from erf_seg_cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", program, "train", str(folder / "recipe.yaml")]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def tensors(checkpoint):
    return load_checkpoint(checkpoint)[1]


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[k].float() - b[k].float()).abs().max()) for k in a)


def test_it_learns_and_writes_everything_down(tmp_path):
    data = tmp_path
    write_camvid(data / "camvid", "train", ids=3)
    write_camvid(data / "camvid", "val", count=3, ids=3, seed=1)
    stage = {"epochs": 30, "lr": 5e-3, "ema": 0.8, "recalibrate_batches": 5, "warmup_steps": 5}
    stage["grouping"] = {"schedule": "power", "hold": 0.4}
    stage["augmentation"] = {"crop": [48, 64], "scale": [1, 1], "brightness": 0, "tint": 0}
    checkpoint = run(data, model="dg4", stage=stage, dropout=[0, 0], validate_every=10)
    net, info = build_from_checkpoint(checkpoint)
    assert net.encoder.layers[-1].pw1.groups == 4
    assert info.input_size == (48, 64)
    assert info.metrics["val"]["miou"] > 0.4  # one class everywhere gives 0.11
    assert info.metrics["training"]["epochs"] == 30
    assert info.recipe["stages"][0]["grouping"]["schedule"] == "power"

    lines = (checkpoint.parent / "log.csv").read_text().splitlines()
    assert len(lines) == 31
    assert lines[0].startswith("stage,task,epoch,step,lr,alpha,loss,minutes")
    alphas = [float(line.split(",")[5]) for line in lines[1:]]
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[-12:] == [0.0] * 12
    scored = json.loads((checkpoint.parent / "metrics.json").read_text())
    assert scored["val"]["miou"] == info.metrics["val"]["miou"]
    assert cv2.imread(str(checkpoint.parent / "curves.png")).shape[0] > 100
    # Three frames, each with image, truth and prediction at a height of 240.
    assert cv2.imread(str(checkpoint.parent / "predictions.png")).shape[:2] == (720, 960)
    assert list((checkpoint.parent / "tensorboard").iterdir())


def test_learning_rate_warms_up_and_decays(data):
    stage = {"epochs": 4, "batch_size": 6, "lr": 0.01, "warmup_steps": 2, "poly_power": 1}
    checkpoint = run(data, stage=stage, validate_every=100)
    lines = (checkpoint.parent / "log.csv").read_text().splitlines()[1:]
    # One step an epoch: 1/2 of 4/4, then 3/4, 2/4 and 1/4.
    assert [float(line.split(",")[4]) for line in lines] == pytest.approx(
        [0.005, 0.0075, 0.005, 0.0025]
    )


@pytest.mark.parametrize("limit", [None, 1e-3])
def test_gradients_are_clipped_to_the_norm(data, monkeypatch, limit):
    norms = []
    original = stage_module.StageRun._optimise

    def watch(self, parts):
        loss = original(self, parts)
        norms.append(float(sum(p.grad.square().sum() for p in self.task.parameters())) ** 0.5)
        return loss

    monkeypatch.setattr(stage_module.StageRun, "_optimise", watch)
    run(data, stage={} if limit is None else {"clip_norm": limit}, validate_every=100)
    assert len(norms) == 4
    assert all((norm <= 1.001e-3) == (limit is not None) for norm in norms)


def test_the_papers_procedure_whole(data, monkeypatch):
    """Classify with gradual grouping, encoder at 1/8, frozen encoder with decoder, then both."""
    rng = np.random.default_rng(0)
    for name in ("light", "dark"):
        folder = data / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 128, (40, 40, 3)) + (100 if name == "light" else 0)
            cv2.imwrite(str(folder / f"{i}.png"), pixels.astype(np.uint8))
    views = {"crop": [32, 40], "scale": [1, 1]}
    paper = {"epochs": 2, "batch_size": 3, "optimizer": "adam", "lr": 5e-4, "augmentation": views}
    gradual = {"schedule": "linear", "hold": 0.5}
    encoder_weights = []
    original = stage_module.StageRun._end_epoch

    def watch(self, bar):
        encoder = self.training.net.encoder.state_dict()
        encoder_weights.append({k: v.clone() for k, v in encoder.items() if "pw1.weight" in k})
        original(self, bar)

    monkeypatch.setattr(stage_module.StageRun, "_end_epoch", watch)
    checkpoint = run(
        data,
        model="dg2s",
        stages=[
            {**paper, "task": "classify", "images": "pictures", "grouping": gradual},
            {**paper, "task": "encoder"},
            {**paper, "task": "segment", "freeze_epochs": 1},
        ],
    )
    rows = (checkpoint.parent / "log.csv").read_text().splitlines()[1:]
    assert [r.split(",")[1] for r in rows] == ["classify"] * 2 + ["encoder"] * 2 + ["segment"] * 2
    # After stage 1 the convs are grouped; in the frozen epoch they do not move, then they do.
    assert largest_difference(encoder_weights[3], encoder_weights[4]) == 0
    assert largest_difference(encoder_weights[4], encoder_weights[5]) > 0
    net, _ = build_from_checkpoint(checkpoint)
    assert net.encoder.layers[-1].pw1.groups == 2
    # Started again, the finished run is finished at once, and the same.
    before = tensors(checkpoint)
    assert largest_difference(before, tensors(train(_same_recipe(data), quiet=True))) == 0
    (data / "pictures" / "dark" / "2.png").unlink()
    with pytest.raises(ErfSegError, match="other training images or classes"):
        train(_same_recipe(data), quiet=True)


def _same_recipe(data):
    return load_recipe(data / "recipe.yaml")


def test_permuted_gradual_grouping_trains(data):
    stage = {"epochs": 4, "grouping": {"schedule": "constant_linear", "permute": "magnitude"}}
    net, _ = build_from_checkpoint(run(data, stage={**stage, "ema": 0.9}))
    assert not any(isinstance(m, FadingGroups) for m in net.modules())


def test_reordering_hidden_channels_keeps_the_zoo_networks_outputs():
    from erf_seg_core.grouping import AlphaSchedule, GradualGrouping, densify

    for name in ("dg4_star_light", "dg8_star", "dg2s"):
        torch.manual_seed(0)
        net = build_model(name, num_classes=5).eval()
        targets = densify(net)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.normal_(module.running_mean)
        places = hidden_channels(net)
        assert 2 * len(places) == len(targets)
        x = torch.rand(1, 3, 16, 24)
        with torch.no_grad():
            before = net(x)
            almost_one = AlphaSchedule(0, 10**9)
            moves = GradualGrouping(net, targets, almost_one, "magnitude", places).step()
            assert moves
            assert torch.allclose(net(x), before, atol=1e-4)


def test_a_killed_run_goes_on_exactly(data):
    """Kill -9 in mid-training, start again: the weights of a run that was never stopped."""
    stage = {"epochs": 4, "batch_size": 2, "ema": 0.9}
    stage["grouping"] = {"schedule": "constant_linear", "permute": "magnitude"}
    common = {"stage": stage, "save_minutes": 0.0, "validate_every": 100}
    whole = tensors(run(data, output=str(data / "whole"), **common))
    recipe_file(data, output=str(data / "killed"), **common)
    process = subprocess.Popen(command(data), env=environment(), stderr=subprocess.DEVNULL)
    state = data / "killed" / "state.pt"
    deadline = time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline:
        # between two stages it says which, and no epoch
        if state.exists() and torch.load(state, weights_only=True).get("epoch", 0) >= 1:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = torch.load(state, weights_only=True)
    assert 1 <= resumed["epoch"] < 4
    checkpoint = train(_same_recipe(data), quiet=True)
    assert largest_difference(whole, tensors(checkpoint)) == 0
    logs = [(data / name / "log.csv").read_text() for name in ("whole", "killed")]
    without_minutes = [[line.split(",")[:7] for line in log.splitlines()] for log in logs]
    assert without_minutes[0] == without_minutes[1]


def test_a_folder_of_another_recipe_is_not_overwritten(data):
    run(data)
    with pytest.raises(ErfSegError, match="differs in seed"):
        run(data, seed=5)
    run(data, seed=5, restart=True)


def test_a_restarted_run_that_is_killed_at_once_does_not_go_on_from_the_old_one(data, monkeypatch):
    run(data)
    with monkeypatch.context() as patch:
        patch.setattr(stage_module.StageRun, "_optimise", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(data, restart=True)
    assert not (data / "run" / "state.pt").exists()


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGHUP, signal.SIGHUP]])
def test_ctrl_c_or_a_closing_terminal_saves_the_step_that_it_comes_in(data, monkeypatch, signals):
    stage = {"epochs": 2, "batch_size": 2, "ema": 0.9}
    whole = tensors(run(data, output=str(data / "whole"), stage=stage))
    optimise = stage_module.StageRun._optimise

    def interrupted(stage_run, parts):
        if stage_run.step == 1:
            for number in signals:
                os.kill(os.getpid(), number)
        return optimise(stage_run, parts)

    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
        ended_as_by_ctrl_c(),
    ):
        patch.setattr(stage_module.StageRun, "_optimise", interrupted)
        run(data, output=str(data / "stopped"), stage=stage)
    state = torch.load(data / "stopped" / "state.pt", weights_only=True)
    assert (state["epoch"], state["step_in_epoch"]) == (0, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = tensors(run(data, output=str(data / "stopped"), stage=stage))
    assert largest_difference(whole, resumed) == 0


def test_a_second_ctrl_c_does_not_wait(data, monkeypatch):
    def twice(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it goes on")

    monkeypatch.setattr(stage_module.StageRun, "_optimise", twice)
    with pytest.raises(KeyboardInterrupt):
        run(data)


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_precision_and_layout_that_give_wrong_gradients_are_refused(data):
    with pytest.raises(ErfSegError, match="wrong gradients on the CPU"):
        run(data, channels_last=True, precision="bfloat16")
    with pytest.raises(ErfSegError, match="float16 is for GPUs"):
        run(data, precision="float16")


def test_what_only_fails_in_a_later_stage_is_found_before_the_first(data):
    first, last = tiny_recipe(data)["stages"][0], tiny_recipe(data)["stages"][0]
    last["distillation"] = {"teacher": str(data / "nobody.safetensors")}
    with pytest.raises(ErfSegError, match="there is no checkpoint file"):
        run(data, stages=[first, last])
    last["distillation"] = {"teacher": "dg4"}
    with pytest.raises(ErfSegError, match="teacher dg4 has other classes"):
        run(data, stages=[first, last], void_output=True)
    last["distillation"], last["batch_size"], last["accumulate"] = None, 6, 4
    with pytest.raises(ErfSegError, match=r"stages.1: batch_size must be a multiple"):
        run(data, stages=[first, last])
    assert not (data / "run").exists()


def test_workers_prepare_the_same_views(data):
    alone = tensors(run(data, output=str(data / "alone"), stage={"epochs": 1}))
    helped = tensors(run(data, output=str(data / "helped"), stage={"epochs": 1}, workers=2))
    assert largest_difference(alone, helped) == 0


def test_an_average_goes_on_where_the_network_is():
    net = torch.nn.Linear(2, 2)
    saved = WeightAverage(net, 0.9)
    saved.update(net)
    there = WeightAverage(net.to("meta"), 0.9)
    there.load_state_dict(saved.state_dict())
    assert {t.device.type for t in there.tensors.values()} == {"meta"}
    there.update(net)
    assert there.steps == 2


def test_two_processes_train_as_one(data):
    """Two gloo processes with one forward pass each equal one process with two."""
    stage = {"epochs": 2, "batch_size": 4, "accumulate": 2, "lr": 1e-3}
    stage["grouping"] = {"schedule": "linear"}
    common = {"dropout": [0.1, 0.3], "validate_every": 100}
    one = tensors(run(data, stage=stage, output=str(data / "one"), **common))
    recipe_file(data, stage={**stage, "accumulate": 1}, output=str(data / "two"), **common)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (data / "start.py").write_text(command(data)[2])
    subprocess.run(
        [*launch, str(data / "start.py"), *command(data)[3:]],
        env=environment(),
        check=True,
        timeout=150,
        capture_output=True,
    )
    two = tensors(data / "two" / "dg4_star_light.safetensors")
    # Running statistics are those of the first process; biases in front of a norm have no
    # gradient but rounding, which Adam scales up.
    compared = {k for k in one if k.endswith("weight")}
    start = tensors(run(data, stage={**stage, "lr": 1e-30}, output=str(data / "still"), **common))
    difference = largest_difference(*[{k: t[k] for k in compared} for t in (one, two)])
    moved = largest_difference(*[{k: t[k] for k in compared} for t in (one, start)])
    assert difference < 1e-3
    assert moved > 3 * difference
    assert moved > 2e-3


def test_a_loss_that_is_not_a_number_stops_the_run(data):
    with pytest.raises(ErfSegError, match=r"the loss is (nan|inf) at step .* try a lower lr"):
        run(data, stage={"epochs": 50, "lr": 1e30, "optimizer": "adam"})


def test_a_model_without_groups_cannot_be_grouped_gradually(data):
    with pytest.raises(ErfSegError, match="'d_star_light' has no grouped convolutions"):
        run(data, model="d_star_light", stage={"grouping": {}})


def test_distillation_and_starting_weights(data):
    teacher = run(data, model="d_star_light", output=str(data / "teacher"))
    distillation = {"teacher": str(teacher), "weight": 2.0, "temperature": 2.0}
    student = run(data, stage={"distillation": distillation, "ohem_fraction": 0.5})
    start = tensors(student)
    untaught = run(data, stage={"ohem_fraction": 0.5}, output=str(data / "untaught"))
    assert largest_difference(start, tensors(untaught)) > 1e-4
    again = run(data, init=str(student), output=str(data / "on"), stage={"epochs": 1, "lr": 1e-9})
    weights = {k for k in start if k.endswith("weight")}
    new = tensors(again)
    assert largest_difference({k: start[k] for k in weights}, {k: new[k] for k in weights}) < 1e-5
    with pytest.raises(ErfSegError, match="does not fit this recipe's model"):
        run(data, init=str(teacher), output=str(data / "misfit"))
    with pytest.raises(ErfSegError, match=r"does not fit this recipe's model$"):  # not of groups
        run(data, model="dg8_star_light", init=str(student), output=str(data / "misfit"))
    with pytest.raises(ErfSegError, match="it is grouped already"):
        run(data, init=str(student), output=str(data / "misfit"), stage={"grouping": {}})


def test_a_checkpoint_of_other_classes_starts_all_but_the_last_layer(data, capfd):
    farm = data / "farm.yaml"
    names = [f"crop {i}" for i in range(11)]
    classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate([*names, "barn"])]
    farm.write_text(yaml.safe_dump({"name": "farm", "classes": classes}))
    start = run(data, output=str(data / "start"))
    sources = {"train": [{"kind": "folder", "path": "camvid"}], "validation": []}
    recipe = load_recipe(recipe_file(
        data, init=str(start), class_set=str(farm), stage={"epochs": 1, "lr": 1e-9}, **sources
    ))  # fmt: skip
    done = tensors(train(recipe))
    kept = {k: v for k, v in tensors(start).items() if k.endswith("weight")}
    last = kept.pop("decoder.output_conv.weight")
    assert largest_difference(kept, {k: done[k] for k in kept}) < 1e-5
    assert done["decoder.output_conv.weight"].shape[1] == last.shape[1] + 1
    said = capfd.readouterr().err
    assert "has nothing that fits the last layer: started afresh" in said
    assert "no pixel of the training images is barn" in said


def test_as_many_other_classes_do_not_get_the_last_layer():
    net = build_model("dg4_star_light", 11, "released")
    last = ["decoder.output_conv.bias", "decoder.output_conv.weight"]
    same = load_class_set("camvid11").names
    assert load_starting_weights(net, "dg4_star_light", same, gradual=False) == []
    others = [f"crop {i}" for i in range(11)]
    assert sorted(load_starting_weights(net, "dg4_star_light", others, gradual=False)) == last


def test_other_images_or_classes_do_not_go_on_with_the_run(data):
    run(data)
    write_camvid(data / "camvid", "train", count=8)
    with pytest.raises(ErfSegError, match="other training images or classes"):
        run(data)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_state_says_what_to_do(data, content):
    checkpoint = run(data)
    state = checkpoint.with_name("state.pt")
    if content is None:
        torch.save({"foreign": 1}, state)
    else:
        state.write_bytes(content)
    with pytest.raises(ErfSegError, match=r"state.pt is damaged, .*--restart begins anew"):
        run(data)
    run(data, restart=True)


def test_two_runs_do_not_write_to_one_folder(data):
    run(data)
    before = (data / "run" / "state.pt").read_bytes()
    with output_lock(data / "run"), pytest.raises(ErfSegError, match="another run is writing to"):
        run(data, restart=True)
    assert (data / "run" / "state.pt").read_bytes() == before


def test_an_output_that_is_no_folder_is_found_first(data):
    (data / "file").write_text("")
    with pytest.raises(ErfSegError, match="cannot make the folder"):
        run(data, output=str(data / "file" / "run"))
    with pytest.raises(ErfSegError, match="not UTF-8"):
        run(data, output=str(data / "r\udcfcn"))


def test_nothing_to_learn_or_to_score_is_refused(data):
    for path in (data / "camvid/val/labels").iterdir():
        cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8))
    with pytest.raises(ErfSegError, match="validation set 'val' is all void"):
        run(data)
    for path in (data / "camvid/train/labels").iterdir():
        cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8))
    with pytest.raises(ErfSegError, match=r"the training images of stages.0 are all void"):
        run(data, validation=[])


def test_class_weights_change_what_is_learnt(data):
    weighted = tensors(run(data))
    plain = tensors(run(data, stage={"class_weights": False}, output=str(data / "plain")))
    assert largest_difference(weighted, plain) > 1e-4


def test_an_init_that_is_missing_or_has_little_to_give_is_told(data, capfd):
    with pytest.raises(ErfSegError, match="nowhere"):
        run(data, init="nowhere.safetensors", train=[{"kind": "folder", "path": "nothing"}])
    encoder = build_model("dg4_star_light_encoder", 11)
    info = replace(load_checkpoint(run(data))[0], model="dg4_star_light_encoder")
    start = save_checkpoint(data / "e.safetensors", encoder, info)
    train(load_recipe(recipe_file(data, init=str(start), output=str(data / "on"))))
    said = capfd.readouterr().err
    assert "has nothing that fits decoder." in said and "started afresh" in said
    whole = run(data, output=str(data / "whole"))
    capfd.readouterr()
    train(load_recipe(recipe_file(data, init=str(whole), output=str(data / "again"))))
    assert "afresh" not in capfd.readouterr().err


def test_a_stage_can_have_images_of_its_own(data):
    write_camvid(data / "pictures", "train", count=2)
    train_on = [
        {"kind": "camvid", "path": "camvid", "stages": [1]},
        {"kind": "camvid", "path": "pictures", "stages": [0]},
    ]
    stage = tiny_recipe(data)["stages"][0]
    stages = [{**stage, "task": "encoder", "batch_size": 1}, {**stage, "batch_size": 1}]
    checkpoint = run(data, train=train_on, stages=stages)
    lines = (checkpoint.parent / "log.csv").read_text().splitlines()[1:]
    last_steps = {line.split(",")[0]: line.split(",")[3] for line in lines}
    epochs = stage["epochs"]
    assert last_steps == {"0": str(2 * epochs), "1": str(6 * epochs)}
    assert load_checkpoint(checkpoint)[0].metrics["training"]["images"] == 8


@pytest.mark.parametrize("device", ["mps", "meta", "cuda:63", "cuda:256"])
def test_devices_that_are_not_there_are_refused(data, device):
    with pytest.raises(ErfSegError, match=f"device '{device}'"):
        run(data, device=device)


def test_a_dense_checkpoint_starts_a_shuffled_model_with_the_same_outputs(data):
    """Its channels go where the shuffle brings them back from."""
    dense = run(data, model="d_star_light", output=str(data / "dense"))
    outputs = []
    for path, options in (
        (dense, {"model": "d_star_light"}),
        (dense, {"model": "dg4_star_light", "grouping": {"schedule": "power"}}),
    ):
        recipe = load_recipe(
            recipe_file(data, model=options.pop("model"), init=str(path), stage=options)
        )
        training = Training(recipe, torch.device("cpu"), Processes(), restart=True, quiet=True)
        with torch.no_grad():
            outputs.append(training.net.eval()(torch.ones(1, 3, 16, 24)))
    assert torch.allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "dg4s_star"}, "shuffles its groups otherwise than the checkpoint's"),
        ({"model": "dg4_star", "module_order": "figure2"}, "has module_order 'released'"),
    ],
)
def test_a_checkpoint_that_would_compute_something_else_starts_nothing(data, changes, message):
    path, info = data / "dg4_star.safetensors", info_for(build_model("dg4_star", 11), "camvid11")
    save_checkpoint(path, build_model("dg4_star", 11), info)
    with pytest.raises(ErfSegError, match=message):
        run(data, init=str(path), **changes)


def test_the_command_prints_the_scores(data, capsys):
    recipe_file(data, stage={"epochs": 1})
    assert main(["train", str(data / "recipe.yaml"), "--seed", "3", "--restart", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["checkpoint"]).exists()
    assert report["metrics"]["training"]["epochs"] == 1
    assert main(["train", str(data / "recipe.yaml"), "--sede", "3"]) == 2
    assert "unknown key 'sede'" in capsys.readouterr().err
    assert main(["train", str(data / "recipe.yaml"), "--restart", "yes"]) == 2
    assert "--restart takes no value" in capsys.readouterr().err


def test_bad_validation_labels_are_found_before_training(data):
    cv2.imwrite(str(data / "camvid/val/labels/drive0_002.png"), np.full((48, 64), 99, np.uint8))
    with pytest.raises(ErfSegError, match=r"drive0_002.png: label ids \[99\]"):
        run(data)
    assert not (data / "run").exists()


def test_recalibrated_norms_hold_the_statistics_of_the_batches():
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5))
    batches = [torch.randn(4, 2, 8, 8) * 3 + 5 for _ in range(3)]
    recalibrate_norms(net, iter(batches))
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(net[0].running_mean, mean, atol=1e-5)
    assert net[0].momentum == 0.1
    assert not net[0].training
