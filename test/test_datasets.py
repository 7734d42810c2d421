"""Data sets for training: what is found, what is refused, and what a view is."""

import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from training_data import write_camvid

from erf_seg_core.class_sets import VOID_ID, load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.label_png import decode_label, read_label
from erf_seg_core.training.augment import random_view
from erf_seg_core.training.dataset import TrainingImages, View, ViewOrder, Views
from erf_seg_core.training.recipe import Augmentation, Source
from erf_seg_core.training.sources import open_source, read_image, union_members

CAMVID = load_class_set("camvid11")
CITYSCAPES = load_class_set("cityscapes19")
PLAIN = Augmentation(
    crop=(48, 64), scale=(1, 1), flip=False, brightness=0, contrast=0, saturation=0, tint=0
)

LABEL = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 12
PNG = cv2.imencode(".png", LABEL)[1].tobytes()


def camvid(folder, **fields):
    return open_source(Source("camvid", "camvid", **fields), CAMVID, folder)


def test_camvid_pairs_ids_and_drives(tmp_path):
    folder = write_camvid(tmp_path / "camvid", ids=12)
    labelled = camvid(tmp_path)
    image, targets = labelled.load(0)
    assert (image.shape, targets.shape) == ((48, 64, 3), (48, 64))
    raw = cv2.imread(str(folder / "train/labels/drive0_000.png"), -1)
    assert np.array_equal(targets, np.where(raw == 11, VOID_ID, raw))
    assert len(labelled.frames) == 6
    assert {f.name[:6] for f in camvid(tmp_path, only=("drive1",)).frames} == {"drive1"}
    assert {f.name[:6] for f in camvid(tmp_path, skip=("drive1",)).frames} == {"drive0"}


def test_what_is_wrong_with_a_data_set_is_named(tmp_path):
    with pytest.raises(ErfSegError, match="has no folders 'train/images'"):
        camvid(tmp_path)
    folder = write_camvid(tmp_path / "camvid")
    with pytest.raises(ErfSegError, match="no image of split"):
        camvid(tmp_path, only=("nothing",))

    wrong_size = folder / "train/labels/drive0_002.png"
    cv2.imwrite(str(wrong_size), np.zeros((40, 64), np.uint8))
    with pytest.raises(
        ErfSegError, match=r"drive0_002.png: the image is 64×48 but its label 64×40"
    ):
        TrainingImages([camvid(tmp_path)], 48, quiet=True)
    cv2.imwrite(str(wrong_size), np.full((48, 64), 77, np.uint8))
    with pytest.raises(ErfSegError, match=r"drive0_002.png: label ids \[77\]"):
        TrainingImages([camvid(tmp_path)], 48, quiet=True)
    (folder / "train/images/drive0_002.png").write_bytes(b"no image")
    with pytest.raises(ErfSegError, match=r"cannot read image .*drive0_002.png"):
        TrainingImages([camvid(tmp_path)], 48, quiet=True)
    wrong_size.unlink()
    with pytest.raises(ErfSegError, match="1 files have no label, for example drive0_002"):
        camvid(tmp_path)


def test_two_images_that_share_a_label_are_named(tmp_path):
    images = write_camvid(tmp_path / "camvid") / "train" / "images"
    (images / "drive0_002.jpg").write_bytes((images / "drive0_002.png").read_bytes())
    with pytest.raises(ErfSegError, match=r"drive0_002.jpg and drive0_002.png differ by"):
        camvid(tmp_path)


