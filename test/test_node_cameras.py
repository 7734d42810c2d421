"""Several cameras on one node, in processes of their own, over real DDS; one of them dies."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_under_test import PATIENCE_S, Client, NodeProcess, bgr8, make_checkpoint, make_picture
from sensor_msgs.msg import CameraInfo, Image

from erf_seg_core import load_segmenter
from erf_seg_ros import dds_profile
from erf_seg_ros.timing import FrameTiming

PUBLISHER = Path(__file__).with_name("image_publisher.py")
THREE_CAMERAS = dds_profile.path().with_name("three_cameras.yaml")
ALIVE, MORTAL = ("front", "right"), "left"
RATE, PAIRS = 10, 40

pytestmark = pytest.mark.timeout(400)  # loading PyTorch takes minutes where ten others do it


@contextmanager
def camera_process(topic, height, width, rate, count=100_000, environment=None):
    """Camera driver that can be killed; ends with the `with` block."""
    command = [sys.executable, str(PUBLISHER), topic, *map(str, (height, width, rate, count))]
    env = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cameras")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return make_checkpoint(folder / "small.safetensors")


@pytest.fixture(scope="module")
def start_node(folder, checkpoint, module_ros_domain_id):
    def start(log, *arguments, **parameters):
        defaults = {"model": checkpoint, "device": "cpu", "engine": "torch", "threads": 1}
        return NodeProcess(folder / log, *arguments, **defaults, **parameters)

    return start


@pytest.fixture(scope="module")
def node(start_node):
    # a loaded machine may keep the node from reading for a second: nothing may get lost in it
    with start_node("node.log", "--params-file", str(THREE_CAMERAS), input_depth=50) as process:
        yield process
        assert process.process.poll() is None, process.log


@pytest.fixture(scope="module")
def client(node):
    result = Client()
    result.wait_until(lambda: result.state() == "active", "the node", 3 * PATIENCE_S)
    assert result.get_parameter("max_age") == 0.5  # as the file says
    assert result.set_parameter("max_age", 0.0) == (True, "")  # the client's stamps lie far back
    yield result
    result.close()


def last_timing(client, camera):
    return FrameTiming.from_message(client.received[f"{camera}/timing"][-1])


def now(client, message):
    message.header.stamp = client.node.get_clock().now().to_msg()
    return message


def test_two_cameras_go_on_with_right_labels_and_counts_when_the_third_is_killed(
    client, checkpoint
):
    offline = load_segmenter(checkpoint, device="cpu", engine="torch", threads=1)
    pictures = {name: make_picture(seed) for seed, name in enumerate(ALIVE)}
    expected = {name: offline(picture).labels.tobytes() for name, picture in pictures.items()}
    messages = {name: bgr8(picture) for name, picture in pictures.items()}
    publishers = {}
    for name in (*ALIVE, MORTAL):
        client.listen(Image, f"{name}/label")
        client.listen(DiagnosticArray, f"{name}/timing")
    for name in ALIVE:
        publishers[name] = client.node.create_publisher(Image, f"{name}/image", 10)
        client.connect(publishers[name], messages[name], f"{name}/label", f"{name}/timing")
    with camera_process(f"/{MORTAL}/image", 60, 80, RATE) as mortal:
        client.wait_until(lambda: client.received[f"{MORTAL}/timing"], "labels of the third camera")
        client.spin_for(0.3)
        before = {name: last_timing(client, name) for name in ALIVE}
        sent = {name: [] for name in ALIVE}
        start = time.monotonic()
        for number in range(PAIRS):
            client.spin_for(max(0.0, start + number / RATE - time.monotonic()))
            if number == PAIRS // 4:
                mortal.kill()
            for name, message in messages.items():
                publishers[name].publish(now(client, message))
                sent[name].append((message.header.stamp.sec, message.header.stamp.nanosec))
        for name in ALIVE:
            client.answer(messages[name].header, f"{name}/timing")
    for name in ALIVE:
        after = last_timing(client, name)
        assert after.received - before[name].received == PAIRS
        fates = after.labelled + after.dropped + after.malformed + after.failed + after.too_old
        assert after.received == fates
        stamps = [
            (m.header.stamp.sec, m.header.stamp.nanosec)
            for m in client.received[f"{name}/label"]
            if bytes(m.data) == expected[name]
        ]
        labelled = [stamp for stamp in sent[name] if stamp in stamps]
        # how many depends on the machine's load, but the last is always among them
        assert len(labelled) == after.labelled - before[name].labelled
        assert sent[name][-1] in labelled
        # a frame waits for the round before it, never for the dead camera or behind a queue
        timings = [FrameTiming.from_message(m) for m in client.received[f"{name}/timing"]]
        rounds_ms = [len((*ALIVE, MORTAL)) * sum(t.stages_ms.values()) for t in timings]
        assert np.median([t.waiting_ms for t in timings]) < max(rounds_ms)


def test_dead_camera_is_reported_under_its_own_name(client):
    client.listen(Image, f"{MORTAL}/label")
    with camera_process(f"/{MORTAL}/image", 60, 80, RATE):
        client.wait_until(lambda: client.received[f"{MORTAL}/label"], "a label before its death")
    status, values = client.wait_for_status(
        f"camera {MORTAL}: missing",
        lambda status, _: status.level == DiagnosticStatus.ERROR,
        "the dead camera as an error",
    )
    assert status.hardware_id == f"/{MORTAL}/image"
    assert f"the last image on /{MORTAL}/image came" in status.message
    assert float(values["time_since_last_frame_s"]) > 2.5
    status, values = client.wait_for_status(f"camera {MORTAL}", lambda *_: True, "the summary")
    assert "missing" in values["conditions"].split()
    assert int(values["received"]) == sum(
        int(values[fate]) for fate in ("labelled", "dropped", "malformed", "failed", "too_old")
    )


def test_heartbeat_counts_the_messages(client):
    beats = []
    for _ in range(3):
        _, values = client.wait_for_status("node", lambda *_: True, "the node's status")
        beats.append(int(values["heartbeat"]))
    assert beats == [beats[0], beats[0] + 1, beats[0] + 2]


def test_images_older_than_max_age_are_dropped_and_counted_apart(client):
    client.listen(DiagnosticArray, "front/timing")
    images = client.node.create_publisher(Image, "front/image", 10)
    message = bgr8(make_picture())

    def answered():
        images.publish(now(client, message))
        client.spin_for(0.1)
        return client.received["front/timing"]

    client.wait_until(answered, "a first answer")
    assert client.set_parameter("max_age", 60.0) == (True, "")
    before = last_timing(client, "front")
    images.publish(client.stamp(message))
    status, values = client.wait_for_status(
        "camera front: too_old",
        lambda _, values: int(values["too_old"]) > before.too_old,
        "the count of old images",
    )
    assert (status.level, values["too_old"]) == (DiagnosticStatus.WARN, str(before.too_old + 1))
    images.publish(now(client, message))
    client.answer(message.header, "front/timing")
    after = last_timing(client, "front")
    assert after.too_old == before.too_old + 1
    assert after.labelled > before.labelled
    assert client.set_parameter("max_age", 0.0) == (True, "")


def test_each_camera_has_its_own_calibration(client):
    infos = {}
    for number, name in enumerate(ALIVE, start=1):
        client.listen(CameraInfo, f"{name}/camera_info")
        publisher = client.node.create_publisher(CameraInfo, f"{name}/camera_info", 10)
        images = client.node.create_publisher(Image, f"{name}/image", 10)
        info = CameraInfo(height=60, width=80)
        info.k = [70.0 + number, 0.0, 40.0, 0.0, 70.0, 30.0, 0.0, 0.0, 1.0]

        def informed(publisher=publisher, images=images, info=info, name=name):
            publisher.publish(info)
            images.publish(now(client, bgr8(make_picture())))
            client.spin_for(0.1)
            return client.received[f"{name}/camera_info"]

        infos[name] = client.wait_until(informed, f"camera_info of {name}")[-1]
    assert [infos[name].k[0] for name in ALIVE] == [71.0, 72.0]


def test_cameras_are_changed_by_parameter_and_bad_names_are_refused(client):
    accepted, reason = client.set_parameter("cameras", ["rear"])
    assert not accepted
    assert "clean the node up first" in reason
    for step in ("deactivate", "cleanup"):
        assert client.change_state(step)
    for bad, why in ((["front left"], "'front left'"), (["a", "a"], "a more than once")):
        accepted, reason = client.set_parameter("cameras", bad)
        assert not accepted
        assert why in reason
    assert client.set_parameter("cameras", ["rear"]) == (True, "")
    for step in ("configure", "activate"):
        assert client.change_state(step)
    for name in (*ALIVE, MORTAL):
        client.wait_for_no_publisher(f"{name}/label")
    client.listen(Image, "rear/label")
    images = client.node.create_publisher(Image, "rear/image", 10)
    client.connect(images, bgr8(make_picture()), "rear/label")


def test_black_and_frozen_camera_is_reported(client):
    """The publisher's images are zeros, all alike."""
    if client.get_parameter("cameras") != ["rear"]:
        for step in ("deactivate", "cleanup"):
            assert client.change_state(step)
        assert client.set_parameter("cameras", ["rear"]) == (True, "")
        for step in ("configure", "activate"):
            assert client.change_state(step)
    with camera_process("/rear/image", 60, 80, RATE):
        for condition, key in (("black", "black_s"), ("frozen", "frozen_s")):
            status, values = client.wait_for_status(
                f"camera rear: {condition}",
                lambda status, _: status.level >= DiagnosticStatus.WARN,
                f"the {condition} camera",
            )
            assert condition in status.message
            assert float(values[key]) > 2.0
    assert int(values["identical_frames"]) > 0


