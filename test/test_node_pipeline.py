"""The pipeline inside the test's process: what it computes, and when it leaves out."""

import math
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from node_under_test import PATIENCE_S, bgr8, image_message, make_checkpoint, make_picture
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from erf_seg_core import load_segmenter
from erf_seg_core.errors import EngineError, ErfSegError
from erf_seg_ros import pipeline as pipeline_module
from erf_seg_ros.camera import Camera
from erf_seg_ros.camera_input import Frame
from erf_seg_ros.conditions import Level
from erf_seg_ros.network_host import NetworkHost
from erf_seg_ros.node_diagnostics import NodeDiagnostics
from erf_seg_ros.parameters import SPECS, Settings
from erf_seg_ros.pipeline import Pipeline

SETTINGS = Settings.from_values({spec.name: spec.default for spec in SPECS})
PICTURE = make_picture()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    path = make_checkpoint(tmp_path_factory.mktemp("pipeline") / "small.safetensors")
    return load_segmenter(path, device="cpu", engine="torch", threads=1)


@pytest.fixture
def node(context):
    return rclpy.create_node("segmentation", context=context)


class Recorder:
    """The real segmenter, with a note of what it was asked for."""

    def __init__(self, segmenter):
        self._segmenter = segmenter
        self.asked = []
        self.gains_from_batches = False
        self.engine_failures = 0

    def batch(self, images, **options):
        self.asked.append({**options, "count": len(images)})
        if self.engine_failures:
            self.engine_failures -= 1
            raise EngineError("out of memory")
        if any(image.shape[0] == 13 for image in images):
            raise ErfSegError("thirteen rows")
        return self._segmenter.batch(images, **options)

    def close(self):
        """The module's tests share the segmenter."""

    def __getattr__(self, name):
        return getattr(self._segmenter, name)


@pytest.fixture
def running(node, segmenter, context):
    """Pipeline with two cameras, what it asked for, and a function that spins until …."""
    recorder = Recorder(segmenter)
    host = NetworkHost(lambda options: recorder, {}, node.get_logger())
    cameras = [Camera(node, name) for name in ("front", "left")]
    pipeline = Pipeline(host, cameras, lambda: SETTINGS, node.get_logger(), str)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    pipeline.start()

    def spin_until(condition):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if condition():
                return
            executor.spin_once(timeout_sec=0.02)
        pytest.fail("the condition never came true")

    yield pipeline, recorder, spin_until
    pipeline.stop()


def test_confidence_and_overlay_are_computed_for_subscribers_only(node, running, monkeypatch):
    pipeline, recorder, spin_until = running
    blends = []
    blend = pipeline_module.blend
    monkeypatch.setattr(pipeline_module, "blend", lambda *a: blends.append(a) or blend(*a))
    front = pipeline.cameras[0]
    images = node.create_publisher(Image, "front/image", 1)
    spin_until(images.get_subscription_count)

    def label():
        done = front.counter.now().labelled
        images.publish(bgr8(PICTURE))
        spin_until(lambda: front.counter.now().labelled > done)

    label()
    assert (recorder.asked[-1]["confidence"], len(blends)) == (False, 0)
    outputs = []
    for topic in ("confidence", "overlay"):
        node.create_subscription(Image, f"~/front/{topic}", outputs.append, 1)
    spin_until(lambda: front.wants_confidence() and front.wants_overlay())
    label()
    assert (recorder.asked[-1]["confidence"], len(blends)) == (True, 1)
    spin_until(lambda: {m.encoding for m in outputs} == {"mono8", "bgr8"})


