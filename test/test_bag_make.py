"""`erf_seg bag make`: every source, its topics, stamps and truth, and what is refused."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Writer

from erf_seg_cli.main import main
from erf_seg_core.bags import BagReader
from erf_seg_core.bags.make import FRAME_ID, START_NS, make_bag
from erf_seg_core.bags.messages import typestore
from erf_seg_core.bags.sources import SyntheticSource, open_source
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.synthetic import SyntheticDrive

CAMERA, PACKED = "/camera/image_raw", "/camera/image_raw/compressed"
INFO, LABEL, DEPTH = "/camera/camera_info", "/ground_truth/label", "/camera/depth/image_rect"
ROOT = Path(__file__).resolve().parent.parent
CAMVID = load_class_set("camvid11")


def make(capsys, *arguments):
    """Run the command and return its JSON document."""
    assert main(["bag", "make", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def images(path, topic):
    with BagReader(path) as bag:
        return list(bag.images(topic))


def picture(index, size=(30, 40)):
    return np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture
def labelled_folder(tmp_path):
    """Three JPEGs in CamVid's layout, with ids 0 to 11 and 255 in their labels."""
    folder = tmp_path / "data"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    ids = np.tile(np.array([*range(12), 255], np.uint8), 100)[:1200].reshape(30, 40)
    for index in range(3):
        cv2.imwrite(str(folder / "images" / f"f{index}.jpg"), picture(index))
        cv2.imwrite(str(folder / "labels" / f"f{index}.png"), np.roll(ids, index))
    return folder


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    for level in (40, 120, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_synthetic_drive(tmp_path, capsys, storage):
    made = make(
        capsys, "--synthetic", "--seed", 5, "--frames", 4, "--size", 90, 120, "--rate", 20,
        "--storage", storage, "-o", tmp_path / "b",
    )  # fmt: skip
    assert made["topics"] == {CAMERA: 4, INFO: 4, LABEL: 4, DEPTH: 4}
    assert (made["frames"], made["labelled"], made["rate_hz"]) == (4, 4, 20.0)
    assert (made["width"], made["height"], made["interrupted"]) == (120, 90, False)
    drive = SyntheticDrive(seed=5, size=(90, 120), rate_hz=20.0)
    streams = [images(tmp_path / "b", topic) for topic in (CAMERA, LABEL, DEPTH)]
    for index, (color, label, depth) in enumerate(zip(*streams, strict=True)):
        frame = drive.frame(index)
        for stamp_ns, frame_id, _ in (color, label, depth):
            assert (stamp_ns, frame_id) == (START_NS + index * 50_000_000, FRAME_ID)
        assert np.array_equal(color[2], frame.image_bgr)
        assert np.array_equal(label[2], frame.labels)
        assert np.array_equal(depth[2], frame.depth_m)


def test_camera_info_is_the_drives(tmp_path, capsys):
    make(capsys, "--synthetic", "--frames", 1, "--size", 90, 120, "-o", tmp_path / "b")
    with BagReader(tmp_path / "b") as bag:
        (message,) = bag.messages([INFO])
    info = typestore().deserialize_cdr(message.raw, message.msgtype)
    camera = SyntheticDrive(size=(90, 120)).camera
    assert (info.k[0], info.k[2]) == (camera.fx, camera.cx)


def test_stamps_keep_an_uneven_rate_without_drift(tmp_path):
    source = SyntheticSource(count=31, size=(32, 32), rate_hz=30)
    make_bag(source, tmp_path / "b")
    with BagReader(tmp_path / "b") as bag:
        stamps = [stamp for stamp, _, _ in bag.images(LABEL)]
    assert stamps[0] == START_NS
    assert stamps[30] == START_NS + 1_000_000_000
    assert set(np.diff(stamps)) == {33_333_333, 33_333_334}


def test_labelled_folder(labelled_folder, tmp_path, capsys):
    made = make(capsys, labelled_folder, "-o", tmp_path / "b")
    assert made["topics"] == {CAMERA: 3, INFO: 3, LABEL: 3}
    assert made["rate_hz"] == 15
    for index, (_, _, labels) in enumerate(images(tmp_path / "b", LABEL)):
        ids = cv2.imread(str(labelled_folder / "labels" / f"f{index}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(labels, np.where(ids == 11, 255, ids))
    for index, (_, _, image) in enumerate(images(tmp_path / "b", CAMERA)):
        expected = cv2.imread(str(labelled_folder / "images" / f"f{index}.jpg"))
        assert np.array_equal(image, expected)


def test_class_set_decides_what_is_void(labelled_folder, tmp_path, capsys):
    make(capsys, labelled_folder, "--class-set", "cityscapes19", "-o", tmp_path / "b")
    (_, _, labels) = images(tmp_path / "b", LABEL)[0]
    assert set(np.unique(labels)) == {*range(12), 255}


def test_jpeg_files_keep_their_bytes(labelled_folder, tmp_path, capsys):
    made = make(capsys, labelled_folder, "--compressed", "--storage", "mcap", "-o", tmp_path / "b")
    assert made["topics"] == {PACKED: 3, INFO: 3, LABEL: 3}
    with BagReader(tmp_path / "b") as bag:
        packed = [typestore().deserialize_cdr(m.raw, m.msgtype) for m in bag.messages([PACKED])]
    for index, message in enumerate(packed):
        file = labelled_folder / "images" / f"f{index}.jpg"
        assert message.data.tobytes() == file.read_bytes()
        assert "jpeg" in message.format


def test_other_pictures_are_compressed(tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    soft = cv2.GaussianBlur(picture(0, (60, 80)), (0, 0), 5)
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), soft)
    made = make(capsys, tmp_path / "pictures", "--compressed", "-o", tmp_path / "b")
    assert made["topics"] == {PACKED: 1, INFO: 1}
    ((_, _, image),) = images(tmp_path / "b", PACKED)
    assert np.abs(image.astype(int) - soft).mean() < 3


def test_image_without_label_has_no_truth(labelled_folder, tmp_path, capsys):
    (labelled_folder / "labels" / "f1.png").unlink()
    made = make(capsys, labelled_folder, "-o", tmp_path / "b")
    assert (made["frames"], made["labelled"]) == (3, 2)
    period = round(1e9 / 15)
    stamps = [stamp_ns for stamp_ns, _, _ in images(tmp_path / "b", LABEL)]
    assert stamps == pytest.approx([START_NS, START_NS + 2 * period], abs=1)


def test_cityscapes_layout_maps_to_train_ids(tmp_path, capsys):
    folder = tmp_path / "data"
    name = "aachen_000000_000019"
    ids = np.tile(np.arange(34, dtype=np.uint8), 40).reshape(34, 40)
    for part, end, content in (
        ("leftImg8bit", "leftImg8bit", picture(0, (34, 40))),
        ("gtFine", "gtFine_labelIds", ids),
    ):
        place = folder / part / "train" / "aachen"
        place.mkdir(parents=True)
        cv2.imwrite(str(place / f"{name}_{end}.png"), content)
    make(capsys, folder, "-o", tmp_path / "b")
    ((_, _, labels),) = images(tmp_path / "b", LABEL)
    assert labels[ids == 7].tolist() == [0] * 40  # road
    assert labels[ids == 26].tolist() == [13] * 40  # car
    assert labels[ids == 33].tolist() == [18] * 40  # bicycle
    assert (labels[(ids < 7) | (ids == 9)] == 255).all()


def test_video(video, tmp_path, capsys):
    made = make(capsys, video, "-o", tmp_path / "b")
    assert made["topics"] == {CAMERA: 3, INFO: 3}
    assert made["rate_hz"] == 12.5
    frames = images(tmp_path / "b", CAMERA)
    assert [stamp_ns - START_NS for stamp_ns, _, _ in frames] == [0, 80_000_000, 160_000_000]
    for (_, _, image), level in zip(frames, (40, 120, 200), strict=True):
        assert image.shape == (48, 64, 3)
        assert abs(image.mean() - level) < 4


def test_limit_and_rate(video, tmp_path, capsys):
    made = make(capsys, video, "--limit", 2, "--rate", 5, "-o", tmp_path / "b")
    assert (made["frames"], made["duration_s"]) == (2, 0.4)


def test_overwrite(video, tmp_path, capsys):
    make(capsys, video, "-o", tmp_path / "b")
    assert main(["bag", "make", str(video), "-o", str(tmp_path / "b")]) == 2
    assert "exists already" in capsys.readouterr().err
    made = make(capsys, video, "-o", tmp_path / "b", "--overwrite", "--limit", 1)
    assert made["frames"] == len(images(tmp_path / "b", CAMERA)) == 1


def test_overwrite_spares_what_is_no_bag(video, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_bytes(b"x")
    with pytest.raises(ErfSegError, match="no rosbag2 folder"):
        make_bag(open_source(video, CAMVID), tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "dear.jpg").exists()


def test_overwrite_spares_what_an_older_bag_does_not_have(labelled_folder, tmp_path, capsys):
    """Not even the source itself, or what holds it, where a bag lies among the pictures."""
    folder = labelled_folder / "images"
    make(capsys, labelled_folder, "-o", tmp_path / "b")
    for part in (tmp_path / "b").iterdir():
        shutil.copy(part, folder)
    before = sorted(folder.iterdir())
    for source in (folder, labelled_folder):
        arguments = ["bag", "make", str(source), "-o", str(folder), "--overwrite"]
        assert main(arguments) == 2
        assert "holds f" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_overwrite_follows_no_link(video, tmp_path):
    make_bag(open_source(video, CAMVID), tmp_path / "b")
    (tmp_path / "link").symlink_to("b")
    with pytest.raises(ErfSegError, match="is a link"):
        make_bag(open_source(video, CAMVID), tmp_path / "link", overwrite=True)
    assert len(images(tmp_path / "b", CAMERA)) == 3


def test_broken_source_spares_the_bag_it_would_replace(video, labelled_folder, tmp_path):
    make_bag(open_source(video, CAMVID), tmp_path / "b")
    (labelled_folder / "images" / "f0.jpg").write_bytes(b"no picture")
    with pytest.raises(ErfSegError, match=r"f0\.jpg"):
        make_bag(open_source(labelled_folder, CAMVID), tmp_path / "b", overwrite=True)
    assert len(images(tmp_path / "b", CAMERA)) == 3


def test_damaged_picture_in_the_middle_keeps_those_before(labelled_folder, tmp_path):
    file = labelled_folder / "images" / "f2.jpg"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ErfSegError, match=r"f2\.jpg.*truncated"):
        make_bag(open_source(labelled_folder, CAMVID), tmp_path / "b")
    assert len(images(tmp_path / "b", CAMERA)) == 2


@pytest.mark.parametrize("name", ["12:30:00.avi", "50%d.avi"])
def test_names_of_videos_are_no_urls_or_patterns(video, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    video.rename(name)
    assert make_bag(open_source(name, CAMVID), "b").frames == 3


def test_names_that_are_not_utf8_crash_nothing(video, labelled_folder, tmp_path):
    """OpenCV would; images and labels are read without its help, videos are not."""
    renamed = video.rename(tmp_path / os.fsdecode(b"caf\xe9.avi"))
    label = labelled_folder / "labels" / "f0.png"
    for of, suffix in (("images", "jpg"), ("labels", "png")):
        file = labelled_folder / of / f"f0.{suffix}"
        file.rename(file.with_stem(os.fsdecode(b"\xe9")))
    assert not label.exists()
    make_bag(open_source(labelled_folder, CAMVID), tmp_path / "of images")
    with pytest.raises(ErfSegError, match=r"\\xe9.* is not UTF-8"):
        make_bag(open_source(renamed, CAMVID), tmp_path / "b")


def test_links_that_lead_nowhere_are_explained(labelled_folder, tmp_path):
    (tmp_path / "link").symlink_to("gone.mp4")
    with pytest.raises(ErfSegError, match=r"link to gone\.mp4"):
        open_source(tmp_path / "link", CAMVID)
    for part in ("images/f2.jpg", "labels/f0.png"):
        link = labelled_folder / part
        link.unlink()
        link.symlink_to("gone")
        with pytest.raises(ErfSegError, match=f"^[^(]*{link.name}"):
            make_bag(open_source(labelled_folder, CAMVID), tmp_path / f"b {link.suffix}")


def break_folder(folder, how):
    if how == "label size":
        cv2.imwrite(str(folder / "labels" / "f0.png"), np.zeros((5, 5), np.uint8))
    elif how == "label colour":
        cv2.imwrite(str(folder / "labels" / "f0.png"), picture(0))
    elif how == "label names":
        shutil.rmtree(folder / "labels")
        (folder / "labels").mkdir()
    elif how == "no images":
        shutil.rmtree(folder / "images")
        (folder / "images").mkdir()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("label size", "5×5 pixels, its image 40×30"),
        ("label colour", "8-bit RGB; save the class ids"),
        ("label names", "belongs to an image"),
        ("no images", "holds no images"),
    ],
)
def test_broken_folders(labelled_folder, tmp_path, how, reason):
    break_folder(labelled_folder, how)
    with pytest.raises(ErfSegError, match=reason):
        make_bag(open_source(labelled_folder, CAMVID), tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rate_hz": 0}, "rate"),
        ({"rate_hz": -3}, "rate"),
        ({"rate_hz": 1e-9}, "rate of 1e-09 Hz"),
        ({"rate_hz": math.nan}, "rate"),
        ({"limit": 0}, "limit"),
    ],
)
def test_impossible_options(video, tmp_path, options, reason):
    with pytest.raises(ErfSegError, match=reason):
        make_bag(open_source(video, CAMVID), tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["absent"], "no folder or video absent"),
        ([__file__], "no video"),
        (["--synthetic", "--weather", "hail"], "clear"),
        (["--synthetic", "--size", "10", "0"], "0×10"),
        (["--synthetic", "--frames", "0"], "no frames"),
        (["--synthetic", "--rate", "-1"], "rate"),
        (["--synthetic", "--rate", "0"], "rate"),
    ],
)
def test_command_refuses(tmp_path, capsys, arguments, reason):
    assert main(["bag", "make", *arguments, "-o", str(tmp_path / "b")]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--synthetic", "folder"]])
def test_command_wants_one_source(tmp_path, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["bag", "make", *arguments, "-o", str(tmp_path / "b")])
    assert stopped.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_a_valid_bag(tmp_path, number):
    arguments = ["bag", "make", "--synthetic", "--frames", "100000", "--size", "48", "64"]
    command = [sys.executable, "-m", "erf_seg_cli.main", *arguments, "-o", "b", "--json"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        seen = ""
        while not re.search(r" [1-9]\d*/100000", seen):  # the progress bar, past the first frame
            seen += process.stderr.read(1)
            assert process.poll() is None, seen
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    made = json.loads(out)
    assert made["interrupted"]
    frames = images(tmp_path / "b", CAMERA)
    assert 0 < len(frames) <= made["frames"] <= len(frames) + 1


@pytest.mark.parametrize(("storage", "kept"), [("sqlite3", True), ("mcap", False)])
def test_an_interrupted_write_costs_what_is_said(tmp_path, monkeypatch, storage, kept):
    """SQLite undoes what is not committed, MCAP the open chunk: here everything."""
    write, calls = Writer.write, count()

    def interrupted(*arguments):
        if next(calls) == 21:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(Writer, "write", interrupted)
    source = SyntheticSource(10, 0, (48, 64), 15.0)
    if not kept:
        with pytest.raises(KeyboardInterrupt):
            make_bag(source, tmp_path / "bag", storage=storage)
        assert not (tmp_path / "bag").exists()
        return
    made = make_bag(source, tmp_path / "bag", storage=storage)
    assert made.interrupted
    with BagReader(tmp_path / "bag") as bag:
        assert {topic.name: topic.count for topic in bag.topics if topic.count} == made.topics
    assert made.frames == made.topics[CAMERA] > 0


def test_camvid_clip(data_dir, tmp_path, capsys):
    made = make(capsys, data_dir / "camvid" / "val", "--limit", 5, "-o", tmp_path / "b")
    assert (made["labelled"], made["width"], made["height"]) == (5, 480, 360)
    for _, _, labels in images(tmp_path / "b", LABEL):
        assert set(np.unique(labels)) <= {*range(11), 255}
        assert (labels == 3).mean() > 0.1


def test_cityscapes_frames(data_dir, tmp_path, capsys):
    made = make(
        capsys, data_dir / "cityscapes_sample", "--limit", 2, "--compressed", "-o", tmp_path / "b"
    )
    assert (made["labelled"], made["width"], made["height"]) == (2, 2048, 1024)
    for _, _, labels in images(tmp_path / "b", LABEL):
        assert set(np.unique(labels)) <= {*range(19), 255}


def test_road_video(data_dir, tmp_path, capsys):
    video = data_dir / "road_video" / "solidWhiteRight.mp4"
    made = make(capsys, video, "--limit", 3, "--storage", "mcap", "-o", tmp_path / "b")
    assert (made["rate_hz"], made["width"], made["height"]) == (25, 960, 540)
    assert len(images(tmp_path / "b", CAMERA)) == 3