def test_only_train_may_be_a_folder_without_splits(tmp_path):
    whole = write_camvid(tmp_path / "camvid") / "train"
    assert len(open_source(Source("camvid", str(whole)), CAMVID, tmp_path).frames) == 6
    for split in ("val", "tset"):
        with pytest.raises(ErfSegError, match=f"has no folders '{split}/images'"):
            open_source(Source("camvid", str(whole), split), CAMVID, tmp_path)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (Image.fromarray(np.eye(48, 64, dtype=bool)), "1-bit greyscale"),
        (Image.fromarray(np.zeros((48, 64), np.uint8)).convert("P"), "8-bit palette"),
        (Image.fromarray(np.zeros((48, 64, 3), np.uint8)), "8-bit RGB"),
        (Image.fromarray(np.zeros((48, 64), np.uint16)), "16-bit greyscale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_labels_that_are_no_ids_are_refused_by_their_kind(tmp_path, label, kind):
    path = tmp_path / "label.png"
    label.save(path)
    with pytest.raises(ErfSegError, match=f"label.png: its pixels are {kind}; save the"):
        read_label(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no PNG"),
        (cv2.imencode(".jpg", LABEL)[1].tobytes(), "it is no PNG; save the class ids"),
        (PNG[:20], "it is cut off"),
        (PNG[:-30], "it is a damaged PNG"),
        (PNG[:16] + b"\0\xff\xff\xff" * 2 + PNG[24:], "it is a damaged PNG"),
    ],
    ids=["empty", "JPEG", "head", "cut", "absurd size"],
)
def test_damaged_labels_are_called_so(tmp_path, content, reason):
    path = tmp_path / "label.png"
    path.write_bytes(content)
    with pytest.raises(ErfSegError, match=f"cannot read label .*label.png: {reason}"):
        read_label(path)


def test_labels_have_any_name_and_images_one_that_opencv_survives(tmp_path):
    path = tmp_path / os.fsdecode(b"\xe9.png")
    path.write_bytes(PNG)
    np.testing.assert_array_equal(read_label(path), LABEL)
    np.testing.assert_array_equal(decode_label(np.frombuffer(PNG, np.uint8)), LABEL)
    with pytest.raises(ErfSegError, match=r"\\xe9.png is not UTF-8"):
        read_image(path)


def test_images_stay_as_they_lie_like_their_labels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn it by 90 degrees to look at it"
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (24, 8)).save(path, exif=exif)
    assert cv2.imread(str(path)).shape == (24, 8, 3)
    assert read_image(path).shape == (8, 24, 3)


def test_files_with_capital_endings_are_images_too(tmp_path):
    folder = write_camvid(tmp_path / "camvid", count=2)
    for kind, ending in (("images", ".JPEG"), ("labels", ".PNG")):
        path = folder / "train" / kind / "drive0_000.png"
        path.rename(path.with_suffix(ending))
    assert len(camvid(tmp_path).frames) == 2


def test_a_class_set_that_only_begins_like_the_data_sets_is_refused(tmp_path):
    longer = replace(CAMVID, name="mine", names=(*CAMVID.names[:-1], "tram"))
    write_camvid(tmp_path / "camvid", count=2)
    with pytest.raises(ErfSegError, match="'mine' is not that of a 'camvid' data set"):
        open_source(Source("camvid", "camvid"), longer, tmp_path)


def test_cityscapes_official_layout_and_ids(tmp_path):
    for kind, name, pixel in (
        ("leftImg8bit", "aachen_0_leftImg8bit.png", np.zeros((8, 4, 3), np.uint8)),
        ("gtFine", "aachen_0_gtFine_labelIds.png", np.array([[7, 8, 33, 0]] * 8, np.uint8)),
    ):
        city = tmp_path / "cs" / kind / "train" / "aachen"
        city.mkdir(parents=True)
        cv2.imwrite(str(city / name), pixel)
    labelled = open_source(Source("cityscapes", "cs"), CITYSCAPES, tmp_path)
    assert labelled.load(0)[1][0].tolist() == [0, 1, 18, VOID_ID]
    with pytest.raises(ErfSegError, match="'camvid11' is not that of a 'cityscapes'"):
        open_source(Source("cityscapes", "cs"), CAMVID, tmp_path)
    with pytest.raises(ErfSegError, match="val is missing"):
        open_source(Source("cityscapes", "cs", split="val"), CITYSCAPES, tmp_path)


def test_cityscapes_ids_are_the_official_ones():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    from erf_seg_core.evaluation.predictions import CITYSCAPES_TRAIN_IDS

    official = {x.id: x.trainId for x in labels if 0 <= x.trainId < 19}
    assert official == CITYSCAPES_TRAIN_IDS


def test_idd_lite_labels_are_unions_of_camvid_classes(tmp_path):
    write_camvid(tmp_path / "idd", ids=7)
    labelled = open_source(Source("idd_lite", "idd"), CAMVID, tmp_path)
    assert set(np.unique(labelled.load(0)[1])) <= set(range(11, 18))
    unions = [[CAMVID.names[i] for i in union] for union in union_members(CAMVID)]
    assert unions[3] == ["car", "bicyclist"]
    assert unions[2] == ["pedestrian", "bicyclist"]
    with pytest.raises(ErfSegError, match="'cityscapes19' lacks"):
        open_source(Source("idd_lite", "idd"), CITYSCAPES, tmp_path)


