import importlib.util
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest
import torch
from inference_helpers import SIZE, images, info_for, logits_of, random_network
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from erf_seg_core.errors import EngineError, ErfSegError
from erf_seg_core.importing import import_checkpoint
from erf_seg_core.inference import (
    Segmenter,
    create_engine,
    cuda_graphs,
    load_segmenter,
    onnx_engine,
    onnx_heads,
    torch_engine,
)
from erf_seg_core.inference import engine as engine_module
from erf_seg_core.inference.onnx_providers import with_engine_cache
from erf_seg_core.inference.waiting import say_while_waiting

ENGINES = ["torch", "onnxruntime"]
# One of each kind: baseline, shuffled or not, each decoder, each head.
MODELS = ["erfnet", "dg4", "dg8s_star", "d_star_light", "dg4_star_light", "dg2s_encoder"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_engine_gives_the_labels_of_the_logits(name, engine):
    net = random_network(name)
    batch = images(2, seed=5)
    logits = logits_of(net, batch)
    labels, confidence = create_engine(net, SIZE, engine, "cpu", 1).run(batch, True)
    assert labels.dtype == confidence.dtype == np.uint8
    assert labels.shape == confidence.shape == batch.shape[:3]
    truth = logits.argmax(-1)
    assert len(np.unique(truth)) > 5, "the network is degenerate, the comparison says little"
    assert (labels == truth).mean() >= 0.999
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    probability = exponents.max(-1) / exponents.sum(-1)
    assert np.abs(confidence - 255 * probability).max() < 1.0


@pytest.mark.parametrize("engine", ENGINES)
def test_confidence_is_made_only_on_request(engine):
    runner = create_engine(random_network("dg4_star_light"), SIZE, engine, "cpu", 1)
    batch = images(1)
    labels, confidence = runner.run(batch, False)
    assert confidence is None
    np.testing.assert_array_equal(labels, runner.run(batch, True)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_is_labelled_like_its_images_one_by_one(engine):
    runner = create_engine(random_network("dg4_star_light"), SIZE, engine, "cpu", 1)
    batch = images(3)
    together, _ = runner.run(batch, False)
    single = np.concatenate([runner.run(batch[i : i + 1], False)[0] for i in range(3)])
    assert (together == single).mean() >= 0.999
    assert (together[0] != together[1]).any()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["dg4_star_light", "dg2s_encoder"])
def test_tiles_of_any_size_give_the_same_labels(monkeypatch, name, engine):
    net = random_network(name)
    batch = images(2)
    whole = create_engine(net, SIZE, engine, "cpu", 1).run(batch, True)
    # Tiles of five feature rows in the subpixel head, of one in the bilinear one, and a rest.
    monkeypatch.setattr(onnx_heads, "TILE_LOGITS", 5 * 64 * 80)
    monkeypatch.setattr(torch_engine, "TILE_LOGITS", 5 * 64 * 80)
    tiled = create_engine(net, SIZE, engine, "cpu", 1).run(batch, True)
    assert (whole[0] == tiled[0]).mean() >= 0.999
    assert np.abs(whole[1].astype(int) - tiled[1]).max() <= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_of_equal_logits_wins(engine):
    net = random_network("dg4_star_light", num_outputs=5)
    with torch.no_grad():
        net.decoder.output_conv.weight.zero_()
        net.decoder.output_conv.bias.copy_(torch.tensor([0.0, 2.0, 1.0, 2.0, 2.0]))
    labels, confidence = create_engine(net, SIZE, engine, "cpu", 1).run(images(1), True)
    assert set(np.unique(labels)) == {1}
    exponents = np.exp([0.0, 2.0, 1.0, 2.0, 2.0])
    assert set(np.unique(confidence)) == {round(255 * exponents[1] / exponents.sum())}


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("dg4_star_light", "DG4star_proposed_cityscapes.pth"),
        ("d_star_light", "Dstar_proposed_cityscapes.pth"),
    ],
)
def test_engines_agree_with_real_weights_on_real_images(data_dir, tmp_path, model, file):
    import cv2

    path = tmp_path / f"{model}.safetensors"
    import_checkpoint(data_dir / "released_weights" / file, model, path)
    frame = sorted((data_dir / "cityscapes_sample").rglob("*_leftImg8bit.png"))[0]
    image = cv2.imread(str(frame))
    first, second = (load_segmenter(path, "cpu", e, threads=1)(image) for e in ENGINES)
    assert (first.labels == second.labels).mean() >= 0.999
    assert np.abs(first.confidence.astype(int) - second.confidence).max() <= 1


