import json
import os
import resource
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from inference_helpers import SIZE, images, info_for, logits_of, random_network

from erf_seg_cli.main import main
from erf_seg_core.checkpoint import build_from_checkpoint, save_checkpoint
from erf_seg_core.class_sets import ClassSet
from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference.export import ExportOptions, export_onnx
from erf_seg_core.inference.export_check import TOLERANCES, check_export
from erf_seg_core.inference.float16_range import fits_float16
from erf_seg_core.inference.program import NEGLIGIBLE
from erf_seg_core.models import list_models


def run(exported, batch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(exported.path, options, providers=providers)
    return session.run(None, {"image": batch})


def planes(batch):
    return np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255


@pytest.mark.parametrize("name", list_models())
def test_every_model_exports_to_labels(tmp_path, name):
    net = random_network(name)
    batch = images(1, seed=7)
    logits = logits_of(net, batch)
    (labels,) = run(export_onnx(net, info_for(net), tmp_path / "net.onnx"), batch)
    assert labels.dtype == np.uint8
    chosen = np.take_along_axis(logits, labels[..., None].astype(np.int64), -1)[..., 0]
    # Where another label was chosen, its logit must be as large but for rounding.
    assert (logits.max(-1) - chosen).max() <= 1e-3 * np.ptp(logits)
    assert (labels == logits.argmax(-1)).mean() >= 0.999


@pytest.mark.parametrize("module_order", ["released", "figure2"])
@pytest.mark.parametrize("name", ["dg4", "dg4_star_light", "dg8s_encoder"])
def test_logits_are_those_of_the_network(tmp_path, name, module_order):
    net = random_network(name, module_order=module_order)
    batch = images(1, seed=7)
    eager = logits_of(net, batch).transpose(0, 3, 1, 2)
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx", ExportOptions("logits"))
    (logits,) = run(exported, planes(batch))
    assert logits.shape == (1, 20, *SIZE)
    with torch.inference_mode():
        exact = net.double()(torch.from_numpy(planes(batch)).double()).numpy()
    # As close to the truth as the network itself is in float32.
    assert np.abs(eager - exact).max() <= 1e-3 * np.ptp(exact)
    assert np.abs(logits - exact).max() <= 3 * np.abs(eager - exact).max()


@pytest.mark.parametrize("model", ["dg4", "dg4_star_light"])
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions("logits"),
        ExportOptions("labels"),
        ExportOptions("labels+confidence", dynamic_batch=True, dynamic_size=True),
        ExportOptions("logits", input_size=(120, 160), half=True),  # slow on a CPU
        ExportOptions("labels+confidence", input_size=(120, 160), half=True),
    ],
)
def test_shipped_weights_survive(tmp_path, model, options):
    net, info = build_from_checkpoint(model)
    exported = export_onnx(net, info, tmp_path / "net.onnx", options)
    agreement = check_export(net, exported, list(images(2, (120, 160), seed=3)))
    assert agreement.within(TOLERANCES["float16" if options.half else "float32"])
    assert (agreement.logits is not None) == (options.output == "logits")
    assert (agreement.confidence is not None) == (options.output == "labels+confidence")


def test_a_file_that_computes_something_else_is_told(tmp_path, capsys):
    """One layer's values go beyond float16, and the next layer brings them back."""
    net, info = build_from_checkpoint("dg4_star_light")
    module = net.encoder.layers[1]
    with torch.no_grad():
        module.bn1.weight *= 3e5
        module.bn1.bias *= 3e5
        module.pw1.weight /= 3e5
    path = save_checkpoint(tmp_path / "dg4_star_light.safetensors", net, info)
    arguments = ["export", str(path), "--output", str(tmp_path / "net.onnx"), "--size", "64x96"]
    for kind in ("logits", "labels", "labels+confidence"):
        assert main([*arguments, "--output-kind", kind]) == 0
        assert main([*arguments, "--output-kind", kind, "--fp16"]) == 2
        assert "does not do what the network does" in capsys.readouterr().err
    assert not fits_float16(net)


@pytest.mark.parametrize("model", ["dg4", "dg4_star_light", "d_star_light", "erfnet"])
def test_shipped_weights_fit_into_float16(model):
    assert fits_float16(build_from_checkpoint(model)[0])


