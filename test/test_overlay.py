import numpy as np
import pytest

from erf_seg_core.class_sets import ClassSet, load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.overlay import blend, colorize, legend

CITYSCAPES = load_class_set("cityscapes19")


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CITYSCAPES.num_classes, (40, 60), np.uint8)
    labels[:5] = 255
    return labels


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


def test_colorize_is_the_palette(labels):
    colors = colorize(labels, CITYSCAPES)
    np.testing.assert_array_equal(colors, CITYSCAPES.palette_bgr()[labels])
    assert tuple(colorize(np.zeros((1, 1), np.uint8), CITYSCAPES)[0, 0]) == (128, 64, 128)


def test_colorize_takes_labels_that_are_not_contiguous(labels):
    np.testing.assert_array_equal(
        colorize(labels[::2, ::3], CITYSCAPES), colorize(labels, CITYSCAPES)[::2, ::3]
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_blend_mixes_by_alpha_and_leaves_void_alone(image, labels, alpha):
    before = image.copy()
    result = blend(image, labels, CITYSCAPES, alpha)
    expected = (1 - alpha) * image + alpha * colorize(labels, CITYSCAPES)
    known = labels != 255
    assert np.abs(result[known] - expected[known]).max() <= 0.51  # rounding
    np.testing.assert_array_equal(result[~known], image[~known])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_blend_draws_pictures_of_a_few_pixels(image, labels, size):
    rows, columns = size
    for top in (4, 5):  # a void pixel, and one of a class
        part = np.s_[top : top + rows, :columns]
        result = blend(image[part], labels[part], CITYSCAPES)
        np.testing.assert_array_equal(result, blend(image, labels, CITYSCAPES)[part])


def test_blend_brings_labels_to_the_image_size(image):
    labels = np.array([[0, 10], [13, 255]], np.uint8)
    result = blend(image, labels, CITYSCAPES, alpha=1.0)
    np.testing.assert_array_equal(result[:20, :30], np.full((20, 30, 3), (128, 64, 128)))
    np.testing.assert_array_equal(result[20:, 30:], image[20:, 30:])


@pytest.mark.parametrize(
    ("bad_image", "bad_labels", "alpha", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 0.5, "H×W×3"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), 0.5, "uint8 image"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64), 0.5, "labels"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), 1.5, "alpha"),
    ],
)
def test_blend_refuses_what_it_cannot_draw(bad_image, bad_labels, alpha, message):
    with pytest.raises(ErfSegError, match=message):
        blend(bad_image, bad_labels, CITYSCAPES, alpha)


@pytest.mark.parametrize("width", [200, 640, 1024])
def test_legend_shows_every_colour_at_any_width(width):
    picture = legend(CITYSCAPES, width)
    assert picture.shape[1:] == (width, 3)
    shown = set(map(tuple, picture.reshape(-1, 3).tolist()))
    assert shown >= {tuple(c) for c in CITYSCAPES.palette_bgr()[:19].tolist()}
    assert (picture[:, -1] == 255).all(), "an entry runs over the right edge"


@pytest.mark.parametrize("width", [30, 200])
def test_legend_cuts_names_that_are_too_long(width):
    long = ClassSet("long", ("sky", "a rather long class name " * 9), ((1, 2, 3), (4, 5, 6)))
    picture = legend(long, width)
    assert picture.shape[1:] == (width, 3)
    assert (picture[:, -1] == 255).all(), "the name runs over the right edge"
    colors = set(map(tuple, picture.reshape(-1, 3).tolist()))
    assert colors >= {(3, 2, 1), (6, 5, 4)}
    written = (picture[:, 32:] < 128).any(axis=2).any(axis=0)  # columns of pixels beside the swatch
    assert written[-40:].any() == (width == 200), "more of the name would have fitted"
