import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from erf_seg_core import ErfSegError, build_model
from erf_seg_core.checkpoint import (
    CheckpointInfo,
    build_from_checkpoint,
    find_checkpoint,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from erf_seg_core.class_sets import VOID_ID, ClassSet, load_class_set


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_model("d_star_light", 11).eval()


@pytest.fixture
def info():
    return CheckpointInfo(
        model="d_star_light",
        num_outputs=11,
        class_set=load_class_set("camvid11"),
        input_size=(64, 96),
        metrics={"miou": 0.5, "on": "nothing"},
        recipe={"epochs": 1},
        notes="a test",
    )


@pytest.fixture
def file(tmp_path, net, info):
    return save_checkpoint(tmp_path / "net.safetensors", net, info)


def test_a_checkpoint_gives_back_network_and_metadata(file, net, info):
    again, read = build_from_checkpoint(file)
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(again(x), net(x))
    assert read == info
    assert read_info(file) == info


def test_a_checkpoint_may_be_read_by_whom_the_umask_allows(tmp_path, net, info):
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "net.safetensors", net, info)
    finally:
        os.umask(before)
    assert (tmp_path / "net.safetensors").stat().st_mode & 0o777 == 0o640


def test_module_order_is_kept(tmp_path, info):
    info.module_order = "figure2"
    net = build_model("d_star_light", 11, "figure2")
    again, _ = build_from_checkpoint(save_checkpoint(tmp_path / "a.safetensors", net, info))
    assert again.module_order == "figure2"


def test_half_precision_weights_load_as_single(tmp_path, net, info):
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    path = save_checkpoint(tmp_path / "half.safetensors", half, info)
    _, tensors = load_checkpoint(path)
    assert {t.dtype for t in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("value", (float("inf"), float("nan")))
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, net, info, value):
    name = "encoder.initial_block.bn.running_var"
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    weights[name][0] = value
    with pytest.raises(ErfSegError, match=f"1 weights .* {name}"):
        save_checkpoint(tmp_path / "a.safetensors", weights, info)
    good = save_checkpoint(tmp_path / "good.safetensors", net, info)
    with safe_open(good, "pt") as file:
        metadata, stored = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - no dict
    save_file({**stored, name: weights[name]}, good, metadata)
    with pytest.raises(ErfSegError, match="infinite or no numbers"):
        load_checkpoint(good)


def test_paper_spelling_is_stored_as_registry_name():
    classes = load_class_set("cityscapes19")
    assert CheckpointInfo("DG4*-proposed", 20, classes, (512, 1024)).model == "dg4_star_light"


@pytest.mark.parametrize("keep", (3, 100, 5000))
def test_truncated_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ErfSegError, match="corrupt or cut short"):
        load_checkpoint(file)


def test_garbage_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\xff" * 4096)
    with pytest.raises(ErfSegError, match="corrupt"):
        load_checkpoint(path)


def test_foreign_safetensors_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ErfSegError, match="not one of erf_seg's"):
        load_checkpoint(path)


class _Bomb:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("zipped", (True, False))
def test_pickled_file_is_refused_without_running_it(tmp_path, capfd, zipped):
    path = tmp_path / "net.pth"
    if zipped:
        torch.save({"x": _Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ErfSegError, match=r"pickled.*erf_seg import"):
        load_checkpoint(path)
    assert capfd.readouterr().out == ""


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path, net, info):
    """Lengths of 0x0280 and so on begin as pickles do."""
    path, plain = tmp_path / "net.safetensors", tmp_path / "plain.safetensors"
    save_checkpoint(plain, net, info)
    length = int.from_bytes(plain.read_bytes()[:8], "little")
    missing = (0x0280 - length) % 65536
    info.notes += "x" * missing
    save_checkpoint(path, net, info)
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert load_checkpoint(path)[0].notes == info.notes


def test_wrong_class_count_is_refused(tmp_path, info):
    with pytest.raises(ErfSegError, match=r"11\s+outputs.*output_conv"):
        save_checkpoint(tmp_path / "x.safetensors", build_model("d_star_light", 12), info)