def test_bad_name_at_the_start_is_told_and_can_be_mended(start_node):
    with start_node("bad.log", "-r", "__ns:=/bad", cameras=["front", "front"]) as process:
        client = Client("bad/segmentation")
        status, _ = client.wait_for_status(
            "node", lambda status, _: status.level == DiagnosticStatus.ERROR, "the error"
        )
        assert "front more than once" in status.message
        assert client.set_parameter("cameras", ["front", "rear"]) == (True, "")
        assert client.change_state("configure")
        client.close()
        assert process.end()[0] == 0


def test_lost_images_are_reported_with_the_cure(start_node):
    """Without the profile, Fast DDS loses most of these; with it, hardly any."""
    size, rate = (720, 1280), 15
    profile = dds_profile.environment()
    assert profile, "this test's environment must not choose a profile of its own"
    ((variable, file),) = profile.items()
    client = Client("loss/segmentation")
    with start_node("loss.log", "-r", "__ns:=/loss", input_depth=20) as process:
        client.wait_for_state("active")
        with camera_process("/loss/image", *size, rate):
            status, values = client.wait_for_status(
                "camera: lost",
                lambda status, _: status.level >= DiagnosticStatus.WARN,
                "the losses",
            )
        assert f"{variable}={file}" in status.message
        assert (values["cure_variable"], values["cure_file"]) == (variable, file)
        assert int(values["lost"]) > 2
        with camera_process("/loss/image", *size, rate, environment=profile):
            _, values = client.wait_for_status(
                "camera",
                lambda _, values: (
                    int(values["received"]) > 40 and float(values["lost_percent"]) <= 5.0
                ),
                "95 % of the images in a row of seconds",
            )
        client.close()
        assert process.end()[0] == 0
