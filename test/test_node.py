"""The node in its own process, over real DDS: a test publishes, the node answers."""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_under_test import (
    PATIENCE_S,
    Client,
    NodeProcess,
    bgr8,
    image_message,
    make_checkpoint,
    make_picture,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from erf_seg_core import load_segmenter
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.overlay import blend
from erf_seg_ros import dds_profile
from erf_seg_ros.timing import STAGES, FrameTiming

PICTURE = make_picture()
HEIGHT, WIDTH = PICTURE.shape[:2]
OUTPUTS = {
    "label": Image,
    "confidence": Image,
    "overlay": Image,
    "camera_info": CameraInfo,
    "timing": DiagnosticArray,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return make_checkpoint(folder / "small.safetensors")


@pytest.fixture(scope="module")
def offline(checkpoint):
    """The same network without ROS."""
    return load_segmenter(checkpoint, device="cpu", engine="torch", threads=1)


@pytest.fixture(scope="module")
def start_node(folder, checkpoint, module_ros_domain_id):
    def start(log="node.log", *arguments, environment=None, **parameters):
        defaults = {"model": checkpoint, "device": "cpu", "engine": "torch", "threads": 1}
        parameters = {**defaults, **parameters}
        return NodeProcess(folder / log, *arguments, environment=environment, **parameters)

    return start


@pytest.fixture(scope="module")
def client(module_ros_domain_id):
    result = Client()
    yield result
    result.close()


class Camera:
    """The shared node with its outputs listened to; `show` sends an image and awaits the label."""

    def __init__(self, client):
        self.client = client
        for topic, kind in OUTPUTS.items():
            client.listen(kind, topic)
        self.images = client.node.create_publisher(Image, "image", 10)
        self.infos = client.node.create_publisher(CameraInfo, "camera_info", 10)
        client.connect(self.images, bgr8(PICTURE), "label", "confidence", "overlay", "timing")

    def show(self, message):
        self.images.publish(self.client.stamp(message))
        return self.client.answer(message.header)


@pytest.fixture(scope="module")
def camera(start_node, client):
    with start_node() as node:
        yield Camera(client)
        assert node.process.poll() is None, node.log


def pixels(message):
    """H×W array of a mono8 message that claims to have no padding."""
    assert (message.encoding, message.step) == ("mono8", message.width)
    assert message.is_bigendian == 0
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def padded_bgr8():
    rows = PICTURE.reshape(HEIGHT, -1)
    padded = np.pad(rows, ((0, 0), (0, 16)), constant_values=200)
    return image_message(padded.tobytes(), HEIGHT, WIDTH, WIDTH * 3 + 16, "bgr8")


def encoded(code, encoding, channels):
    data = cv2.cvtColor(PICTURE, code).tobytes()
    return image_message(data, HEIGHT, WIDTH, WIDTH * channels, encoding)


GREY = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2GRAY)

ENCODED = {
    "bgr8": (bgr8(PICTURE), PICTURE),
    "padded rows": (padded_bgr8(), PICTURE),
    "rgb8": (encoded(cv2.COLOR_BGR2RGB, "rgb8", 3), PICTURE),
    "bgra8": (encoded(cv2.COLOR_BGR2BGRA, "bgra8", 4), PICTURE),
    "rgba8": (encoded(cv2.COLOR_BGR2RGBA, "rgba8", 4), PICTURE),
    "mono8": (
        image_message(GREY.tobytes(), HEIGHT, WIDTH, WIDTH, "mono8"),
        cv2.merge([GREY, GREY, GREY]),
    ),
    "yuv422_yuy2": (
        image_message(GREY.repeat(2).tobytes(), HEIGHT, WIDTH, WIDTH * 2, "yuv422_yuy2"),
        cv2.cvtColor(GREY.repeat(2).reshape(HEIGHT, WIDTH, 2), cv2.COLOR_YUV2BGR_YUY2),
    ),
    "bayer_rggb8": (
        image_message(GREY.tobytes(), HEIGHT, WIDTH, WIDTH, "bayer_rggb8"),
        cv2.cvtColor(GREY, cv2.COLOR_BayerRGGB2BGR),
    ),
}


@pytest.mark.parametrize("name", ENCODED)
def test_labels_are_those_of_the_offline_segmenter(camera, offline, name):
    message, picture = ENCODED[name]
    expected = offline(picture)
    assert len(np.unique(expected.labels)) > 5
    assert (expected.labels != offline(make_picture(1)).labels).mean() > 0.1
    label = camera.show(message)
    assert np.array_equal(pixels(label), expected.labels)
    confidence = camera.client.answer(label.header, "confidence")
    assert np.array_equal(pixels(confidence), expected.confidence)


def test_overlay_shows_the_labels_on_the_image(camera, offline):
    label = camera.show(bgr8(PICTURE))
    overlay = camera.client.answer(label.header, "overlay")
    shown = np.frombuffer(overlay.data, np.uint8).reshape(PICTURE.shape)
    expected = blend(PICTURE, offline(PICTURE).labels, load_class_set("camvid11"), 0.5)
    assert overlay.encoding == "bgr8"
    assert np.array_equal(shown, expected)


def test_image_of_another_size_follows_at_once(camera, offline):
    for height, width in ((33, 47), (200, 120), (HEIGHT, WIDTH)):
        picture = make_picture(1, height, width)
        assert np.array_equal(pixels(camera.show(bgr8(picture))), offline(picture).labels)


def test_label_size_changes_while_running_and_camera_info_follows(camera, offline):
    client = camera.client
    info = CameraInfo(height=HEIGHT, width=WIDTH)
    info.k = [70.0, 0.0, 40.0, 0.0, 71.0, 30.0, 0.0, 0.0, 1.0]

    def informed():
        camera.infos.publish(info)
        camera.show(bgr8(PICTURE))
        return client.received["camera_info"]

    client.wait_until(informed, "a first camera_info")
    for size, focal in (((30, 40), 35.0), ((90, 160), 140.0), ((0, 0), 70.0)):
        assert client.set_parameter("label_size", list(size)) == (True, "")
        label = camera.show(bgr8(PICTURE))
        expected = offline(PICTURE, label_size=size if size[0] else None).labels
        assert np.array_equal(pixels(label), expected)
        scaled = client.answer(label.header, "camera_info")
        assert (scaled.height, scaled.width) == expected.shape
        assert scaled.k[0] == focal


def test_timing_of_each_frame(camera):
    client = camera.client
    before = None
    for _ in range(3):
        label = camera.show(bgr8(PICTURE))
        message = client.answer(label.header, "timing")
        timing = FrameTiming.from_message(message)
        assert message.status[0].name == "segmentation: timing"
        assert set(timing.stages_ms) == set(STAGES)
        assert all(0.0 <= ms < 1e4 for ms in timing.stages_ms.values())
        assert timing.stages_ms["network"] > 0.1
        # the test's stamps lie decades back: what passed since arrival is the difference
        in_node_ms = timing.end_to_end_ms - timing.age_on_arrival_ms
        before_publishing = sum(timing.stages_ms.values()) - timing.stages_ms["publish"]
        assert before_publishing <= in_node_ms + 1.0
        assert timing.age_on_arrival_ms > 1e9
        assert (timing.model, timing.engine) == ("d_star_light", "torch")
        if before is not None:
            assert (timing.received, timing.labelled) == (before.received + 1, before.labelled + 1)
        before = timing


def test_healthy_node_says_so(camera):
    pictures = itertools.cycle([bgr8(make_picture(seed)) for seed in range(2)])

    def healthy(status, values):
        camera.show(next(pictures))  # the same one for long would be a frozen camera
        return status.level == DiagnosticStatus.OK and float(values["rate_out_hz"]) > 0

    _, values = camera.client.wait_for_status("camera", healthy, "an OK camera")
    assert values["topic"] == "/image"
    assert float(values["mean_latency_ms"]) > 0
    status, values = camera.client.wait_for_status("node", lambda *_: True, "the node's status")
    assert status.level == DiagnosticStatus.OK
    assert status.hardware_id == "cpu"
    assert values["lifecycle_state"] == "active"
    assert (values["model"], values["input_size"]) == ("d_star_light", "64x96")


def test_malformed_images_are_counted_and_the_next_good_one_is_labelled(camera, offline):
    client = camera.client
    good = bgr8(PICTURE)
    malformed = {
        "no pixels": image_message(b"", 0, 0, 0, "bgr8"),
        "bytes of data": image_message(PICTURE.tobytes(), HEIGHT + 1, WIDTH, WIDTH * 3, "bgr8"),
        "'no_such' is not supported": image_message(b"abc", 1, 1, 3, "no_such"),
        "step": image_message(PICTURE.tobytes(), HEIGHT, WIDTH, WIDTH, "bgr8"),
        "depth": image_message(bytes(4 * HEIGHT * WIDTH), HEIGHT, WIDTH, WIDTH * 4, "32FC1"),
    }
    expected = offline(PICTURE).labels
    timing = FrameTiming.from_message(client.answer(camera.show(good).header, "timing"))
    for count, (reason, message) in enumerate(malformed.items(), start=1):
        camera.images.publish(client.stamp(message))
        status, values = client.wait_for_status(
            "camera",
            lambda _, values, wanted=timing.malformed + count: int(values["malformed"]) == wanted,
            f"the count of '{reason}'",
        )
        assert reason in values["last_malformed_reason"]
        assert status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
        assert reason in status.message
        assert status.hardware_id == "/image"
        if count % 2:
            assert np.array_equal(pixels(camera.show(good)), expected)


def test_absurd_headers_do_no_harm(camera, offline):
    message = bgr8(PICTURE)
    message.header.stamp.sec = -5
    message.header.stamp.nanosec = 4_000_000_000
    message.header.frame_id = "ü" * 300
    camera.images.publish(message)
    label = camera.client.answer(message.header)
    assert np.array_equal(pixels(label), offline(PICTURE).labels)


def test_silent_camera_is_reported(camera):
    assert camera.client.set_parameter("stale_after", 0.1) == (True, "")
    status, values = camera.client.wait_for_status(
        "camera", lambda status, _: status.level == DiagnosticStatus.ERROR, "silence as an error"
    )
    assert "the last image on /image came" in status.message
    assert float(values["time_since_last_frame_s"]) > 0.5
    assert camera.client.set_parameter("stale_after", 1.0) == (True, "")


def test_class_names_and_colours_are_read_only_parameters(camera):
    client = camera.client
    classes = load_class_set("camvid11")
    assert list(client.get_parameter("class_names")) == list(classes.names)
    red, green, blue = classes.colors[2]
    assert client.get_parameter("class_colors")[2] == f"#{red:02x}{green:02x}{blue:02x}"
    assert client.describe_parameter("class_names").read_only
    assert not client.set_parameter("class_names", ["a"])[0]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("engine", "tensorflow", "engine 'tensorflow' is not one of auto, torch, onnxruntime"),
        ("cameras", ["front"], "clean the node up first"),
        ("transport", "compressed", "deactivate the node first"),
        ("label_size", [0, 5], "label_size [0, 5] must be"),
        ("model", "x" * 300, "File name too long"),
        ("class_map", "x" * 300, "File name too long"),
        ("overlay_alpha", 1.5, "out of range"),
        ("overlay_alpha", "much", "type"),
        ("autostart", False, "read-only"),
    ],
)
def test_parameter_is_refused_with_a_reason(camera, name, value, reason):
    before = camera.client.get_parameter(name)
    accepted, answer = camera.client.set_parameter(name, value)
    assert not accepted
    assert reason in answer
    assert camera.client.get_parameter(name) == before
    assert not camera.client.delete_parameter(name)


