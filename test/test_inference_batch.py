"""Several images in one call: the labels are those of each image alone."""

import numpy as np
import pytest
from inference_helpers import SIZE, images, info_for, random_network

from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference import Segmenter
from erf_seg_core.models import list_models

SIZES = [SIZE, (90, 161), (33, 40)]
PICTURES = [images(1, size, seed)[0] for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def network():
    return random_network("dg4_star_light")


@pytest.fixture(scope="module")
def segmenter(network):
    return Segmenter(network, info_for(network), "cpu", "onnxruntime", threads=1)


def assert_same(result, expected):
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.confidence, expected.confidence)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", list_models())
def test_batch_labels_like_one_at_a_time(name, engine):
    net = random_network(name)
    segmenter = Segmenter(net, info_for(net), "cpu", engine, threads=1)
    results = segmenter.batch(PICTURES)
    assert [result.labels.shape for result in results] == SIZES
    for result, picture in zip(results, PICTURES, strict=True):
        assert_same(result, segmenter(picture))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batch_in_one_run_of_the_engine_labels_likewise(network, monkeypatch, count):
    """As on a GPU; ONNX Runtime computes each image of a batch the same way, bit for bit."""
    segmenter = Segmenter(network, info_for(network), "cpu", "onnxruntime", threads=1)
    alone = [segmenter(picture) for picture in PICTURES[:count]]
    runs = []
    run = segmenter._engine.run
    monkeypatch.setattr(
        segmenter._engine, "run", lambda images, sure: runs.append(len(images)) or run(images, sure)
    )
    monkeypatch.setattr(Segmenter, "gains_from_batches", True)
    for result, expected in zip(segmenter.batch(PICTURES[:count]), alone, strict=True):
        assert_same(result, expected)
    assert runs == [count]
    segmenter.warm_up(1, largest_batch=count)
    assert sorted(set(runs[1:])) == list(range(1, count + 1))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_images_side_by_side_are_labelled_likewise(network, monkeypatch, count):
    segmenter = Segmenter(network, info_for(network), "cpu", "onnxruntime", threads=2)
    assert segmenter.side_by_side == 2
    pictures = (PICTURES * 2)[:count]
    alone = [segmenter(picture) for picture in pictures]
    start = segmenter._engine._session

    def session(output, count, threads=None):
        seen.add(threads)
        return start(output, count, threads)

    seen = set()
    monkeypatch.setattr(segmenter._engine, "_session", session)
    for result, expected in zip(segmenter.batch(pictures), alone, strict=True):
        assert_same(result, expected)
    assert seen == {1}
    quiet = segmenter.batch(pictures, confidence=False)
    assert all(result.confidence is None for result in quiet)
    np.testing.assert_array_equal(quiet[-1].labels, alone[-1].labels)
    segmenter.close()


@pytest.mark.parametrize(
    ("engine", "threads", "size"),
    [("torch", 2, SIZE), ("onnxruntime", 1, SIZE), ("onnxruntime", 2, (512, 1024))],
)
def test_where_side_by_side_is_no_faster_images_take_turns(network, engine, threads, size):
    segmenter = Segmenter(network, info_for(network), "cpu", engine, size, threads)
    assert segmenter.side_by_side == 1


def test_options_hold_for_all_images(segmenter):
    results = segmenter.batch(PICTURES, confidence=False, label_size=(20, 30))
    for result, picture in zip(results, PICTURES, strict=True):
        assert result.confidence is None
        np.testing.assert_array_equal(result.labels, segmenter(picture, label_size=(20, 30)).labels)
    assert segmenter.batch([]) == []


def test_timing_is_the_whole_batchs(segmenter):
    first, *others = segmenter.batch(PICTURES)
    assert list(first.timing) == ["preprocess", "network", "postprocess"]
    assert all(other.timing == first.timing for other in others)
    assert others[0].timing is not first.timing


def test_one_bad_image_refuses_the_batch(segmenter):
    with pytest.raises(ErfSegError, match="the image must be"):
        segmenter.batch([PICTURES[0], np.zeros((3, 3), np.uint8)])


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_unsure_pixels_are_void(network, engine, threshold):
    segmenter = Segmenter(network, info_for(network), "cpu", engine, threads=1)
    for picture in PICTURES:
        plain = segmenter(picture)
        strict = segmenter(picture, min_confidence=threshold)
        unsure = plain.confidence / 255 < threshold
        assert unsure.any()
        np.testing.assert_array_equal(strict.labels, np.where(unsure, 255, plain.labels))
        np.testing.assert_array_equal(strict.confidence, plain.confidence)
        quiet = segmenter(picture, confidence=False, min_confidence=threshold)
        assert quiet.confidence is None
        np.testing.assert_array_equal(quiet.labels, strict.labels)


@pytest.mark.parametrize("bad", [-0.1, 1.01, float("nan")])
def test_impossible_threshold_is_refused(segmenter, bad):
    with pytest.raises(ErfSegError, match="min_confidence"):
        segmenter(PICTURES[0], min_confidence=bad)
