import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from inference_helpers import SIZE, images, info_for, logits_of, random_network

from erf_seg_core.class_sets import ClassSet
from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference.export import export_onnx
from erf_seg_core.inference.program import NEGLIGIBLE
from erf_seg_core.models import list_models


def run(path, batch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": batch})


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
    batch = images(2, seed=7)
    eager = logits_of(net, batch).transpose(0, 3, 1, 2)
    rgb = np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255
    (logits,) = run(export_onnx(net, info_for(net), tmp_path / "net.onnx", "logits"), rgb)
    assert logits.shape == (2, 20, *SIZE)
    with torch.inference_mode():
        exact = net.double()(torch.from_numpy(rgb).double()).numpy()
    # As close to the truth as the network itself is in float32.
    assert np.abs(eager - exact).max() <= 1e-3 * np.ptp(exact)
    assert np.abs(logits - exact).max() <= 3 * np.abs(eager - exact).max()


def test_the_file_is_valid_and_describes_itself(tmp_path):
    net = random_network("dg4_star_light")
    info = info_for(net)
    path = export_onnx(net, info, tmp_path / "new folder" / "net.onnx", "labels+confidence")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["labels", "confidence"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["model"] == "dg4_star_light"
    assert tuple(json.loads(metadata["input_size"])) == SIZE
    assert ClassSet.from_dict(json.loads(metadata["class_set"])) == info.class_set
    assert "BGR" in metadata["input"]


def test_no_subnormal_weights_are_exported(tmp_path):
    net = random_network("dg4_star_light")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.view(-1)[0] = 1e-39
    model = onnx.load(export_onnx(net, info_for(net), tmp_path / "net.onnx"))
    for initializer in model.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        assert not ((values != 0) & (np.abs(values) < NEGLIGIBLE)).any(), initializer.name


def test_bad_requests_are_refused(tmp_path):
    net = random_network("dg4_star_light")
    info = info_for(net)
    with pytest.raises(ErfSegError, match="no export output 'masks'"):
        export_onnx(net, info, tmp_path / "net.onnx", "masks")
    with pytest.raises(ErfSegError, match="multiples of 8"):
        export_onnx(net, info, tmp_path / "net.onnx", input_size=(100, 200))
    (tmp_path / "file").touch()
    with pytest.raises(ErfSegError, match="cannot write"):
        export_onnx(net, info, tmp_path / "file" / "net.onnx")
