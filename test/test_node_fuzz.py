"""Broken images, thousands of them, with a fixed seed: none ends the node or its next label."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from fuzzed_images import PICTURE, fuzzed_compressed, fuzzed_image
from node_under_test import PATIENCE_S, Client, NodeProcess, bgr8, make_checkpoint
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from erf_seg_core import load_segmenter
from erf_seg_ros.camera import Camera
from erf_seg_ros.camera_input import Frame
from erf_seg_ros.network_host import NetworkHost
from erf_seg_ros.parameters import SPECS, Settings
from erf_seg_ros.pipeline import Pipeline

VALUES = {spec.name: spec.default for spec in SPECS}
MESSAGES = 2000
OVER_DDS = 150


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fuzz") / "small.safetensors")


@pytest.fixture
def pipeline(checkpoint, ros_domain_id):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("segmentation", context=context)
    options = {"model": checkpoint, "device": "cpu", "engine": "torch", "threads": 1}
    host = NetworkHost(lambda options: load_segmenter(**options), options, node.get_logger())
    settings = Settings.from_values(VALUES)
    result = Pipeline(host, [Camera(node, "")], lambda: settings, node.get_logger(), str)
    result.start()
    yield result
    result.stop()
    result.destroy()
    node.destroy_node()
    rclpy.shutdown(context=context)


def fates(counts):
    return counts.labelled + counts.dropped + counts.malformed + counts.failed + counts.too_old


def give(pipeline, message):
    """Hand a message to where the subscription hands it, and wait for its end."""
    (camera,) = pipeline.cameras
    number = fates(camera.counter.now()) + 1
    pipeline._receive(camera, Frame(message, time.perf_counter(), float("nan")))
    deadline = time.monotonic() + PATIENCE_S
    while fates(camera.counter.now()) < number:
        assert time.monotonic() < deadline, f"no end of {message.header}"
        time.sleep(0.0002)
    return camera.counter.now()


def test_two_thousand_broken_images_cost_one_frame_each(pipeline):
    rng = np.random.default_rng(20)
    for _ in range(MESSAGES // 20):
        for number in range(20):
            make = fuzzed_compressed if number % 2 else fuzzed_image
            counts = give(pipeline, make(rng))
        before = counts
        counts = give(pipeline, bgr8(PICTURE))
        assert counts.labelled == before.labelled + 1, counts.last_failure
    assert counts.received == MESSAGES * 21 // 20 == fates(counts)
    assert counts.malformed > MESSAGES / 3
    assert not counts.failed, counts.last_failure


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_broken_images_over_dds(checkpoint, tmp_path, ros_domain_id, transport):
    rng = np.random.default_rng(21)
    kind, topic = (Image, "image") if transport == "raw" else (CompressedImage, "image/compressed")
    broken, good = fuzzed_image, bgr8(PICTURE)
    unreadable = Image(height=4, width=4, encoding="nonsense", step=4, data=bytes(16))
    if transport == "compressed":
        from fuzzed_images import JPEG

        broken, good = fuzzed_compressed, CompressedImage(format="jpeg", data=JPEG)
        unreadable = CompressedImage(format="jpeg", data=b"no picture")
    parameters = {"model": checkpoint, "device": "cpu", "engine": "torch", "threads": 1}
    with NodeProcess(tmp_path / "node.log", transport=transport, **parameters) as node:
        client = Client()
        client.listen(Image, "label")
        images = client.node.create_publisher(kind, topic, 10)
        client.connect(images, good, "label")
        for number in range(OVER_DDS):
            message = broken(rng)
            if number % 5 == 4:  # not even a message: what lies on the wire is noise
                raw = bytearray(serialize_message(message))
                images.publish(bytes(raw[: rng.integers(4, len(raw))]))
            else:
                images.publish(message)
            if number % 10 == 9:
                images.publish(client.stamp(good))
                client.answer(good.header)
        # Those sent together displace each other; nothing displaces this one.
        images.publish(unreadable)
        _, values = client.wait_for_status(
            "camera",
            lambda _, values: values["last_malformed_reason"] and int(values["received"]) > 10,
            "the count of broken images",
        )
        assert int(values["malformed"]) > 0
        client.close()
        assert node.process.poll() is None
        assert "Traceback" not in node.log
        assert node.end()[0] == 0