@needs_cuda
@pytest.mark.parametrize(("precision", "agreement"), [("fp32", 0.999), ("fp16", 0.99)])
@pytest.mark.parametrize("name", ["dg4", "dg4_star_light", "dg2s_encoder"])
def test_cuda_engine_agrees_with_the_cpu(name, precision, agreement, caplog):
    net = random_network(name)
    batch = images(2, (256, 512), seed=5)
    runner = create_engine(net, (256, 512), "torch", "cuda", precision=precision)
    assert (runner.device, runner.precision) == ("cuda:0", precision)
    labels, confidence = runner.run(batch, True)
    logits = logits_of(net, batch)
    assert (labels == logits.argmax(-1)).mean() >= agreement  # of random weights
    probability = torch.from_numpy(logits).softmax(-1).amax(-1).numpy()
    assert np.abs(confidence - 255 * probability).mean() < 1.0
    assert "could not be captured" not in caplog.text


@needs_cuda
def test_cuda_graphs_of_several_shapes_take_turns(caplog):
    net = random_network("dg4_star_light")
    runner = create_engine(net, SIZE, "torch", "cuda", precision="fp32")
    shapes = [(count, SIZE) for count in range(1, cuda_graphs.MAX_GRAPHS + 3)] + [(1, (40, 64))]
    batches = [images(count, size, seed) for seed, (count, size) in enumerate(shapes)]
    first = [runner.run(batch, False)[0] for batch in batches]
    kept = [labels.copy() for labels in first]
    for batch, labels in zip(reversed(batches), reversed(kept), strict=True):
        again, confidence = runner.run(batch, True)
        assert (again == labels).mean() >= 0.999
        assert (labels == logits_of(net, batch).argmax(-1)).mean() >= 0.999
        assert confidence.shape == labels.shape
    for labels, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(labels, copy)  # no later frame has overwritten it
    assert "could not be captured" not in caplog.text


@needs_cuda
def test_a_frame_that_cannot_be_captured_still_runs_and_is_reported(monkeypatch, caplog):
    def refuse(self, pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graphs._Runner, "capture", refuse)
    net = random_network("dg4_star_light")
    batch = images(1)
    labels, _ = create_engine(net, SIZE, "torch", "cuda", precision="fp32").run(batch, False)
    assert (labels == logits_of(net, batch).argmax(-1)).mean() >= 0.999
    assert "could not be captured" in caplog.text


@pytest.mark.skipif(
    not {"CUDAExecutionProvider"} & set(onnxruntime.get_available_providers())
    or not torch.cuda.is_available(),
    reason="no ONNX Runtime with a GPU here",
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnxruntime_on_a_gpu_agrees_with_the_cpu(precision):
    net = random_network("dg4_star_light")
    batch = images(2, (256, 512), seed=5)
    runner = create_engine(net, (256, 512), "onnxruntime", "cuda", precision=precision)
    labels, _ = runner.run(batch, True)
    assert (labels == logits_of(net, batch).argmax(-1)).mean() >= 0.99


@needs_cuda
def test_auto_takes_the_gpu():
    runner = create_engine(random_network("dg4_star_light"), SIZE)
    assert (runner.name, runner.device) == ("torch", "cuda:0")


def test_auto_takes_onnxruntime_on_the_cpu_and_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="erf_seg_core"):
        runner = create_engine(random_network("dg4_star_light"), SIZE, "auto", "cpu", 1)
    assert (runner.name, runner.device) == ("onnxruntime", "cpu")
    assert "engine onnxruntime on cpu, 1 threads, fp32" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch can use a GPU here")
