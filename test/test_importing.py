import os
import re

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from erf_seg_cli.main import main
from erf_seg_core import ErfSegError, build_model
from erf_seg_core.checkpoint import build_from_checkpoint, inference_state
from erf_seg_core.class_sets import VOID_ID
from erf_seg_core.evaluation import ConfusionMatrix
from erf_seg_core.importing import import_checkpoint, read_state_dict

# Cityscapes' official labelIds of the 19 training classes, in train-id order.
TRAIN_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def upstream_erfnet_shapes():
    """Key → shape of upstream's `ERFNet(20).state_dict()`, from its published layer list."""
    shapes = {}

    def conv(name, outputs, inputs, kh, kw):
        shapes[f"{name}.weight"] = (outputs, inputs, kh, kw)
        shapes[f"{name}.bias"] = (outputs,)

    def bn(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def down(name, inputs, outputs):
        conv(f"{name}.conv", outputs - inputs, inputs, 3, 3)
        bn(f"{name}.bn", outputs)

    def non_bt_1d(name, c):
        for i in (1, 2):
            conv(f"{name}.conv3x1_{i}", c, c, 3, 1)
            conv(f"{name}.conv1x3_{i}", c, c, 1, 3)
            bn(f"{name}.bn{i}", c)

    def up(name, inputs, outputs):
        conv(f"{name}.conv", outputs, inputs, 3, 3)
        shapes[f"{name}.conv.weight"] = (inputs, outputs, 3, 3)  # transposed
        bn(f"{name}.bn", outputs)

    down("encoder.initial_block", 3, 16)
    down("encoder.layers.0", 16, 64)
    for i in range(1, 6):
        non_bt_1d(f"encoder.layers.{i}", 64)
    down("encoder.layers.6", 64, 128)
    for i in range(7, 15):
        non_bt_1d(f"encoder.layers.{i}", 128)
    conv("encoder.output_conv", 20, 128, 1, 1)
    up("decoder.layers.0", 128, 64)
    up("decoder.layers.3", 64, 16)
    for i, c in ((1, 64), (2, 64), (4, 16), (5, 16)):
        non_bt_1d(f"decoder.layers.{i}", c)
    conv("decoder.output_conv", 20, 16, 2, 2)
    shapes["decoder.output_conv.weight"] = (16, 20, 2, 2)
    return shapes


def random_state(prefix=""):
    generator = torch.Generator().manual_seed(7)
    state = {}
    for key, shape in upstream_erfnet_shapes().items():
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(5)
        elif key.endswith("running_var"):
            value = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = np.prod(shape[1:]) if len(shape) > 1 else 4
            value = torch.randn(shape, generator=generator) / float(np.sqrt(fan_in))
        state[prefix + key] = value
    return state


def upstream_forward(s, x):
    """Upstream ERFNet's forward pass in eval mode, straight from a state dict's upstream keys."""

    def conv(x, key, **options):
        return F.conv2d(x, s[f"{key}.weight"], s[f"{key}.bias"], **options)

    def bn(x, key):
        mean, var = s[f"{key}.running_mean"], s[f"{key}.running_var"]
        return F.batch_norm(x, mean, var, s[f"{key}.weight"], s[f"{key}.bias"], eps=1e-3)

    def down(x, key):
        both = [conv(x, f"{key}.conv", stride=2, padding=1), F.max_pool2d(x, 2, 2)]
        return F.relu(bn(torch.cat(both, 1), f"{key}.bn"))

    def module(x, key, d):
        y = F.relu(conv(x, f"{key}.conv3x1_1", padding=(1, 0)))
        y = F.relu(bn(conv(y, f"{key}.conv1x3_1", padding=(0, 1)), f"{key}.bn1"))
        y = F.relu(conv(y, f"{key}.conv3x1_2", padding=(d, 0), dilation=(d, 1)))
        y = bn(conv(y, f"{key}.conv1x3_2", padding=(0, d), dilation=(1, d)), f"{key}.bn2")
        return F.relu(y + x)

    def deconv(x, key, **options):
        return F.conv_transpose2d(x, s[f"{key}.weight"], s[f"{key}.bias"], stride=2, **options)

    x = down(down(x, "encoder.initial_block"), "encoder.layers.0")
    for i in range(1, 6):
        x = module(x, f"encoder.layers.{i}", 1)
    x = down(x, "encoder.layers.6")
    for i, d in zip(range(7, 15), (2, 4, 8, 16) * 2, strict=True):
        x = module(x, f"encoder.layers.{i}", d)
    for first in (0, 3):
        up = f"decoder.layers.{first}"
        x = F.relu(bn(deconv(x, f"{up}.conv", padding=1, output_padding=1), f"{up}.bn"))
        x = module(x, f"decoder.layers.{first + 1}", 1)
        x = module(x, f"decoder.layers.{first + 2}", 1)
    return deconv(x, "decoder.output_conv")


@pytest.mark.parametrize("prefix", ("", "module."))
@pytest.mark.parametrize("wrapped", (False, True))
def test_upstream_erfnet_gives_the_same_logits(tmp_path, prefix, wrapped):
    state = random_state(prefix)
    source = tmp_path / "erfnet.pth"
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, source)
    import_checkpoint(source, "ERFNet", tmp_path / "erfnet.safetensors")
    net, info = build_from_checkpoint(tmp_path / "erfnet.safetensors")
    assert (info.model, info.num_outputs, info.class_set.name) == ("erfnet", 20, "cityscapes19")
    x = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = upstream_forward(random_state(), x)
        assert (net(x) - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


def test_encoder_only_model_takes_the_encoders_head(tmp_path):
    state = random_state()
    torch.save(state, tmp_path / "erfnet.pth")
    import_checkpoint(tmp_path / "erfnet.pth", "erfnet_encoder", tmp_path / "e.safetensors")
    net, _ = build_from_checkpoint(tmp_path / "e.safetensors")
    assert torch.equal(net.decoder.output_conv.weight, state["encoder.output_conv.weight"])


@pytest.mark.parametrize("change", ("missing", "extra", "shape"))
def test_every_tensor_is_accounted_for(tmp_path, change):
    state = random_state("module.")
    key = "module.encoder.layers.9.bn1.running_mean"
    if change == "missing":
        del state[key]
    if change == "extra":
        key = "module.decoder.layers.9.mystery.weight"
        state[key] = torch.zeros(1)
    if change == "shape":
        state[key] = torch.zeros(3)
    torch.save(state, tmp_path / "erfnet.pth")
    name = re.escape(key.removeprefix("module."))
    with pytest.raises(ErfSegError, match=rf"{change}.*{name}"):
        import_checkpoint(tmp_path / "erfnet.pth", "erfnet", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_import_as_another_model_says_so(tmp_path):
    torch.save(random_state(), tmp_path / "erfnet.pth")
    with pytest.raises(ErfSegError, match="not a 'dg4'"):
        import_checkpoint(tmp_path / "erfnet.pth", "dg4", tmp_path / "out.safetensors")


def test_files_that_are_no_state_dict_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({}, tmp_path / "empty.pth")
    (tmp_path / "nothing.pth").touch()
    torch.save({"a": build_model("d_star_light")}, tmp_path / "module.pth")
    for name in ("text", "list", "empty", "nothing", "module", "absent"):
        with pytest.raises(ErfSegError, match=name):
            read_state_dict(tmp_path / f"{name}.pth")


def released_names(state):
    """Our light model's tensors under the names of the authors' release."""
    ours = ("dw1", "bn1", "pw1", "bn2", "dw2", "bn3", "pw2", "bn4")
    theirs = ["conv3x3_1", "bn1_1", "conv1L_1", "bn2_1", "conv3x3_2", "bn1_2", "conv1L_2", "bn2_2"]
    table = dict(zip(ours, theirs, strict=True))
    parts = ([table.get(part, part) for part in key.split(".")] for key in state)
    return {"module." + ".".join(p): v for p, v in zip(parts, state.values(), strict=True)}


@pytest.mark.parametrize("paper_name", ("D*-proposed", "DG2*-proposed", "DG4*-proposed"))
def test_released_names_are_understood(tmp_path, paper_name):
    torch.manual_seed(1)
    net = build_model(paper_name, 20).eval()
    torch.save(released_names(inference_state(net)), tmp_path / "released.pth")
    import_checkpoint(tmp_path / "released.pth", paper_name, tmp_path / "out.safetensors")
    again, _ = build_from_checkpoint(tmp_path / "out.safetensors")
    x = torch.rand(1, 3, 32, 64)
    with torch.inference_mode():
        assert torch.equal(again(x), net(x))


def cityscapes_frames(data_dir):
    lut = np.full(256, VOID_ID, np.uint8)
    lut[list(TRAIN_LABEL_IDS)] = np.arange(19)
    root = data_dir / "cityscapes_sample"
    for image in sorted(root.glob("leftImg8bit/*/*/*.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        city = image.parent.relative_to(root / "leftImg8bit")
        truth = root / "gtFine" / city / f"{stem}_gtFine_labelIds.png"
        small = cv2.resize(cv2.imread(str(image)), (1024, 512), interpolation=cv2.INTER_LINEAR)
        yield small, lut[cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)][::2, ::2]


@pytest.mark.parametrize(
    "file, paper_name",
    [
        ("DG4star_proposed_cityscapes.pth", "DG4*-proposed"),
        ("Dstar_proposed_cityscapes.pth", "D*-proposed"),
    ],
)
def test_released_weights_label_real_cityscapes_frames(
    tmp_path, capsys, data_dir, file, paper_name
):
    source, output = data_dir / "released_weights" / file, tmp_path / "net.safetensors"
    assert main(["import", str(source), "--model", paper_name, "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    net, info = build_from_checkpoint(output)
    scores = ConfusionMatrix(info.class_set.num_classes)
    for image, truth in cityscapes_frames(data_dir):
        x = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            labels = net(x).argmax(1)[0].numpy().astype(np.uint8)
        labels[labels == 19] = VOID_ID
        scores.update(labels, truth)
    assert scores.matrix.sum() > 1_500_000
    assert scores.accuracy() >= 0.93


def test_an_output_that_is_no_file_is_not_replaced(tmp_path):
    torch.save(inference_state(build_model("erfnet", 20)), tmp_path / "erfnet.pth")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ErfSegError, match="fifo is a folder, a link or a device"):
        import_checkpoint(tmp_path / "erfnet.pth", "erfnet", fifo)
    assert fifo.is_fifo()
