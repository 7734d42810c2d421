import time

import numpy as np
import pytest
import torch
from inference_helpers import SIZE, images, info_for, random_network

from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference import Segmenter
from erf_seg_core.inference.segmenter import checked_input_size
from erf_seg_core.label_size import resize_labels


@pytest.fixture(scope="module")
def network():
    return random_network("dg4_star_light")


@pytest.fixture(scope="module")
def segmenter(network):
    return Segmenter(network, info_for(network), "cpu", "onnxruntime", threads=1)


def image(size=(90, 161), seed=0):
    return images(1, size, seed)[0]


@pytest.mark.parametrize("size", [(64, 128), (90, 161), (33, 40), (500, 301), (1, 1)])
def test_labels_have_the_size_of_the_image(segmenter, size):
    result = segmenter(image(size))
    assert result.labels.shape == result.confidence.shape == size
    assert result.labels.dtype == result.confidence.dtype == np.uint8
    known = result.labels[result.labels != 255]
    assert (known < segmenter.class_set.num_classes).all()


def test_label_size_is_free(segmenter):
    result = segmenter(image(), label_size=(45, 80))
    assert result.labels.shape == result.confidence.shape == (45, 80)
    for wrong in ((0, 80), (100,), 100, (), (45.0, 80), (float("nan"), 5), (3_000_000_000, 1)):
        with pytest.raises(ErfSegError, match="label size"):
            segmenter(image(), label_size=wrong)
    assert segmenter(image(), label_size=np.array([45, 80])).labels.shape == (45, 80)


@pytest.mark.parametrize("wrong", [None, "0.5", float("nan"), 1.5, -0.1])
def test_a_threshold_that_is_no_probability_is_refused(segmenter, wrong):
    with pytest.raises(ErfSegError, match=r"min_confidence is .* a number from 0 to 1"):
        segmenter(image(), min_confidence=wrong)


@pytest.mark.parametrize("wrong", [0, (), (64,), (64, float("inf")), ("64", "96"), (8, 32768)])
def test_an_input_size_that_is_none_is_refused(wrong):
    with pytest.raises(ErfSegError, match="input size"):
        checked_input_size(wrong)


def test_confidence_is_optional(segmenter):
    assert segmenter(image(), confidence=False).confidence is None


def test_timing_accounts_for_the_call(segmenter):
    start = time.perf_counter()
    timing = segmenter(image()).timing
    elapsed = 1000 * (time.perf_counter() - start)
    assert list(timing) == ["preprocess", "network", "postprocess"]
    assert all(value > 0 for value in timing.values())
    assert sum(timing.values()) <= elapsed
    best = {stage: min(segmenter(image()).timing[stage] for _ in range(5)) for stage in timing}
    assert best["network"] > best["postprocess"]


@pytest.mark.parametrize(
    "view",
    [
        lambda i: i[:, ::-1],
        lambda i: i[::-1],
        lambda i: i[..., ::-1],
        lambda i: i[::2, ::2],
        lambda i: i[:, 3:-5],  # rows with padding, as in messages with a step
        lambda i: np.asfortranarray(i),
    ],
)
@pytest.mark.parametrize("size", [SIZE, (90, 161)])
def test_any_memory_layout_gives_the_same_labels(segmenter, view, size):
    seen = view(image(size))
    result = segmenter(seen)
    expected = segmenter(np.ascontiguousarray(seen))
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.confidence, expected.confidence)


def test_read_only_images_are_fine(segmenter):
    frozen = image(SIZE)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(segmenter(frozen).labels, segmenter(frozen.copy()).labels)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_read_only_images_raise_no_warning(network, engine, recwarn):
    frozen = image(SIZE)
    frozen.flags.writeable = False
    Segmenter(network, info_for(network), "cpu", engine, threads=1)(frozen)
    assert not [str(w.message) for w in recwarn if "writable" in str(w.message)]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((1, 10, 10, 3), np.uint8),
        None,
        "image.png",
    ],
)
def test_what_is_no_bgr_image_is_refused(segmenter, bad):
    with pytest.raises(ErfSegError, match="the image must be"):
        segmenter(bad)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((100, 200), r"multiples of 8; the nearest is (96|104)×200"),
        ((3, 128), "nearest is 8×128"),
        ((-8, 128), "nearest is 8×128"),
        ((64,), r"not \(height, width\)"),
    ],
)
def test_impossible_input_sizes_name_the_nearest(network, size, message):
    with pytest.raises(ErfSegError, match=message):
        Segmenter(network, info_for(network), "cpu", input_size=size)


def test_input_size_overrides_the_checkpoint(network):
    small = Segmenter(network, info_for(network), "cpu", input_size=(32, 48), threads=1)
    assert small.input_size == (32, 48)
    assert small(image()).labels.shape == (90, 161)


def test_outputs_beyond_the_classes_are_void():
    net = random_network("dg4_star_light", num_outputs=20)
    with torch.no_grad():
        net.decoder.output_conv.bias[19] = 1e6
    for engine in ("torch", "onnxruntime"):
        result = Segmenter(net, info_for(net), "cpu", engine, threads=1)(image())
        assert set(np.unique(result.labels)) == {255}
        assert result.confidence.min() == 255


def test_resizing_labels_keeps_pixel_centres():
    labels = images(1, (48, 64))[0, :, :, 0] // 16
    for size in [(77, 101), (480, 640), (31, 50), (200, 60)]:
        rows = (np.arange(size[0]) + 0.5) * 48 / size[0]
        columns = (np.arange(size[1]) + 0.5) * 64 / size[1]
        # A centre exactly between two labels belongs to either of them.
        clear = np.ix_(rows % 1 != 0, columns % 1 != 0)
        assert np.mean(rows % 1 != 0) > 0.9
        expected = labels[np.ix_(rows.astype(int), columns.astype(int))]
        np.testing.assert_array_equal(resize_labels(labels, size)[clear], expected[clear])


def test_warm_up_then_close(network):
    segmenter = Segmenter(network, info_for(network), "cpu", threads=1)
    segmenter.warm_up(1)
    segmenter.close()
    segmenter.close()
    with pytest.raises(ErfSegError, match="closed"):
        segmenter(image())
