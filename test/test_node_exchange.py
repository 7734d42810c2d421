"""Another network while frames keep coming: the node in its own process, over real DDS."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_under_test import (
    ROOT,
    Client,
    NodeProcess,
    bgr8,
    make_checkpoint,
    make_picture,
)
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from erf_seg_core import load_segmenter
from erf_seg_core.class_map import load_class_map
from erf_seg_core.class_sets import load_class_set
from erf_seg_ros.timing import FrameTiming

PICTURE = make_picture()
SIZE = (96, 128)
RATE_HZ = 30.0  # several images come while even the lightest network is loaded
OPTIONS = {"device": "cpu", "engine": "torch", "threads": 1}
CLASS_MAP = ROOT / "config" / "class_maps" / "camvid11_traversability.yaml"


def labels_of(model, **options):
    options = {**OPTIONS, "input_size": SIZE, **options}
    return load_segmenter(model, **options)(PICTURE).labels


def pixels(message):
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture(scope="module")
def start_node(folder, module_ros_domain_id):
    def start(log, *arguments, **parameters):
        # reliable and deep: what is lost is not lost by DDS
        parameters = {
            **OPTIONS,
            "model": "dg4",
            "input_size": list(SIZE),
            "input_reliability": "reliable",
            "input_depth": 100,
            **parameters,
        }
        return NodeProcess(folder / log, *arguments, **parameters)

    return start


class Stream:
    """The shared node, and a camera of 30 Hz that runs in a thread of its own."""

    def __init__(self, client):
        self.client = client
        for topic, kind in (("label", Image), ("timing", DiagnosticArray)):
            client.listen(kind, topic)
        self._images = client.node.create_publisher(Image, "image", 100)
        client.connect(self._images, bgr8(PICTURE), "label", "timing")

    @contextmanager
    def running(self):
        """Send images until the end of the block; yields the stamps that were sent."""
        self.received_before = self.show_timed().received
        self.client.received["label"].clear()
        self.client.received["timing"].clear()
        stop, sent = threading.Event(), []

        def send():
            start = time.monotonic()
            message = bgr8(PICTURE)
            while not stop.wait(max(0.0, start + len(sent) / RATE_HZ - time.monotonic())):
                self.client.stamp(message)
                sent.append(message.header.stamp.sec)
                self._images.publish(message)

        camera = threading.Thread(target=send)
        camera.start()
        try:
            yield sent
        finally:
            stop.set()
            camera.join()

    def wait_for_labels(self, count):
        """Wait for `count` more."""
        labels = self.client.received["label"]
        more = len(labels) + count
        self.client.wait_until(lambda: len(labels) >= more, f"{count} labels")

    def timings(self):
        """Timing by stamp of the labels that are here, without those that are not."""
        messages = self.client.received["timing"]
        return {m.header.stamp.sec: FrameTiming.from_message(m) for m in messages}

    def show(self):
        """Label of one more image."""
        message = self.client.stamp(bgr8(PICTURE))
        self._images.publish(message)
        self.client.answer(message.header, "timing")
        return pixels(self.client.answer(message.header))

    def show_timed(self):
        """Timing of one more image: all that was sent before it has arrived by then."""
        self.show()
        return FrameTiming.from_message(self.client.received["timing"][-1])


@pytest.fixture(scope="module")
def stream(start_node, module_ros_domain_id):
    client = Client()
    with start_node("stream.log") as node:
        yield Stream(client)
        assert node.process.poll() is None, node.log
    client.close()


def test_switch_in_mid_stream_loses_no_frame(stream):
    old, new = labels_of("dg4"), labels_of("dg4_star_light")
    assert (old != new).mean() > 0.05
    received = stream.client.received["label"]
    with stream.running() as sent:
        stream.wait_for_labels(5)
        before = len(received)
        assert stream.client.set_parameter("model", "dg4_star_light") == (True, "")
        during = len(received) - before
        stream.wait_for_labels(5)
    after = stream.show_timed()
    timings = stream.timings()
    models = []
    for label in received:
        model = timings[label.header.stamp.sec].model
        np.testing.assert_array_equal(pixels(label), {"dg4": old, "dg4_star_light": new}[model])
        models.append(model)
    assert during > 0  # the old network labelled while the new one was loaded
    assert models == sorted(models)
    assert set(models) == {"dg4", "dg4_star_light"}
    assert after.received - stream.received_before == len(sent) + 1
    assert after.received == after.labelled + after.dropped
    values = {"model": "dg4_star_light", "class_set": "camvid11"}
    stream.client.wait_for_status(
        "node", lambda _, v: values.items() <= v.items(), "the new model's name"
    )


def test_classes_follow_the_network(stream, folder):
    client = stream.client
    cityscapes = make_checkpoint(folder / "other.safetensors", class_set="cityscapes19")
    assert client.set_parameter("model", "dg4") == (True, "")
    assert client.set_parameter("model", str(cityscapes)) == (True, "")
    names = load_class_set("cityscapes19").names
    assert tuple(client.get_parameter("class_names")) == names
    np.testing.assert_array_equal(stream.show(), labels_of(cityscapes))
    refused, reason = client.set_parameter("class_map", str(CLASS_MAP))
    assert not refused
    assert "no class 'pavement'" in reason
    assert client.set_parameter("model", "dg4") == (True, "")
    assert client.set_parameter("class_map", str(CLASS_MAP)) == (True, "")
    target = load_class_map(CLASS_MAP, load_class_set("camvid11")).target
    assert tuple(client.get_parameter("class_names")) == target.names
    np.testing.assert_array_equal(stream.show(), labels_of("dg4", class_map=CLASS_MAP))
    assert client.set_parameter("class_map", "") == (True, "")
    np.testing.assert_array_equal(stream.show(), labels_of("dg4"))


def test_model_and_class_map_change_together_or_not_at_all(stream, folder):
    client = stream.client
    cityscapes = make_checkpoint(folder / "together.safetensors", class_set="cityscapes19")
    its_map = CLASS_MAP.with_name("cityscapes19_traversability.yaml")
    assert client.set_parameter("model", "dg4") == (True, "")
    assert client.set_parameter("class_map", str(CLASS_MAP)) == (True, "")
    assert not client.set_parameter("model", str(cityscapes))[0]  # alone, the map does not fit
    assert not client.set_together(model=str(cityscapes), overlay_alpha=2.0)[0]
    np.testing.assert_array_equal(stream.show(), labels_of("dg4", class_map=CLASS_MAP))
    assert client.set_together(model=str(cityscapes), class_map=str(its_map)) == (True, "")
    np.testing.assert_array_equal(stream.show(), labels_of(cityscapes, class_map=its_map))
    assert client.set_together(model="dg4", class_map="") == (True, "")


def test_input_size_and_engine_change_too(stream):
    client = stream.client
    assert client.set_parameter("model", "dg4") == (True, "")
    for name, value in (
        ("input_size", (64, 96)),
        ("engine", "onnxruntime"),
        ("precision", "fp32"),
    ):
        before = client.get_parameter(name)
        assert client.set_parameter(name, list(value) if name == "input_size" else value)[0]
        expected = labels_of("dg4", **{name: value})
        np.testing.assert_array_equal(stream.show(), expected)
        assert client.set_parameter(name, before)[0]


def test_confidence_threshold_changes_with_the_next_frame(stream):
    client = stream.client
    plain = load_segmenter("dg4", input_size=SIZE, **OPTIONS)(PICTURE)
    assert client.set_parameter("confidence_threshold", 0.6) == (True, "")
    unsure = plain.confidence < 0.6 * 255
    assert 0 < unsure.mean() < 1
    np.testing.assert_array_equal(stream.show(), np.where(unsure, 255, plain.labels))
    assert client.set_parameter("confidence_threshold", 0.0) == (True, "")
    np.testing.assert_array_equal(stream.show(), plain.labels)


def test_what_cannot_be_loaded_is_refused_and_the_old_network_goes_on(stream, folder):
    client = stream.client
    foreign, corrupt = folder / "foreign.safetensors", folder / "corrupt.safetensors"
    foreign.write_bytes(b"PK\x03\x04 pickled")
    good = make_checkpoint(folder / "good.safetensors").read_bytes()
    corrupt.write_bytes(good[: len(good) // 2])
    bad = {
        str(folder / "missing.safetensors"): "there is no checkpoint file",
        str(foreign): "erf_seg import",
        str(corrupt): "corrupt",
        "dg5": "dg4",
    }
    expected = labels_of("dg4")
    with stream.running():
        for model, sentence in bad.items():
            stream.wait_for_labels(2)
            accepted, reason = client.set_parameter("model", model)
            assert not accepted
            assert sentence in reason
            assert client.get_parameter("model") == "dg4"
        assert not client.set_parameter("device", "cuda:7")[0]
        stream.wait_for_labels(2)
    stream.show()
    timings = stream.timings()
    assert {timing.model for timing in timings.values()} == {"dg4"}  # none of another
    for label in client.received["label"]:
        np.testing.assert_array_equal(pixels(label), expected)
    client.wait_for_status("node", lambda s, _: s.level == DiagnosticStatus.OK, "a healthy node")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_node_within_a_second_while_it_loads(start_node, number):
    client = Client(f"ending{number}/segmentation")
    with start_node(f"ending{number}.log", "-r", f"__ns:=/ending{number}") as node:
        client.wait_for_state("active")
        # so large an input takes seconds to warm up
        slow = Parameter("input_size", value=[2048, 4096]).to_parameter_msg()
        answer = client.begin("set_parameters", SetParameters.Request(parameters=[slow]))
        client.spin_for(0.5)
        assert not answer.done()
        status, seconds = node.end(number)
    client.close()
    assert (status, "Traceback" in node.log) == (0, False), node.log
    assert seconds < max(1.0, os.getloadavg()[0] / os.cpu_count())


def test_node_answers_while_it_configures(start_node):
    """Loading keeps neither the state nor the heartbeat waiting."""
    client = Client("busy/segmentation")
    with start_node("busy.log", "-r", "__ns:=/busy", input_size=[2048, 4096]) as node:
        client.wait_until(lambda: client.state() == "configuring", "the state configuring")
        client.wait_for_status("node", lambda *_: True, "a heartbeat")
        assert client.state() == "configuring"
        assert node.end()[0] == 0
    client.close()