def test_lifecycle_there_and_back(camera, offline):
    client = camera.client
    expected = offline(PICTURE).labels
    for _ in range(3):
        assert client.change_state("deactivate")
        assert client.state() == "inactive"
        assert not client.change_state("configure")
        assert client.change_state("activate")
        camera.client.connect(camera.images, bgr8(PICTURE), "label")
        assert client.change_state("deactivate")
        assert client.change_state("cleanup")
        assert client.state() == "unconfigured"
        client.wait_for_no_publisher("label")
        assert not client.change_state("activate")
        assert client.change_state("configure")
        assert client.change_state("activate")
        assert client.state() == "active"
        for messages in client.received.values():
            messages.clear()
        client.connect(camera.images, bgr8(PICTURE), "label")
        assert np.array_equal(pixels(camera.show(bgr8(PICTURE))), expected)


def test_inactive_node_does_not_label(camera):
    client = camera.client
    assert client.change_state("deactivate")
    client.wait_until(lambda: camera.images.get_subscription_count() == 0, "the subscription's end")
    client.wait_for_status(
        "node", lambda _, values: values["lifecycle_state"] == "inactive", "inactive"
    )
    assert client.change_state("activate")
    client.connect(camera.images, bgr8(PICTURE), "label")


def test_compressed_images(camera, offline):
    client = camera.client
    assert client.change_state("deactivate")
    assert client.set_parameter("transport", "compressed") == (True, "")
    assert client.change_state("activate")
    images = client.node.create_publisher(CompressedImage, "image/compressed", 10)
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    message = CompressedImage(format="jpeg", data=jpeg)
    client.received["label"].clear()
    client.connect(images, message, "label")
    for kind, packed in (("jpeg", jpeg), ("png", cv2.imencode(".png", PICTURE)[1].tobytes())):
        broken = CompressedImage(format=kind, data=packed[: len(packed) // 3])
        images.publish(client.stamp(broken))
        client.wait_for_status(
            "camera",
            lambda _, values, kind=kind: kind in values["last_malformed_reason"].lower(),
            f"the broken {kind}",
        )
        good = client.stamp(CompressedImage(format=kind, data=packed))
        images.publish(good)
        picture = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(pixels(client.answer(good.header)), offline(picture).labels)
    assert client.change_state("deactivate")
    assert client.set_parameter("transport", "raw") == (True, "")
    assert client.change_state("activate")
    client.connect(camera.images, bgr8(PICTURE), "label")


def test_slow_network_labels_the_newest_frames_only(camera):
    """At 50 Hz and a network slowed down by its input size, frames are dropped, not queued."""
    client = camera.client
    assert client.set_parameter("input_size", [384, 768]) == (True, "")
    for messages in client.received.values():
        messages.clear()
    client.connect(camera.images, bgr8(PICTURE), "label", "timing")
    message = bgr8(PICTURE)
    rate, count = 50, 100
    sent = []
    start = time.monotonic()
    for number in range(count):
        client.spin_for(max(0.0, start + number / rate - time.monotonic()))
        message.header.stamp = client.node.get_clock().now().to_msg()
        camera.images.publish(message)
        sent.append((message.header.stamp.sec, message.header.stamp.nanosec))

    def timings_by_stamp():
        messages = client.received["timing"]
        pairs = [((m.header.stamp.sec, m.header.stamp.nanosec), m) for m in messages]
        return {stamp: FrameTiming.from_message(m) for stamp, m in pairs if stamp in sent}

    client.wait_until(lambda: sent[-1] in timings_by_stamp(), "the last frame")
    assert list(timings_by_stamp()) == sorted(timings_by_stamp())
    timings = list(timings_by_stamp().values())
    assert len(timings) < count / 2
    last = timings[-1]
    assert last.received == last.labelled + last.dropped + last.malformed
    assert last.dropped > count / 2
    # a frame waits for the one before it, never for a queue, neither ours nor the middleware's
    network_ms = max(t.stages_ms["network"] for t in timings)
    assert max(t.waiting_ms for t in timings) < 2 * network_ms
    assert statistics.median(t.age_on_arrival_ms for t in timings) < network_ms
    client.wait_for_status(
        "camera", lambda status, _: "slower than the camera" in status.message, "slowness"
    )


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_signal_ends_the_node_within_a_second(start_node, client, number, name):
    images = client.node.create_publisher(Image, "image", 10)
    with start_node(f"{name}.log", "-r", f"__ns:=/{name}", "-r", "image:=/image") as node:
        other = Client(f"{name}/segmentation")
        other.wait_for_state("active")
        other.listen(Image, "label")
        other.connect(images, bgr8(PICTURE), "label")
        for _ in range(20):
            images.publish(bgr8(PICTURE))
        status, seconds = node.end(number)
        # said goodbye: without, others believe in a dead node for DDS's lease of 20 s
        other.wait_for_no_publisher("label", patience=5.0)
        other.close()
    assert (status, "Traceback" in node.log) == (0, False), node.log
    # one second on a machine of its own, as many as there are processes for each core else
    assert seconds < max(1.0, os.getloadavg()[0] / os.cpu_count())


def test_node_that_cannot_load_stays_up_and_can_be_told_better(start_node, checkpoint, tmp_path):
    missing = tmp_path / "missing.safetensors"
    with start_node("missing.log", "-r", "__ns:=/mistaken", model=missing) as process:
        client = Client("mistaken/segmentation")
        try:
            status, values = client.wait_for_status(
                "node", lambda status, _: status.level == DiagnosticStatus.ERROR, "the error"
            )
            assert str(missing) in status.message
            assert values["lifecycle_state"] == client.state() == "unconfigured"
            assert str(missing) in process.log
            missing.write_bytes(b"PK\x03\x04 not weights")
            assert not client.change_state("configure")
            assert client.set_parameter("model", str(checkpoint)) == (True, "")
            assert client.change_state("configure")
            assert client.change_state("activate")
            client.wait_for_status(
                "node", lambda _, values: values["lifecycle_state"] == "active", "active"
            )
        finally:
            client.close()
        assert process.end()[0] == 0


def test_autostart_can_be_switched_off(start_node, client):
    with start_node("waiting.log", "-r", "__ns:=/waiting", autostart=False) as process:
        waiting = Client("waiting/segmentation")
        waiting.wait_for_status(
            "node", lambda _, values: values["lifecycle_state"] == "unconfigured", "unconfigured"
        )
        assert waiting.state() == "unconfigured"
        assert waiting.change_state("shutdown")
        waiting.wait_for_status(
            "node", lambda _, values: values["lifecycle_state"] == "finalized", "finalized"
        )
        waiting.close()
        assert process.end(signal.SIGTERM)[0] == 0


def test_unusable_start_parameter_ends_the_node_with_one_sentence(start_node):
    with start_node("unusable.log", threads="many") as process:
        assert process.process.wait(PATIENCE_S) == 2
        assert "'threads'" in process.log
        assert "Traceback" not in process.log


def test_large_best_effort_images_arrive_with_the_profile(start_node):
    """1280×720 bgr8 at 15 Hz; without the profile hardly any of these get through."""
    count = 45
    profile = dds_profile.environment()
    assert profile, "this test's environment must not choose a profile of its own"
    command = [sys.executable, str(Path(__file__).with_name("image_publisher.py"))]
    command += ["/large/image", "720", "1280", "15", str(count)]
    client = Client("large/segmentation")
    client.listen(DiagnosticArray, "timing")
    patient = {"input_depth": 20}  # a loaded machine may keep the node from reading for a second
    with (
        start_node("large.log", "-r", "__ns:=/large", environment=profile, **patient) as node,
        subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **profile}) as camera,
    ):

        def finished():
            messages = client.received["timing"]
            timings = [FrameTiming.from_message(message) for message in messages]
            return timings if timings and timings[-1].received >= 0.95 * count else None

        timings = client.wait_until(finished, "95 % of the images")
        camera.stdin.close()
        assert node.end()[0] == 0
    client.close()
    assert statistics.median(t.age_on_arrival_ms for t in timings) < 1000 / 15