def test_a_gpu_that_stays_unused_is_reported(monkeypatch, tmp_path, caplog):
    net = random_network("dg4_star_light")
    monkeypatch.setattr(engine_module, "GPU_DEVICE_FILES", (tmp_path / "nvidia0",))
    create_engine(net, SIZE, threads=1)
    assert "GPU" not in caplog.text
    (tmp_path / "nvidia0").touch()
    create_engine(net, SIZE, device="cpu", threads=1)  # as asked for
    assert "GPU" not in caplog.text
    assert create_engine(net, SIZE, threads=1).device == "cpu"
    assert "there is an NVIDIA GPU, but this PyTorch " in caplog.text


@pytest.fixture
def without_onnxruntime(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )


def test_auto_falls_back_to_torch_with_a_warning(without_onnxruntime, caplog):
    runner = create_engine(random_network("dg4_star_light"), SIZE, "auto", "cpu", 1)
    assert runner.name == "torch"
    assert "pip install onnxruntime" in caplog.text


def test_a_named_engine_that_is_missing_is_an_error(without_onnxruntime):
    with pytest.raises(ErfSegError, match="pip install onnxruntime"):
        create_engine(random_network("dg4_star_light"), SIZE, "onnxruntime", "cpu")


@pytest.mark.parametrize(
    ("engine", "device", "threads", "message"),
    [
        ("openvino", "cpu", 1, "no engine 'openvino'"),
        ("auto", "tpu", 1, "no device 'tpu'"),
        ("auto", "mps", 1, "no device 'mps'"),
        ("auto", "cuda:256", 1, "device 'cuda:256' is not there"),
        ("auto", "cuda:-1", 1, "no device 'cuda:-1'"),
        ("auto", "cuda:", 1, "no device 'cuda:'"),
        ("torch", "cuda:99", 1, "device 'cuda:99' is not there"),
        ("auto", "cuda:99", 1, "device 'cuda:99' is not there"),
        ("tensorrt", "cpu", 1, "GPU only"),
        ("torch", "cpu", 0, "threads is 0"),
    ],
)
def test_impossible_choices_are_refused(engine, device, threads, message):
    with pytest.raises(ErfSegError, match=message):
        create_engine(random_network("dg4_star_light"), SIZE, engine, device, threads)


def test_tensorrt_keeps_the_engines_of_different_networks_apart(monkeypatch, tmp_path):
    """ONNX Runtime would tell them apart by names only, which all of ours share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    providers = [("TensorrtExecutionProvider", {"device_id": 0}), ("CPUExecutionProvider", {})]
    places = [with_engine_cache(providers, model)[0][1] for model in (b"one", b"two", b"one")]
    paths = [place["trt_engine_cache_path"] for place in places]
    assert paths[0] == paths[2] != paths[1]
    assert all(Path(path).is_dir() for path in paths)
    plain = [("CPUExecutionProvider", {})]
    assert with_engine_cache(plain, b"one") == plain


def test_tensorrt_does_without_a_cache_that_cannot_be_written(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    providers = [("TensorrtExecutionProvider", {"device_id": 0}), ("CPUExecutionProvider", {})]
    assert with_engine_cache(providers, b"model") == providers
    assert "engines are not kept, set XDG_CACHE_HOME: " in caplog.text


WITHOUT_A_HOME = """
import pwd, sys
import numpy as np
from erf_seg_core import load_segmenter

def unknown(number):
    raise KeyError(number)

