import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from inference_helpers import SIZE, images, info_for, random_network

from erf_seg_cli.main import main
from erf_seg_core.checkpoint import save_checkpoint
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.inference import Segmentation, load_segmenter
from erf_seg_core.inference.media import VideoFile
from erf_seg_core.inference.results import ResultOptions, VideoResults
from erf_seg_core.overlay import blend

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    net = random_network("dg4_star_light")
    return save_checkpoint(tmp_path_factory.mktemp("model") / "net.safetensors", net, info_for(net))


@pytest.fixture
def segment(checkpoint, tmp_path, capsys):
    """Run the command; returns status, JSON document or None, and stderr."""

    def run(*arguments, output=tmp_path / "out"):
        fixed = ["--model", checkpoint, "--output", output, "--threads", 1, "--device", "cpu"]
        status = main(["segment", *map(str, [*arguments, *fixed])])
        captured = capsys.readouterr()
        document = json.loads(captured.out) if captured.out.startswith("{") else None
        return status, document, captured.err

    return run


def write_pictures(folder, names, size=(60, 100)):
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), images(1, size, seed=index)[0])
    return folder


def write_video(path, count, size=(60, 100), rate_hz=10.0):
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate_hz, (size[1], size[0])
    )
    for picture in images(count, size):
        writer.write(picture)
    writer.release()
    return path


def test_class_map_and_least_confidence(segment, tmp_path, checkpoint):
    source = write_pictures(tmp_path / "in", ["street.png"]) / "street.png"
    class_map = ROOT / "config" / "class_maps" / "cityscapes19_traversability.yaml"
    status, document, _ = segment(
        source, "--class-map", class_map, "--min-confidence", 0.3, "--json"
    )
    assert (status, document["class_set"]) == (0, "traversability")
    segmenter = load_segmenter(checkpoint, "cpu", threads=1, class_map=class_map)
    expected = segmenter(cv2.imread(str(source)), min_confidence=0.3).labels
    labels = cv2.imread(document["outputs"][0]["labels"], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, expected)
    status, _, error = segment(source, "--class-map", source)
    assert status == 2
    assert f"cannot read class map {source}" in error