def test_half_files_are_half_as_large_and_keep_their_types(tmp_path):
    net = random_network("dg4_star_light")
    whole = export_onnx(net, info_for(net), tmp_path / "whole.onnx")
    half = export_onnx(net, info_for(net), tmp_path / "half.onnx", ExportOptions(half=True))
    assert half.path.stat().st_size < 0.6 * whole.path.stat().st_size
    assert (half.inputs, half.outputs) == (whole.inputs, whole.outputs)
    assert half.metadata["precision"] == "float16"
    graph = onnx.load(half.path).graph
    (head,) = [node for node in graph.node if node.op_type == "ConvTranspose"][-1:]
    kinds = {c.data_type for c in graph.initializer if c.name in head.input}
    assert kinds == {onnx.TensorProto.FLOAT}  # near logits would often be equal in float16


@pytest.mark.parametrize("name", ["dg4_star_light", "dg4", "dg2s_encoder"])
@pytest.mark.parametrize("kind", ["labels", "logits"])
def test_dynamic_files_take_any_number_and_size(tmp_path, name, kind):
    net = random_network(name)
    options = ExportOptions(kind, dynamic_batch=True, dynamic_size=True)
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx", options)
    assert exported.inputs[0].shape[0] == "batch"
    assert {"height", "width"} < set(exported.outputs[0].shape)
    for count, size in ((1, (64, 96)), (2, (40, 128))):
        batch = images(count, size, seed=5)
        truth = logits_of(net, batch).argmax(-1)
        (result,) = run(exported, planes(batch) if kind == "logits" else batch)
        labels = result.argmax(1) if kind == "logits" else result
        assert (labels == truth).mean() >= 0.999


@pytest.mark.parametrize("opset", [13, 17, 22])
def test_opsets(tmp_path, opset):
    net = random_network("dg4_star_light")
    batch = images(1)
    options = ExportOptions("labels+confidence", opset=opset)
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx", options)
    assert onnx.load(exported.path).opset_import[0].version == opset
    labels, confidence = run(exported, batch)
    logits = torch.from_numpy(logits_of(net, batch))
    assert (labels == logits.argmax(-1).numpy()).mean() >= 0.999
    assert np.abs(confidence - 255 * logits.softmax(-1).amax(-1).numpy()).max() < 1.0


@pytest.mark.parametrize("kind", ["labels", "logits"])
def test_openvino_runs_the_file(tmp_path, kind):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    net = random_network("dg4_star_light")
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx", ExportOptions(kind))
    batch = images(1)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(exported.path), "CPU", exact)
    result = compiled([planes(batch) if kind == "logits" else batch])[0]
    labels = result.argmax(1) if kind == "logits" else result
    assert (labels == logits_of(net, batch).argmax(-1)).mean() >= 0.999
    # Its own, far faster kernel for the shuffles, in all 13 modules of the encoder.
    kinds = [op.get_rt_info()["layerType"] for op in compiled.get_runtime_model().get_ops()]
    assert kinds.count("ShuffleChannels") == 13


def test_tensorrt_parses_the_file(tmp_path):
    tensorrt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    net = random_network("dg4_star_light")
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx")
    builder = tensorrt.Builder(tensorrt.Logger())
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, tensorrt.Logger())
    assert parser.parse_from_file(str(exported.path)), parser.get_error(0)


def test_the_file_is_valid_and_describes_itself(tmp_path):
    net = random_network("dg4_star_light")
    info = info_for(net)
    options = ExportOptions("labels+confidence")
    exported = export_onnx(net, info, tmp_path / "new folder" / "net.onnx", options)
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["labels", "confidence"]
    assert [tensor.shape for tensor in exported.outputs] == [(1, *SIZE)] * 2
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == exported.metadata
    assert metadata["model"] == "dg4_star_light"
    assert tuple(json.loads(metadata["input_size"])) == SIZE
    assert tuple(json.loads(metadata["class_names"])) == info.class_set.names
    assert len(json.loads(metadata["class_colors_rgb"])) == info.class_set.num_classes
    assert ClassSet.from_dict(json.loads(metadata["class_set"])) == info.class_set
    assert "BGR" in metadata["input"]
    assert json.loads(metadata["normalization"])["std"] == [1, 1, 1]