def test_an_overlay_that_fails_costs_no_label(node, running, monkeypatch, capfd):
    pipeline, _, spin_until = running
    front = pipeline.cameras[0]
    images = node.create_publisher(Image, "front/image", 10)
    labels, timings = [], []
    node.create_subscription(Image, "~/front/label", labels.append, 10)
    node.create_subscription(DiagnosticArray, "~/front/timing", timings.append, 10)
    node.create_subscription(Image, "~/front/overlay", print, 10)
    spin_until(lambda: images.get_subscription_count() and front.wants_overlay())

    def fail(*_):
        raise RuntimeError("no paint")

    monkeypatch.setattr(pipeline_module, "blend", fail)
    images.publish(bgr8(PICTURE))
    spin_until(lambda: labels and timings)
    counts = front.counter.now()
    assert (counts.labelled, counts.failed) == (1, 0)
    assert "goes without its other outputs: RuntimeError: no paint" in capfd.readouterr().err
    monkeypatch.setattr(front, "publish_label", fail)
    images.publish(bgr8(PICTURE))
    spin_until(lambda: front.counter.now().failed)
    assert front.counter.now().labelled == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_tiny_images_have_all_outputs(node, running, size):
    pipeline, _, spin_until = running
    front = pipeline.cameras[0]
    images = node.create_publisher(Image, "front/image", 10)
    outputs = {}
    for topic in ("label", "confidence", "overlay"):
        received = outputs[topic] = []
        node.create_subscription(Image, f"~/front/{topic}", received.append, 10)
    spin_until(lambda: images.get_subscription_count() and front.wants_overlay())
    spin_until(front.wants_confidence)
    images.publish(bgr8(make_picture(0, *size)))
    spin_until(lambda: all(outputs.values()))
    assert {(m.height, m.width) for (m,) in outputs.values()} == {size}


def test_cameras_have_their_own_topics_and_counts(node, running, segmenter):
    pipeline, _, spin_until = running
    pictures = {"front": make_picture(0), "left": make_picture(1)}
    expected = {name: segmenter(picture).labels for name, picture in pictures.items()}
    assert not np.array_equal(expected["front"], expected["left"])
    labels = {name: [] for name in pictures}
    images = {}
    for name, received in labels.items():
        node.create_subscription(Image, f"~/{name}/label", received.append, 10)
        images[name] = node.create_publisher(Image, f"{name}/image", 1)
    for name, publisher in images.items():
        message = bgr8(pictures[name])
        message.header = Header(frame_id=name)

        spin_until(publisher.get_subscription_count)
        sent = []

        def answered(publisher=publisher, message=message, name=name, sent=sent):
            # Best effort: the first image may be lost while the two sides are still meeting.
            if not sent or time.monotonic() - sent[-1] > 0.5:
                publisher.publish(message)
                sent.append(time.monotonic())
            return labels[name]

        spin_until(answered)
    for name, (label, *_) in labels.items():
        assert label.header.frame_id == name
        assert bytes(label.data) == expected[name].tobytes()
    assert all(camera.counter.now().labelled for camera in pipeline.cameras)


def test_failure_of_the_network_costs_one_frame(node, running):
    pipeline, _, spin_until = running
    counter = pipeline.cameras[0].counter
    images = node.create_publisher(Image, "front/image", 10)
    spin_until(images.get_subscription_count)
    images.publish(bgr8(PICTURE[:13]))
    spin_until(lambda: counter.now().failed)
    assert counter.now().last_failure == "thirteen rows"
    images.publish(bgr8(PICTURE))
    spin_until(lambda: counter.now().labelled)


def send_both(node, running, left):
    """One frame of each camera, at the same moment for the worker; waits for their ends."""
    pipeline, recorder, spin_until = running
    labels = []
    publishers = {}
    for name in ("front", "left"):
        publishers[name] = node.create_publisher(Image, f"{name}/image", 1)
        node.create_subscription(Image, f"~/{name}/label", labels.append, 10)
    for publisher in publishers.values():
        spin_until(publisher.get_subscription_count)
    publishers["front"].publish(bgr8(PICTURE))  # the worker began to wait before the test's doing
    spin_until(lambda: fates(pipeline))
    recorder.asked.clear()
    with pipeline.host.turn():  # the worker waits here with the first frame, others pile up
        for _ in range(2):
            before = received(pipeline)
            publishers["front"].publish(bgr8(PICTURE))
            publishers["left"].publish(left)
            spin_until(lambda before=before: received(pipeline) == before + 2)
    spin_until(lambda: fates(pipeline) == received(pipeline))
    return labels


def received(pipeline):
    return sum(camera.counter.now().received for camera in pipeline.cameras)


def fates(pipeline):
    counts = [camera.counter.now() for camera in pipeline.cameras]
    return sum(c.labelled + c.dropped + c.malformed + c.failed for c in counts)