def test_image_gives_labels_confidence_and_overlay(segment, tmp_path, checkpoint):
    source = write_pictures(tmp_path / "in", ["street.png"]) / "street.png"
    status, document, _ = segment(source, "--confidence", "--alpha", "0.3", "--json")
    assert status == 0
    out = tmp_path / "out"
    (files,) = document["outputs"]
    assert files == {
        "input": str(source),
        "labels": str(out / "labels/street.png"),
        "confidence": str(out / "confidence/street.png"),
        "overlays": str(out / "overlays/street.jpg"),
    }
    image = cv2.imread(str(source))
    expected = load_segmenter(checkpoint, "cpu", threads=1)(image)
    labels = cv2.imread(files["labels"], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(
        cv2.imread(files["confidence"], cv2.IMREAD_UNCHANGED), expected.confidence
    )
    overlay = cv2.imread(files["overlays"])
    drawn = blend(image, labels, load_class_set("cityscapes19"), 0.3)
    assert overlay.shape == drawn.shape
    soft = [cv2.blur(picture, (9, 9)).astype(int) for picture in (overlay, drawn)]  # it is a JPEG
    assert np.abs(soft[0] - soft[1]).mean() < 4
    assert cv2.imread(str(out / "legend.png")).shape[1] == 640


def test_json_is_the_whole_of_stdout_and_accounts_for_the_time(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a.png", "b.jpg", "c.bmp"])
    _, document, stderr = segment(folder, "--json")
    assert document["frames"] == 3
    assert set(document["median_ms"]) == {"read", "preprocess", "network", "postprocess", "write"}
    assert all(value > 0 for value in document["median_ms"].values())
    assert sum(document["median_ms"].values()) < 1000 * document["seconds"]
    assert (document["engine"], document["input_size"]) == ("onnxruntime", list(SIZE))
    assert "3/3" in stderr and "frame/s" in stderr.replace("s/frame", "frame/s")


def test_folders_are_searched_below_and_keep_their_layout(segment, tmp_path):
    folder = write_pictures(
        tmp_path / "in", ["a.jpg", "a.png", "town/b.png", "town/v1.2.png", "X.PNG"]
    )
    (folder / "notes.txt").write_text("not a picture")
    status, document, _ = segment(folder, "--no-overlay", "--json")
    assert status == 0
    labels = tmp_path / "out" / "labels"
    found = sorted(str(path.relative_to(labels)) for path in labels.rglob("*.png"))
    assert found == ["X.png", "a-2.png", "a.png", "town/b.png", "town/v1.2.png"]
    assert not (tmp_path / "out" / "overlays").exists()
    by_input = {Path(o["input"]).name: Path(o["labels"]).name for o in document["outputs"]}
    assert (by_input["a.jpg"], by_input["a.png"]) == ("a.png", "a-2.png")


def test_results_inside_the_input_folder_are_not_segmented_again(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a.png"])
    for _ in range(2):
        _, document, _ = segment(folder, "--json", output=folder / "out")
        assert document["frames"] == 1


def test_a_video_and_a_folder_of_one_name_keep_their_results_apart(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["drive/000000.png", "drive/000001.png"])
    write_video(folder / "drive.avi", 2)
    _, document, _ = segment(folder, "--video-labels", "--json")
    labels = {Path(o["input"]).name: Path(o["labels"]) for o in document["outputs"]}
    assert labels["drive.avi"] == tmp_path / "out/labels/drive-2"
    assert labels["000000.png"] == tmp_path / "out/labels/drive/000000.png"
    assert len(list((tmp_path / "out/labels").rglob("*.png"))) == 4


def test_results_do_not_go_where_the_pictures_are(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a/b.png"])
    for source in (folder, folder / "a"):
        status, _, stderr = segment(source, output=folder)
        assert status == 2
        assert f"{source} is or lies in {folder}, the folder for the results" in stderr


def test_names_that_opencv_does_not_take(segment, tmp_path, monkeypatch):
    """It crashes over those that are not UTF-8, and takes some for URLs."""
    write_video(tmp_path / "clip.avi", 2).rename(tmp_path / "12:30:00.avi")
    shutil.copy(tmp_path / "12:30:00.avi", tmp_path / os.fsdecode(b"caf\xe9.avi"))
    monkeypatch.chdir(tmp_path)
    status, document, stderr = segment("12:30:00.avi", *Path().glob("caf*"), "--json")
    assert (status, document["frames"]) == (1, 2)
    assert Path(document["outputs"][0]["overlays"]).name == "12:30:00.mp4"
    assert r"caf\xe9.avi is not UTF-8" in stderr
    status, _, stderr = segment("12:30:00.avi", output=os.fsdecode(b"\xe9"))
    assert (status, r"\xe9 is not UTF-8" in stderr) == (2, True)
    status, document, _ = segment("12:30:00.avi", "--json", output="12:30")
    assert (status, document["frames"]) == (0, 2)


def test_corrupt_images_are_reported_and_the_rest_is_done(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a.png", "b.jpg", "c.png", "z.png"])
    (folder / "empty.png").touch()
    (folder / "foreign.jpg").write_text("this is no picture")
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:-200])
    status, document, stderr = segment(folder, "--json")
    assert status == 1
    assert document["frames"] == 3
    failed = {Path(f["input"]).name for f in document["failures"]}
    assert failed == {"b.jpg", "empty.png", "foreign.jpg"}
    for name in failed:
        assert name in stderr
    assert (tmp_path / "out/labels/z.png").is_file()


def test_an_image_too_wide_for_its_overlay_stops_no_other(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a.png", "c.png"])
    cv2.imwrite(str(folder / "b.png"), np.zeros((2, 65_600, 3), np.uint8))
    status, document, stderr = segment(folder, "--json")
    assert status == 1
    assert [Path(f["input"]).name for f in document["failures"]] == ["b.png"]
    assert "65600×2 pixels are more than a .jpg file can have" in stderr
    assert (tmp_path / "out/labels/b.png").is_file()
    assert (tmp_path / "out/labels/c.png").is_file()


def test_video_gives_an_overlay_video(segment, tmp_path):
    video = write_video(tmp_path / "drive.avi", 6)
    status, document, _ = segment(video, "--json")
    assert (status, document["frames"]) == (0, 6)
    capture = cv2.VideoCapture(document["outputs"][0]["overlays"])
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    ok, first = capture.read()
    assert ok and first.shape == (60, 100, 3)
    assert first.std() > 5, "the overlay is blank"
    assert not (tmp_path / "out" / "labels").exists()


def test_overlay_videos_of_odd_size_lose_nothing(tmp_path):
    video = VideoFile(tmp_path / "odd.avi", Path("odd"), count=3, rate_hz=10.0)
    results = VideoResults(video, ResultOptions(tmp_path, alpha=0.0), load_class_set("camvid11"))
    for picture in images(3, (61, 101)):
        results.add(picture, Segmentation(np.zeros((61, 101), np.uint8), None))
    results.close()
    ok, frame = cv2.VideoCapture(results.files["overlays"]).read()
    assert ok and frame.shape == (62, 102, 3)
    assert np.abs(frame[:61, :101].astype(int) - images(3, (61, 101))[0]).mean() < 10


@pytest.mark.parametrize("options", [["--video-labels"], ["--no-overlay"]])
def test_labels_of_a_video_are_a_sequence(segment, tmp_path, options):
    video = write_video(tmp_path / "drive.avi", 4)
    segment(video, *options, "--confidence")
    for kind in ("labels", "confidence"):
        written = sorted((tmp_path / "out" / kind / "drive").iterdir())
        assert [path.name for path in written] == [f"{i:06d}.png" for i in range(4)]
        assert cv2.imread(str(written[0]), cv2.IMREAD_UNCHANGED).shape == (60, 100)
    assert (tmp_path / "out" / "overlays").exists() == ("--no-overlay" not in options)


def test_limit_counts_frames_of_all_inputs(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["a.png", "b.png"])
    write_video(folder / "c.avi", 9)
    write_pictures(folder, ["d.png"])
    _, document, _ = segment(folder, "--limit", 5, "--json")
    assert document["frames"] == 5
    overlay = cv2.VideoCapture(str(tmp_path / "out/overlays/c.mp4"))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert not (tmp_path / "out/labels/d.png").exists()


def test_videos_that_cannot_be_read_are_skipped(segment, tmp_path):
    folder = write_pictures(tmp_path / "in", ["z.png"])
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    status, document, _ = segment(folder, "--json")
    assert (status, document["frames"]) == (1, 1)
    assert "broken.mp4 is no video" in document["failures"][0]["error"]


def test_real_video(segment, tmp_path, data_dir):
    _, document, _ = segment(
        data_dir / "road_video" / "solidWhiteRight.mp4", "--limit", 3, "--json"
    )
    overlay = cv2.VideoCapture(document["outputs"][0]["overlays"])
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert overlay.read()[1].shape == (540, 960, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "there is no file or folder nowhere.png"),
        (["{empty}"], "holds no images or videos"),
        (["{link}"], "is a link to gone, and there is no such file"),
        (["{picture}", "--alpha", "2"], "--alpha is 2.0"),
        (["{picture}", "--limit", "0"], "--limit is 0"),
        (["{picture}", "--input-size", "100", "200"], "multiples of 8"),
        (["{picture}", "--engine", "openvino"], "no engine 'openvino'"),
    ],
)
def test_mistakes_are_explained(segment, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    picture = write_pictures(tmp_path / "in", ["a.png"]) / "a.png"
    link = tmp_path / "link"
    link.symlink_to("gone")
    paths = {"empty": tmp_path / "empty", "picture": picture, "link": link}
    filled = [argument.format(**paths) for argument in arguments]
    status, _, stderr = segment(*filled)
    assert status == 2
    assert message in stderr
    assert "Traceback" not in stderr


def test_an_output_that_is_a_file_is_explained(segment, tmp_path):
    picture = write_pictures(tmp_path / "in", ["a.png"]) / "a.png"
    (tmp_path / "taken").touch()
    status, _, stderr = segment(picture, output=tmp_path / "taken")
    assert status == 2
    assert "cannot write" in stderr and "taken" in stderr


def start(checkpoint, out, *arguments, **options):
    command = [sys.executable, "-m", "erf_seg_cli.main", "segment", *arguments]
    command += ["--model", checkpoint, "--output", out, "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("medium", ["image", "video"])
def test_a_full_disk_is_explained(checkpoint, tmp_path, medium):
    """A limit on the size of files stands in for the disk: the system refuses in the same way."""
    if medium == "image":
        source = write_pictures(tmp_path / "in", ["a.png"], size=(700, 1000)) / "a.png"
    else:
        source = write_video(tmp_path / "a.avi", 12, size=(480, 640))

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    process = start(checkpoint, tmp_path / "out", source, preexec_fn=small_files)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in stderr
    assert ("cannot write" if medium == "image" else "could not be written whole") in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_a_video_that_plays(checkpoint, tmp_path, number):
    video = write_video(tmp_path / "long.avi", 4000, size=(48, 64))
    process = start(checkpoint, tmp_path / "out", video, "--video-labels")
    labels = tmp_path / "out" / "labels" / "long"
    for _ in process.stderr:  # the bar's lines arrive as frames are done
        if (labels / "000010.png").exists():
            break
    else:
        pytest.fail("the command ended by itself")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    count = len(list(labels.iterdir()))
    assert count < 4000
    overlay = cv2.VideoCapture(str(tmp_path / "out" / "overlays" / "long.mp4"))
    assert abs(overlay.get(cv2.CAP_PROP_FRAME_COUNT) - count) <= 1
    assert overlay.read()[0]
