"""Player and recorder as processes of their own, over real DDS; stamps there and back."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from replay_bags import CAMERA, FIRST_NS, INFO, PERIOD_NS, make_bag
from rosbags.typesys import Stores, get_typestore

from erf_seg_core.bags import BagReader
from erf_seg_core.errors import ErfSegError
from erf_seg_ros import dds_profile
from erf_seg_ros.replay.events import read_events
from erf_seg_ros.replay.played_frames import (
    LiveStamps,
    PlayedFrame,
    PlayedFramesWriter,
    read_played_frames,
)
from erf_seg_ros.replay.player import wait_until_active
from erf_seg_ros.replay.stamps import read_stamp_ns, starts_with_header, with_stamp_ns
from erf_seg_ros.replay.timeline import PlayOptions, timed_messages

FRAMES = 12
PATIENCE_S = 60
PADDINGS = (b"\0", b"\0\0", b"\0\0\0")


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return make_bag(tmp_path_factory.mktemp("bags") / "drive", FRAMES)


@pytest.fixture
def start(ros_domain_id, tmp_path):
    """Starts `python -m erf_seg_ros.replay.<name>`; whatever still runs is killed afterwards."""
    started = []

    def start(name, *arguments):
        root = Path(dds_profile.__file__).parents[1]
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
        process = subprocess.Popen(
            [sys.executable, "-m", f"erf_seg_ros.replay.{name}", *map(str, arguments)],
            env={**os.environ, **dds_profile.environment(), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=(tmp_path / f"{name}.log").open("w"),
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


def wait_for(process, name):
    """Read events up to the one of that name and return it."""
    for event in read_events(process.stdout):
        if event["event"] == name:
            return event
    raise AssertionError(f"the process ended without the event '{name}'")


def messages(path):
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.topics]
        return [(m.topic, m.msgtype, m.time_ns, bytes(m.raw)) for m in reader.messages(topics)]


def same_message(sent, received):
    """Equal but for the zeros with which DDS fills a message up to a multiple of four bytes."""
    (*place, raw), (*other_place, other_raw) = sent, received
    padding = other_raw[len(raw) :]
    return place == other_place and other_raw.startswith(raw) and padding in (b"", *PADDINGS)


def record(start, bag, tmp_path, *player_arguments, end=signal.SIGINT):
    """Play the bag to the recorder; returns the recorded bag and the table of frames played."""
    table = tmp_path / "played.csv"
    recorder = start("recorder", tmp_path / "recorded", CAMERA, INFO, f"--live-stamps={table}")
    player = start(
        "player", bag, f"--image-topic={CAMERA}", f"--other-topic={INFO}",
        f"--frames-file={table}", f"--timeout={PATIENCE_S}", "--hold", *player_arguments,
    )  # fmt: skip
    wait_for(recorder, "ready")
    sent = wait_for(player, "done")["sent"]
    counted = 0
    for event in read_events(recorder.stdout):
        counted += event["event"] == "message" and event["topic"] == INFO
        if counted == sent:
            break
    recorder.send_signal(end)
    assert wait_for(recorder, "closed")["written"] == 2 * sent
    assert recorder.wait(PATIENCE_S) == 0
    player.send_signal(signal.SIGTERM)
    assert player.wait(PATIENCE_S) == 0
    return tmp_path / "recorded", read_played_frames(table)


def test_a_played_bag_is_recorded_byte_for_byte(start, bag, tmp_path):
    before_ns = time.time_ns()
    recorded, frames = record(start, bag, tmp_path)
    chosen = [m for m in messages(bag) if m[0] in (CAMERA, INFO)]
    for sent, received in zip(sorted(chosen), sorted(messages(recorded)), strict=True):
        assert same_message(sent, received)
    assert [f.recorded_ns for f in frames] == [FIRST_NS + i * PERIOD_NS for i in range(FRAMES)]
    offsets = {f.live_ns - f.recorded_ns for f in frames}
    assert len(offsets) == 1  # real time: one offset for all
    assert before_ns < frames[0].live_ns < time.time_ns()


def test_frames_go_out_at_their_deadlines_without_drift(start, bag, tmp_path):
    _, frames = record(start, bag, tmp_path, "--rate=2", end=signal.SIGTERM)
    assert all(f.late_us >= 0 for f in frames)
    # Each is measured from the start, so that the lateness of one does not add to the next's.
    assert np.median([f.late_us for f in frames]) < 20_000
    live_s = (frames[-1].live_ns - frames[0].live_ns) / 1e9
    assert live_s == pytest.approx((FRAMES - 1) * PERIOD_NS / 1e9 / 2, abs=1e-6)
    sent_s = (frames[-1].sent_ns - frames[0].sent_ns) / 1e9
    late_s = (frames[-1].late_us - frames[0].late_us) / 1e6
    assert sent_s - late_s == pytest.approx(live_s, abs=0.01)


def test_player_waits_while_the_node_passes_through_resting_states(ros_domain_id):
    on_the_way = [State.PRIMARY_STATE_UNCONFIGURED, State.TRANSITION_STATE_CONFIGURING]
    on_the_way += [State.PRIMARY_STATE_INACTIVE, State.TRANSITION_STATE_ACTIVATING]
    states = [*on_the_way, State.PRIMARY_STATE_ACTIVE]

    def answer(request, response):
        # a late answer is asked for again
        response.current_state.id = states.pop(0) if len(states) > 1 else states[0]
        return response

    rclpy.init()
    node, asked = rclpy.create_node("asking"), rclpy.create_node("asked")
    asked.create_service(GetState, "/asked/get_state", answer)
    executor = SingleThreadedExecutor()
    executor.add_node(asked)

    def spin():
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        wait_until_active(node, "/asked", 20.0, threading.Event())
        assert states == [State.PRIMARY_STATE_ACTIVE]
    finally:
        rclpy.shutdown()
        thread.join()


def test_player_says_which_topics_nobody_subscribed_to(start, bag, tmp_path):
    player = start(
        "player", bag, f"--image-topic={CAMERA}", f"--frames-file={tmp_path / 'played.csv'}",
        "--wait-subscribed=/elsewhere", "--timeout=0.3",
    )  # fmt: skip
    message = wait_for(player, "error")["message"]
    assert player.wait(PATIENCE_S) == 2
    assert CAMERA in message
    assert "/elsewhere" in message


def test_player_refuses_a_topic_that_the_bag_has_not(start, bag, tmp_path):
    player = start("player", bag, "--image-topic=/rear/image", f"--frames-file={tmp_path / 'x'}")
    message = wait_for(player, "error")["message"]
    assert "/rear/image" in message
    assert CAMERA in message
    assert player.wait(PATIENCE_S) == 2


def test_recorder_ends_by_itself_once_it_is_quiet(start, bag, tmp_path):
    recorder = start("recorder", tmp_path / "recorded", CAMERA, "--quiet=3")
    player = start(
        "player", bag, f"--image-topic={CAMERA}", f"--frames-file={tmp_path / 'played.csv'}",
        "--frames=3", "--hold",
    )  # fmt: skip
    assert wait_for(recorder, "closed")["written"] == 3
    assert recorder.wait(PATIENCE_S) == 0
    stamps = [read_stamp_ns(raw) for _, _, _, raw in messages(tmp_path / "recorded")]
    live = [f.live_ns for f in read_played_frames(tmp_path / "played.csv")]
    assert stamps == live  # nobody told it of other stamps
    assert player.poll() is None


@pytest.mark.parametrize("little_endian", [True, False])
def test_stamp_is_replaced_and_nothing_else(little_endian):
    store = get_typestore(Stores.LATEST)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](1_700_000_000, 999_999_999)
    header = types["std_msgs/msg/Header"](stamp, "camera")
    message = types["sensor_msgs/msg/CompressedImage"](header, "jpeg", np.arange(9, dtype=np.uint8))
    raw = bytes(store.serialize_cdr(message, message.__msgtype__, little_endian=little_endian))
    assert read_stamp_ns(raw) == 1_700_000_000_999_999_999
    other = store.deserialize_cdr(with_stamp_ns(raw, 5_000_000_007), message.__msgtype__)
    assert (other.header.stamp.sec, other.header.stamp.nanosec) == (5, 7)
    assert with_stamp_ns(with_stamp_ns(raw, 5), 1_700_000_000_999_999_999) == raw


def test_only_types_that_start_with_a_header_are_stamped():
    assert starts_with_header("sensor_msgs/msg/Image")
    assert starts_with_header("diagnostic_msgs/msg/DiagnosticArray")
    assert not starts_with_header("tf2_msgs/msg/TFMessage")
    assert not starts_with_header("my_msgs/msg/Unknown")
    with pytest.raises(ErfSegError, match="too short"):
        read_stamp_ns(b"\0\1\0\0abc")


def test_live_stamps_follow_a_growing_table(tmp_path):
    table = tmp_path / "played.csv"
    stamps = LiveStamps(table)
    assert stamps.recorded_ns(1000) is None  # no table yet
    with PlayedFramesWriter(table) as writer:
        assert stamps.recorded_ns(1000) is None
        writer.append(PlayedFrame(recorded_ns=10, live_ns=1000, sent_ns=0, late_us=0))
        assert stamps.recorded_ns(1000) == 10
        assert stamps.recorded_ns(999) is None  # before the first frame
        writer.append(PlayedFrame(recorded_ns=20, live_ns=1005, sent_ns=0, late_us=0))
        assert stamps.recorded_ns(1005) == 20
        assert stamps.recorded_ns(1007) == 22  # no frame's: placed by its distance
        assert stamps.recorded_ns(1000) == 10


def image_stamps(options):
    return [m.recorded_ns for m in timed_messages(options) if m.topic == options.image_topic]


def test_limits_count_frames_and_recorded_seconds(bag):
    def stamps(**limits):
        return image_stamps(PlayOptions(bag, CAMERA, (INFO,), **limits))

    assert stamps() == [FIRST_NS + i * PERIOD_NS for i in range(FRAMES)]
    assert stamps(frames=3) == stamps()[:3]
    assert stamps(seconds=4 * PERIOD_NS / 1e9) == stamps()[:4]
    assert stamps(seconds=99, frames=99) == stamps()