def test_synthetic_drives_give_labelled_frames_of_several_streets():
    source = Source("synthetic", drives=2, frames=3, seed=4, size=(48, 64))
    labelled = open_source(source, CAMVID, ".")
    assert [f.name for f in labelled.frames] == ["synthetic_4_0", "synthetic_4_1", "synthetic_5_0"]
    image, targets = labelled.load(2)
    assert (image.shape, targets.shape) == ((48, 64, 3), (48, 64))
    assert len(np.unique(targets)) > 3
    assert np.array_equal(labelled.load(2)[0], image)
    assert not np.array_equal(labelled.load(0)[0], image)


def test_real_data_sets_open_and_every_label_is_known(data_dir):
    sources = [
        (Source("camvid", "camvid"), CAMVID, 367),
        (Source("camvid", "camvid", split="val"), CAMVID, 101),
        (Source("camvid", "camvid", only=("0006R0",)), CAMVID, 101),
        (Source("idd_lite", "idd_lite"), CAMVID, 1403),
        (Source("cityscapes", "cityscapes_sample"), CITYSCAPES, 4),
    ]
    for source, class_set, count in sources:
        labelled = open_source(source, class_set, data_dir)
        assert len(labelled.frames) == count
        for i in (0, count // 2, count - 1):
            labelled.load(i)


def test_a_view_without_changes_is_the_image(tmp_path):
    write_camvid(tmp_path / "camvid")
    image, label = camvid(tmp_path).load(0)
    view = random_view(image, label, 48, PLAIN, np.random.default_rng(0))
    assert np.array_equal(view[0], image)
    assert np.array_equal(view[1], label)


def test_image_and_label_move_together():
    """A label drawn as an image must stay on its own pixels through scale, crop and flip."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 2, (12, 16)), np.ones((8, 8), int)).astype(np.uint8)
    image = np.repeat(label[..., None] * 200, 3, 2)
    settings = Augmentation(
        crop=(64, 64), scale=(0.5, 2), brightness=0, contrast=0, saturation=0, tint=0
    )
    for seed in range(20):
        view, moved = random_view(image, label, 96, settings, np.random.default_rng(seed))
        known = moved != VOID_ID
        agree = (view[..., 0] > 100) == (moved == 1)
        assert known.any()
        assert agree[known].mean() > 0.97


def test_half_of_the_views_are_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    label = image[..., 0] // 24
    mirrored = 0
    for seed in range(40):
        view, moved = random_view(
            image, label, 48, replace(PLAIN, flip=True), np.random.default_rng(seed)
        )
        mirrored += np.array_equal(view, image[:, ::-1])
        assert np.array_equal(moved, view[..., 0] // 24)
    assert 10 < mirrored < 30


@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation", "tint"])
def test_colours_change_and_labels_do_not(what):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    label = image[..., 0] // 24
    settings = replace(PLAIN, **{what: 0.5})
    views = [random_view(image, label, 48, settings, np.random.default_rng(s)) for s in range(5)]
    assert len({view.tobytes() for view, _ in views}) == 5
    assert all(np.array_equal(moved, label) for _, moved in views)
    brighter = [view.mean() for view, _ in views]
    assert (np.ptp(brighter) > 10) == (what in ("brightness", "tint"))


def test_shift_moves_by_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    seen = set()
    for seed in range(30):
        shifted = random_view(
            image, None, 48, replace(PLAIN, shift=2), np.random.default_rng(seed)
        )[0]
        moves = [
            (y, x)
            for y in range(-2, 3)
            for x in range(-2, 3)
            if np.array_equal(np.roll(image, (y, x), (0, 1))[2:-2, 2:-2], shifted[2:-2, 2:-2])
        ]
        assert len(moves) == 1
        seen.add(moves[0])
    assert len(seen) > 10


def test_small_images_are_padded_with_void():
    image, label = np.full((24, 32, 3), 90, np.uint8), np.zeros((24, 32), np.uint8)
    view, moved = random_view(image, label, 24, PLAIN, np.random.default_rng(0))
    assert view.shape == (48, 64, 3)
    assert (moved == 0).sum() == pytest.approx(24 * 32, rel=0.1)
    assert (moved == VOID_ID).sum() == 48 * 64 - (moved == 0).sum()


def test_views_depend_on_their_key_only(tmp_path):
    write_camvid(tmp_path / "camvid")
    images = TrainingImages([camvid(tmp_path)], 48, quiet=True)
    uncached = TrainingImages([camvid(tmp_path)], 48, keep=False, quiet=True)
    settings = Augmentation(crop=(32, 40))
    first = Views(images, 48, settings)[View(2, (1, 0, 5, 9))]
    again = Views(uncached, 48, settings)[View(2, (1, 0, 5, 9))]
    other = Views(images, 48, settings)[View(2, (1, 0, 5, 10))]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()
    eighth = Views(images, 48, settings, stride=8)[View(2, (1, 0, 5, 9))]
    assert eighth[1].shape == (4, 5)
    assert (eighth[1] == first[1][4::8, 4::8]).all()


def test_an_epoch_is_the_same_however_it_is_cut():
    repeats = np.array([1.0, 2.0, 0.5, 0.0] * 5)
    one = ViewOrder(repeats, 8, 4, (1, 0))
    whole = list(one.epoch(3))
    assert list(one.epoch(3, first_step=1)) == whole[4:]
    ranks = [list(ViewOrder(repeats, 8, 2, (1, 0), r, 2).epoch(3)) for r in range(2)]
    assert [ranks[0][0], ranks[1][0], ranks[0][1], ranks[1][1]] == whole[:4]
    shown = [view.index for part in whole for view in part]
    assert not any(i % 4 == 3 for i in shown)
    assert all(shown.count(i) >= 2 for i in range(1, 20, 4))
    assert whole != list(one.epoch(4))


def test_an_epoch_that_fractions_leave_empty_shows_an_image_that_is_to_be_shown():
    order = ViewOrder(np.array([0, 0, 0, 0.1, 0.1]), 2, 1, (1, 0))
    shown = {view.index for e in range(50) for part in order.epoch(e) for view in part}
    assert shown == {3, 4}


def test_large_images_are_kept_no_larger_than_training_uses(tmp_path):
    write_camvid(tmp_path / "camvid")
    images = TrainingImages([camvid(tmp_path)], 24, quiet=True)
    assert images[0][0].shape == (24, 32, 3)
    assert images[0][1].shape == (24, 32)
    assert images.pixels(0).sum() == 6 * 24 * 32


@pytest.mark.parametrize("height", [24, 29, 41])
def test_labels_stay_on_their_image_when_both_shrink(tmp_path, height):
    """Stripes whose brightness is their class: where they meet, image and label meet."""
    for kind in ("images", "labels"):
        (tmp_path / "stripes/train" / kind).mkdir(parents=True)
    stripes = np.tile(np.repeat(np.arange(8, dtype=np.uint8), 8), (48, 1))
    for label, name in ((stripes, "across"), (np.ascontiguousarray(stripes[:, :48].T), "down")):
        grey = cv2.cvtColor(label * 30, cv2.COLOR_GRAY2BGR)
        cv2.imwrite(str(tmp_path / f"stripes/train/images/{name}.png"), grey)
        cv2.imwrite(str(tmp_path / f"stripes/train/labels/{name}.png"), label)
    sets = [open_source(Source("camvid", "stripes"), CAMVID, tmp_path)]
    stored = TrainingImages(sets, height, quiet=True)
    for image, label in (stored[i] for i in range(2)):
        offset = image[..., 0].astype(float) / 30 - label
        assert np.abs(offset).max() <= 0.5 + 1 / 30  # no pixel has another stripe's label
        assert abs(offset.mean()) < 0.03  # nor do they lean to one side


def test_a_stage_learns_from_the_sources_that_name_it_and_from_those_that_name_none(tmp_path):
    write_camvid(tmp_path / "camvid")
    always, first = camvid(tmp_path), camvid(tmp_path)
    first = replace(first, source=replace(first.source, stages=(0,), repeat=0.5))
    images = TrainingImages([always, first], 48, quiet=True)
    assert images.repeats(0).tolist() == [1.0] * 6 + [0.5] * 6
    assert images.repeats(1).tolist() == [1.0] * 6 + [0.0] * 6
    assert (images.pixels(0) == 2 * images.pixels(1)).all()
    assert images.pixels(1).sum() == 6 * 48 * 64