def test_file_whose_weights_do_not_fit_its_metadata_is_refused(tmp_path, net, info):
    lying = {**info.to_dict(), "num_outputs": 12}
    path = tmp_path / "x.safetensors"
    save_file(net.state_dict(), path, {"erf_seg": json.dumps(lying)})
    with pytest.raises(ErfSegError, match="do not fit"):
        load_checkpoint(path)


def test_fewer_outputs_than_classes_is_refused():
    with pytest.raises(ErfSegError, match="cannot hold"):
        CheckpointInfo("erfnet", 10, load_class_set("camvid11"), (64, 96))


@pytest.mark.parametrize("size", ((0, 8), (-8, 8), (63, 96), "large"))
def test_impossible_input_size_is_refused(size):
    with pytest.raises(ErfSegError, match="input size"):
        CheckpointInfo("erfnet", 20, load_class_set("cityscapes19"), size)


@pytest.mark.parametrize("damage", ("format", "class_set", "json"))
def test_damaged_metadata_is_refused(tmp_path, net, info, damage):
    data = info.to_dict()
    if damage == "format":
        data["format"] = 99
    if damage == "class_set":
        data["class_set"] = {"name": "x"}
    text = "{" if damage == "json" else json.dumps(data)
    path = tmp_path / "x.safetensors"
    save_file(net.state_dict(), path, {"erf_seg": text})
    with pytest.raises(ErfSegError, match=str(path)):
        read_info(path)


def test_missing_file_and_unshipped_model_say_what_to_do(tmp_path):
    with pytest.raises(ErfSegError, match="no checkpoint file"):
        find_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(ErfSegError, match="erf_seg import"):
        find_checkpoint("dg8s_star_encoder")
    with pytest.raises(ErfSegError, match="did you mean"):
        find_checkpoint("dg44")


@pytest.mark.parametrize("path", ("x" * 300, "x" * 300 + ".safetensors"))
def test_path_that_the_system_refuses_is_a_clear_error(path):
    for read in (find_checkpoint, read_info, load_class_set):
        with pytest.raises(ErfSegError, match=r"cannot look for xxx.*: File name too long"):
            read(path)


def test_writing_where_one_cannot_is_a_clear_error(tmp_path, net, info):
    (tmp_path / "file").write_text("")
    with pytest.raises(ErfSegError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path / "file" / "net.safetensors", net, info)


@pytest.mark.parametrize("name, count", [("cityscapes19", 19), ("camvid11", 11)])
def test_shipped_class_sets(name, count):
    classes = load_class_set(name)
    assert classes.num_classes == count
    assert ClassSet.from_dict(classes.to_dict()) == classes
    palette = classes.palette_bgr()
    assert tuple(palette[classes.names.index("road")]) == (128, 64, 128)[::-1]
    assert not palette[VOID_ID].any()


@pytest.mark.parametrize(
    "text, reason",
    [
        ("name: x", "not a class set"),
        ("name: x\nclasses: [{name: a, color: [0, 0, 300]}]", "0 to 255"),
        (
            "name: x\nclasses: [{name: a, color: [0,0,0]}, {name: a, color: [1,1,1]}]",
            "twice",
        ),
        ("name: [", "cannot read"),
        ("[a]", "it is no mapping"),
        ("name: x\nclasses: {}", "'classes' are no list"),
        ("name: x\nvoid: 254\nclasses: []", "its keys are name, void, classes"),
        ("name: x\nclasses: [{name: a, colour: [0, 0, 0]}]", "class 0 is {'name': 'a', 'colour'"),
        ("name: x\nclasses: [{name: a, id: 1, color: [0, 0, 0]}]", "class 0, 'a', says id 1"),
        ("name: x\nclasses: [{name: null, color: [0, 0, 0]}]", "has the name None"),
        ("name: x\nclasses: [{name: a, color: [0.5, 0, 0]}]", "three whole numbers"),
        ("name: x\nclasses: [{name: a, color: '128'}]", "three whole numbers"),
    ],
)
def test_bad_class_set_file_is_refused(tmp_path, text, reason):
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises(ErfSegError, match=reason):
        load_class_set(path)