pwd.getpwuid = unknown  # as in a container whose user the system does not know
segmenter = load_segmenter("dg4_star_light", device="cpu", engine="onnxruntime", input_size=(8, 8))
print(segmenter(np.zeros((4, 4, 3), np.uint8)).labels.shape)
"""


def test_a_user_without_a_home_folder_has_a_cache_that_is_told(tmp_path):
    names = set(os.environ) - {"HOME", "XDG_CACHE_HOME"}
    environment = {name: os.environ[name] for name in names} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_HOME], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "(4, 4)\n", done.stderr
    assert f"no home folder, so {tmp_path}/cache-{os.getuid()} is the cache" in done.stderr


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has the CUDA provider",
)
@pytest.mark.parametrize("engine", ["onnxruntime", "tensorrt"])
def test_an_onnxruntime_without_gpu_support_says_what_to_install(engine):
    with pytest.raises(ErfSegError, match="pip install onnxruntime-gpu"):
        create_engine(random_network("dg4_star_light"), SIZE, engine, "cuda")


@pytest.mark.parametrize("engine", ENGINES)
def test_precision_on_the_cpu_is_float32(engine):
    net = random_network("dg4_star_light")
    for precision in ("auto", "fp32"):
        assert create_engine(net, SIZE, engine, "cpu", 1, precision).precision == "fp32"
    with pytest.raises(ErfSegError, match="on cpu has no precision 'fp16'; it has fp32"):
        create_engine(net, SIZE, engine, "cpu", 1, "fp16")
    with pytest.raises(ErfSegError, match="no precision 'half'"):
        create_engine(net, SIZE, engine, "cpu", 1, "half")


def test_onnxruntime_does_not_go_on_elsewhere_when_its_provider_fails():
    """By default it prints, changes to another provider for good, and calls that a success."""
    net = random_network("dg4_star_light")
    segmenter = Segmenter(net, info_for(net), "cpu", "onnxruntime", SIZE, threads=1)
    (session,) = segmenter._engine._sessions.values()

    class Failing:
        def __init__(self, native):
            self.native = native

        def __getattr__(self, name):
            return getattr(self.native, name)

        def run(self, *_):
            raise EPFail("the provider broke")

    session._sess = Failing(session._sess)
    with pytest.raises(EngineError, match=r"onnxruntime on cpu failed: .*the provider broke"):
        segmenter(np.zeros((*SIZE, 3), np.uint8), confidence=False)


def test_an_engine_that_fails_to_start_says_why(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("out of memory\nand ten more lines")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(ErfSegError, match=r"its CPUExecutionProvider: out of memory$"):
        create_engine(random_network("dg4_star_light"), SIZE, "onnxruntime", "cpu", 1)


def test_long_preparations_are_announced(caplog):
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            if "so far" in record.getMessage():
                said.set()

    listener = Listener()
    logger = logging.getLogger("erf_seg_core.inference.waiting")
    logger.addHandler(listener)
    try:
        with say_while_waiting("compiling", every_s=0.01):
            assert said.wait(30)
    finally:
        logger.removeHandler(listener)
    assert caplog.messages[0] == "compiling"
    assert caplog.messages[-1].startswith("done after")


def test_threads_are_respected():
    net = random_network("dg4_star_light")
    process = psutil.Process()
    before = process.num_threads()
    alone = create_engine(net, SIZE, "onnxruntime", "cpu", 1)
    assert process.num_threads() == before
    three = create_engine(net, SIZE, "onnxruntime", "cpu", 3)
    assert process.num_threads() == before + 2
    for runner in (alone, three):
        runner.close()

    original = torch.get_num_threads()
    try:
        runner = create_engine(net, SIZE, "torch", "cpu", 3)
        runner.run(images(1), False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(original)


def test_load_segmenter_reports_the_engine(tmp_path):
    from erf_seg_core.checkpoint import save_checkpoint

    net = random_network("dg4_star_light")
    path = save_checkpoint(tmp_path / "net.safetensors", net, info_for(net))
    segmenter = load_segmenter(path, device="cpu", engine="torch", threads=1)
    assert (segmenter.engine_name, segmenter.device) == ("torch", "cpu")
    assert segmenter.info.model == "dg4_star_light"
    assert segmenter.input_size == SIZE


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.26.0", {"session.intra_op.spin_duration_us": "20", "session.force_spinning_stop": "1"}),
        ("1.25.1", {"session.intra_op.allow_spinning": "0"}),  # knows no duration
    ],
)
def test_threads_wait_for_microseconds_or_sleep(monkeypatch, version, expected):
    monkeypatch.setattr(onnxruntime, "__version__", version)
    options = onnx_engine.session_options(2)
    assert {key: options.get_session_config_entry(key) for key in expected} == expected
