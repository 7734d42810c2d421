"""Player process: sends topics of a bag over DDS in real time, byte for byte but for the stamps.

    python -m erf_seg_ros.replay.player BAG --image-topic /camera/image_raw --frames-file played.csv

Header stamps are moved to the present, so that the age of a frame on arrival is the age that a live
camera's frame would have; the table in `--frames-file` maps each back to the recorded stamp.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from erf_seg_core.bags import BagReader
from erf_seg_core.errors import ErfSegError

from .events import STOP_PLAYING, emit, set_on_signals
from .message_types import message_class
from .played_frames import PlayedFrame, PlayedFramesWriter
from .ros_process import run_with_ros
from .stamps import NS_PER_S, starts_with_header, with_stamp_ns
from .timeline import PlayOptions, TimedMessage, timed_messages

LEAD_IN_S = 0.5
"""From "matched" to the first frame: a reader knows its writer a moment after the writer does."""

RESTING_S = 2.0

RESTING_STATES = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)

# Reliable offers match best-effort and reliable readers alike; the short history is that of a
# camera driver, so that a slow reader loses frames here as it would there.
CAMERA_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)


class Player:
    """Publishes a bag's messages at their deadlines; ends early, in order, once `stop` is set."""

    def __init__(self, node: Node, options: PlayOptions, stop: threading.Event) -> None:
        """Create one publisher for each topic."""
        self._node = node
        self._options = options
        self._stop = stop
        with BagReader(options.bag) as bag:
            types = {topic.name: topic.msgtype for topic in bag.topics}
        self._publishers: dict[str, Publisher] = {}
        for topic in (options.image_topic, *options.other_topics):
            if topic not in types:
                raise ErfSegError(
                    f"{options.bag} has no topic {topic}; it has {', '.join(sorted(types))}"
                )
            kind = message_class(types[topic])
            self._publishers[topic] = node.create_publisher(kind, topic, CAMERA_QOS)

    def wait_for_subscribers(self, others: Sequence[str], timeout_s: float) -> None:
        """Return when every played topic has a matched subscriber, and every one of `others`.

        `others` are topics that somebody else publishes: a recorder must listen before we start.
        Raises `ErfSegError` naming the topics that nobody subscribed to in time.
        """
        deadline = time.monotonic() + timeout_s
        while missing := self._without_subscriber(others):
            if time.monotonic() > deadline:
                raise ErfSegError(
                    f"nobody subscribed to {', '.join(missing)} within {timeout_s:g} s; "
                    "is the node running, in this ROS domain, with its inputs remapped?"
                )
            if self._stop.wait(0.02):
                return

    def _without_subscriber(self, others: Sequence[str]) -> list[str]:
        unmatched = [t for t, p in self._publishers.items() if not p.get_subscription_count()]
        return unmatched + [t for t in others if not self._node.count_subscribers(t)]

    def play(self, table: PlayedFramesWriter) -> int:
        """Send everything; returns how many camera frames were sent."""
        start = time.monotonic() + LEAD_IN_S
        start_wall_ns = time.time_ns() + int(LEAD_IN_S * NS_PER_S)
        first_ns, sent = None, 0
        for message in timed_messages(self._options):
            if first_ns is None:
                first_ns = message.recorded_ns
            played_ns = round((message.recorded_ns - first_ns) / self._options.rate)
            if not self._wait_until(start + played_ns / NS_PER_S):
                break
            late_us = round((time.monotonic() - start) * 1e6 - played_ns / 1000)
            live_ns = start_wall_ns + played_ns
            if message.topic == self._options.image_topic:
                table.append(PlayedFrame(message.recorded_ns, live_ns, time.time_ns(), late_us))
                sent += 1
                emit("frame", sent=sent, live_ns=live_ns)
            self._publish(message, live_ns)
        return sent

    def flush(self) -> None:
        """Wait until reliable readers have confirmed the last frames."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=2.0))

    def _publish(self, message: TimedMessage, live_ns: int) -> None:
        raw = message.raw
        if starts_with_header(message.msgtype):
            raw = with_stamp_ns(raw, live_ns)
        self._publishers[message.topic].publish(raw)

    def _wait_until(self, deadline: float) -> bool:
        """Sleep until the monotonic `deadline`; False if told to stop."""
        return not self._stop.wait(max(0.0, deadline - time.monotonic()))


def wait_until_active(node: Node, target: str, timeout_s: float, stop: threading.Event) -> None:
    """Return when lifecycle node `target`, which starts itself, is active.

    Raises `ErfSegError` when it tried and failed, or is not there after `timeout_s`. On the way it
    passes through resting states; one in which it stays for `RESTING_S` is where it ended.
    """
    client = node.create_client(GetState, f"{target}/get_state")
    deadline = time.monotonic() + timeout_s
    on_its_way = time.monotonic()
    while not stop.is_set():
        if client.wait_for_service(timeout_sec=0.1):
            future = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, future, timeout_sec=1.0)
            state = future.result().current_state if future.done() else State()
            if state.id == State.PRIMARY_STATE_ACTIVE:
                return
            if state.id not in RESTING_STATES:
                on_its_way = time.monotonic()
            elif time.monotonic() - on_its_way > RESTING_S:
                raise ErfSegError(f"{target} did not become active, it is {state.label}")
        if time.monotonic() > deadline:
            raise ErfSegError(f"{target} was not active after {timeout_s:g} s")


def main(arguments: list[str] | None = None) -> int:
    """Play until the end or a signal; the exit status is 0, or 2 after an error."""
    args = _parser().parse_args(arguments)
    stop, ended = threading.Event(), threading.Event()
    set_on_signals((signal.SIGINT, signal.SIGTERM), stop, ended)
    set_on_signals((STOP_PLAYING,), stop)
    return run_with_ros(lambda: _run(args, stop, ended))


def _run(args: argparse.Namespace, stop: threading.Event, ended: threading.Event) -> None:
    options = PlayOptions(
        args.bag,
        args.image_topic,
        tuple(args.other_topic),
        args.rate,
        args.frames,
        args.seconds,
    )
    node = rclpy.create_node("erf_seg_player")
    player = Player(node, options, stop)
    if args.wait_active:
        wait_until_active(node, args.wait_active, args.timeout, stop)
    player.wait_for_subscribers(args.wait_subscribed, args.timeout)
    emit("matched")
    with PlayedFramesWriter(args.frames_file) as table:
        sent = player.play(table)
    player.flush()
    emit("done", sent=sent, interrupted=stop.is_set())
    if args.hold:
        ended.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Play a bag's camera over DDS in real time.")
    add = parser.add_argument
    add("bag", type=Path)
    add("--image-topic", required=True)
    add("--other-topic", action="append", default=[], help="played along with it")
    add("--rate", type=float, default=1.0, help="2 is twice real time")
    add("--frames", type=int, help="stop after so many frames")
    add("--seconds", type=float, help="stop after so much recorded time")
    add("--frames-file", type=Path, required=True, help="CSV of the frames sent")
    add("--wait-active", metavar="NODE", help="lifecycle node to wait for")
    add(
        "--wait-subscribed",
        action="append",
        default=[],
        metavar="TOPIC",
        help="topic of somebody else's that must have a subscriber too",
    )
    add("--timeout", type=float, default=60.0, help="seconds for every wait")
    add(
        "--hold",
        action="store_true",
        help="when done, stay until SIGINT or SIGTERM: the last frames live in this process's "
        "shared memory until their readers have copied them",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