def test_no_subnormal_weights_are_exported(tmp_path):
    net = random_network("dg4_star_light")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.view(-1)[0] = 1e-39
    model = onnx.load(export_onnx(net, info_for(net), tmp_path / "net.onnx").path)
    for initializer in model.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        assert not ((values != 0) & (np.abs(values) < NEGLIGIBLE)).any(), initializer.name


def test_bad_requests_are_refused(tmp_path):
    net = random_network("dg4_star_light")
    info = info_for(net)
    path = tmp_path / "net.onnx"
    with pytest.raises(ErfSegError, match="no export output 'masks'"):
        export_onnx(net, info, path, ExportOptions("masks"))
    with pytest.raises(ErfSegError, match="multiples of 8"):
        export_onnx(net, info, path, ExportOptions(input_size=(100, 200)))
    with pytest.raises(ErfSegError, match="opset is 12"):
        export_onnx(net, info, path, ExportOptions(opset=12))
    (tmp_path / "file").touch()
    with pytest.raises(ErfSegError, match="cannot write"):
        export_onnx(net, info, tmp_path / "file" / "net.onnx")


def test_a_full_disk_leaves_the_older_file(tmp_path):
    """A limit on the size of files stands in for the disk: the system refuses in the same way."""
    net = random_network("dg4_star_light")
    path = export_onnx(net, info_for(net), tmp_path / "net.onnx").path
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(ErfSegError, match=r"cannot write .*: File too large"):
            export_onnx(net, info_for(net), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_devices_links_and_folders_are_not_replaced(tmp_path):
    net = random_network("dg4_star_light")
    (tmp_path / "link").symlink_to("elsewhere.onnx")
    os.mkfifo(tmp_path / "device")
    for output in (tmp_path, tmp_path / "link", tmp_path / "device"):
        with pytest.raises(ErfSegError, match=f"{output} is a folder, a link or a device"):
            export_onnx(net, info_for(net), output)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "device").is_fifo()


def test_a_check_finds_a_file_of_another_network(tmp_path):
    net = random_network("dg4_star_light")
    exported = export_onnx(random_network("dg4_star_light", seed=9), info_for(net), tmp_path / "n")
    agreement = check_export(net, exported, list(images(1)))
    assert not agreement.within(TOLERANCES["float32"])
    assert agreement.labels < 0.9


def test_the_command_writes_checks_and_says_so(tmp_path, capsys):
    from erf_seg_cli.main import main

    path = tmp_path / "net.onnx"
    arguments = ["--size", "64x96", "--dynamic", "batch", "--output-kind", "logits"]
    assert main(["export", "dg4_star_light", "--output", str(path), *arguments]) == 0
    told = capsys.readouterr().out
    assert "image: float32 batch×3×64×96" in told
    assert "% of labels equal" in told
    assert main(["export", "dg4_star_light", "--output", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [1, 360, 480, 3]}]
    assert document["labels_agreement"] >= 0.999
    assert main(["export", "dg4_star_light", "--output", str(path), "--size", "60x96"]) == 2
    assert "multiples of 8" in capsys.readouterr().err


def test_the_readme_describes_the_files(tmp_path):
    """The Triton configuration of the README has the names, types and shapes of the file."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    configuration = readme.split("```protobuf\n")[1].split("```")[0]
    net, info = build_from_checkpoint("dg4")
    exported = export_onnx(net, info, tmp_path / "model.onnx", ExportOptions(dynamic_batch=True))
    types = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
    for tensor in (*exported.inputs, *exported.outputs):
        assert tensor.shape[0] == "batch"
        dims = ", ".join(str(dimension) for dimension in tensor.shape[1:])
        line = f'name: "{tensor.name}", data_type: {types[tensor.dtype]}, dims: [ {dims} ]'
        assert line in configuration


@pytest.mark.parametrize("kind", ["labels", "logits"])
def test_the_check_resizes_what_it_is_given(tmp_path, kind):
    net = random_network("dg4_star_light")
    exported = export_onnx(net, info_for(net), tmp_path / "net.onnx", ExportOptions(kind))
    large = cv2.resize(images(1)[0], (300, 200))
    assert check_export(net, exported, [large]).labels >= 0.999
