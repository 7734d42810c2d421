"""Time that jumps, repeats and stands still: frames are labelled, durations stay true."""

import statistics
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_under_test import PATIENCE_S, Client, NodeProcess, bgr8, make_checkpoint, make_picture
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from erf_seg_ros.timing import STAGES, FrameTiming

pytestmark = pytest.mark.timeout(400)  # see wait_until_active


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("time")


@pytest.fixture(scope="module")
def start_node(folder, module_ros_domain_id):
    checkpoint = make_checkpoint(folder / "small.safetensors")

    def start(log, *arguments, **parameters):
        defaults = {"model": checkpoint, "device": "cpu", "engine": "torch", "threads": 1}
        return NodeProcess(folder / log, *arguments, **defaults, **parameters)

    return start


def wait_until_active(client):
    # three times the usual patience: loading PyTorch takes minutes where ten others do it
    client.wait_until(lambda: client.state() == "active", "the node", 3 * PATIENCE_S)


@pytest.fixture(scope="module")
def client(start_node):
    """One node, with the machine's own time."""
    with start_node("node.log") as process:
        result = Client()
        wait_until_active(result)
        yield result
        result.close()
        assert process.end()[0] == 0


class Drive:
    """A bag in play: its clock goes where the test wants it, its images follow."""

    def __init__(self, client):
        self.client = client
        self.clock = client.node.create_publisher(Clock, "/clock", 10)
        self.images = client.node.create_publisher(Image, "image", 10)
        for topic, kind in (("label", Image), ("timing", DiagnosticArray)):
            client.listen(kind, topic)
        self._pictures = [bgr8(make_picture(seed)) for seed in range(2)]

    def show(self, stamp_s, now_s=None, frame_id="camera"):
        """Publish clock and image until a timing with this stamp came; returns the timing."""
        before = len(self.client.received["timing"])
        message = self._pictures[before % 2]
        message.header = Header(stamp=to_stamp(stamp_s), frame_id=frame_id)

        def answered():
            if now_s is not None:
                self.clock.publish(Clock(clock=to_stamp(now_s)))
                self.client.spin_for(0.05)
            self.images.publish(message)
            self.client.spin_for(0.1)
            answers = self.client.received["timing"][before:]
            return [m for m in answers if m.header == message.header]

        answers = self.client.wait_until(answered, f"the label of {stamp_s} s")
        return FrameTiming.from_message(answers[-1])


def to_stamp(seconds):
    return Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))


def test_simulated_time_that_loops_pauses_and_jumps(start_node):
    with start_node("sim.log", use_sim_time=True, max_age=5.0) as process:
        client = Client()
        wait_until_active(client)
        drive = Drive(client)
        # a bag that loops: twice from 100 s to 103 s, then one that was recorded years later
        for number, now_s in enumerate([100, 101, 103, 100, 103, 1.7e9, 1.7e9, 50]):
            started = time.monotonic()
            timing = drive.show(now_s - 0.25, now_s, f"frame_{number}")
            elapsed_ms = (time.monotonic() - started) * 1e3
            assert timing.age_on_arrival_ms == pytest.approx(250, abs=1)
            stages_ms = [timing.stages_ms[stage] for stage in STAGES]
            assert all(0.0 <= ms < elapsed_ms for ms in stages_ms)
            assert sum(stages_ms) > 0.1
            # the clock stands still, the network does not
            assert timing.end_to_end_ms > timing.age_on_arrival_ms
        # older than max_age by the drive's clock
        message = bgr8(make_picture())
        message.header.stamp = to_stamp(40.0)
        drive.images.publish(message)
        client.wait_for_status(
            "camera: too_old", lambda _, values: values["too_old"] == "1", "an old image"
        )
        status, _ = client.wait_for_status("node", lambda *_: True, "diagnostics without a clock")
        assert status.level == DiagnosticStatus.OK
        client.close()
        assert process.end()[0] == 0


def test_repeated_and_swapped_stamps_are_labelled_one_by_one(client):
    drive = Drive(client)
    timings = [
        drive.show(stamp_s, frame_id=f"frame_{number}")
        for number, stamp_s in enumerate([10, 10, 12, 11, 13, 9, 0, 0])
    ]
    labelled = [timing.labelled for timing in timings]
    assert labelled == sorted(set(labelled))
    assert [t.age_on_arrival_ms > 1e9 for t in timings] == [True] * 6 + [False] * 2
    status, _ = client.wait_for_status("camera: lost", lambda *_: True, "losses")
    assert status.level == DiagnosticStatus.OK


def test_frames_are_young_though_the_network_is_slower_than_the_camera(client):
    rate, count = 30, 90
    for step in ("deactivate", "cleanup"):
        assert client.change_state(step)
    assert client.set_parameter("input_size", [512, 1024]) == (True, "")
    for step in ("configure", "activate"):
        assert client.change_state(step)
    client.listen(DiagnosticArray, "timing")
    images = client.node.create_publisher(Image, "image", 10)
    message = bgr8(make_picture())

    def send():
        message.header.stamp = client.node.get_clock().now().to_msg()
        images.publish(message)

    def answered():
        send()
        client.spin_for(0.2)
        return client.received["timing"]

    client.wait_until(answered, "a first answer")
    client.received["timing"].clear()
    start = time.monotonic()
    for number in range(count):
        client.spin_for(max(0.0, start + number / rate - time.monotonic()))
        send()
    client.answer(message.header, "timing")
    timings = [FrameTiming.from_message(m) for m in client.received["timing"]]
    assert len(timings) < count / 2
    last = timings[-1]
    fates = last.labelled + last.dropped + last.malformed + last.failed + last.too_old
    assert last.received == fates
    assert last.dropped > count / 3
    assert statistics.median(t.age_on_arrival_ms for t in timings) < 1000 / rate