def test_frames_that_wait_together_share_a_batch(node, running, segmenter):
    pipeline, recorder, spin_until = running
    recorder.gains_from_batches = True
    picture = make_picture(1, 33, 47)
    labels = send_both(node, running, bgr8(picture))
    assert [asked["count"] for asked in recorder.asked][-1] == 2
    spin_until(lambda: len(labels) >= sum(c.counter.now().labelled for c in pipeline.cameras))
    expected = {p.shape[:2]: segmenter(p).labels for p in (PICTURE, picture)}
    for label in labels:
        assert bytes(label.data) == expected[label.height, label.width].tobytes()
    assert {label.height for label in labels} == {33, 60}


def test_on_a_cpu_cameras_take_turns(node, running):
    _, recorder, _ = running
    send_both(node, running, bgr8(make_picture(1)))
    assert {asked["count"] for asked in recorder.asked} == {1}


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("malformed", image_message(b"abc", 1, 1, 3, "no_such")),
        ("failed", bgr8(PICTURE[:13])),
    ],
)
def test_bad_frame_does_not_spoil_the_batch(node, running, spoilt, message):
    pipeline, recorder, _ = running
    recorder.gains_from_batches = True
    send_both(node, running, message)
    front, left = (camera.counter.now() for camera in pipeline.cameras)
    assert front.labelled > 0
    assert (front.malformed, front.failed) == (0, 0)
    assert getattr(left, spoilt) > 0
    assert left.labelled == 0


def test_engine_that_fails_is_loaded_again(node, running):
    pipeline, recorder, spin_until = running
    counter = pipeline.cameras[0].counter
    images = node.create_publisher(Image, "front/image", 10)
    spin_until(images.get_subscription_count)
    recorder.engine_failures = 1
    images.publish(bgr8(PICTURE))
    spin_until(lambda: counter.now().failed)
    assert counter.now().last_failure == "out of memory"
    images.publish(bgr8(PICTURE))
    spin_until(lambda: counter.now().labelled)
    verdict = pipeline.host.verdict
    assert verdict.level is Level.WARN
    assert "after: out of memory" in verdict.message
    assert verdict.values == {"engine_failures": "1"}


def test_frame_that_is_on_its_way_while_the_pipeline_stops_is_dropped(running):
    pipeline, _, _ = running
    front = pipeline.cameras[0]
    before = front.counter.now()
    pipeline.stop()
    pipeline._receive(front, Frame(bgr8(PICTURE), time.perf_counter(), math.nan))
    after = front.counter.now()
    assert (after.received, after.dropped) == (before.received + 1, before.dropped + 1)


def test_two_threads_may_stop_at_the_same_time(running):
    pipeline, _, _ = running

    class Worker(threading.Thread):
        def join(self, timeout=None):
            super().join(timeout)
            pipeline._worker = None  # the other thread's stop, which waited for the same end

    pipeline.stop()
    pipeline._worker = Worker()
    pipeline._worker.start()
    assert pipeline.stop(timeout=PATIENCE_S)


def test_diagnostics_outlive_a_deactivation_in_their_middle(node, running, monkeypatch):
    pipeline, _, _ = running
    diagnostics = NodeDiagnostics(node)
    diagnostics.watch(pipeline.cameras)
    front = pipeline.cameras[0]
    monkeypatch.setattr(front, "incompatible_publishers", lambda: diagnostics.watch(()) or [])
    told = []
    monkeypatch.setattr(diagnostics._publisher, "publish", told.append)
    diagnostics.publish("active", "", pipeline, SETTINGS)
    assert any("camera left" in status.name for status in told[0].status)


def test_stop_and_start_account_for_every_frame(node, running):
    pipeline, _, spin_until = running
    counter = pipeline.cameras[0].counter
    images = node.create_publisher(Image, "front/image", 10)
    for _ in range(3):
        spin_until(images.get_subscription_count)
        before = counter.now().received
        for _ in range(5):
            images.publish(bgr8(np.ascontiguousarray(PICTURE)))
        spin_until(lambda before=before: counter.now().received > before)
        assert pipeline.stop()
        assert not pipeline.running
        counts = counter.now()
        assert counts.received == counts.labelled + counts.dropped
        spin_until(lambda: images.get_subscription_count() == 0)
        pipeline.start()
