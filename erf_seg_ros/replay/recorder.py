"""Recorder process: writes what arrives on topics into a rosbag2, byte for byte.

    python -m erf_seg_ros.replay.recorder labels /segmentation/label /segmentation/timing

With `--live-stamps played.csv` (the player's table) header stamps go back to the recorded ones, so
that the new bag lines up with the bag that was played. A signal ends it with a closed, valid bag.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from erf_seg_core.bags import BagWriter

from .events import emit, set_on_signals
from .message_types import message_class
from .played_frames import LiveStamps
from .ros_process import run_with_ros
from .stamps import read_stamp_ns, starts_with_header, with_stamp_ns

QUEUE_DEPTH = 100
"""Messages that may wait while the disk is slow: seconds, at a camera's rate."""


class Recorder:
    """Subscribes to topics as their publishers appear and writes every message it gets."""

    def __init__(
        self, node: Node, topics: Iterable[str], bag: BagWriter, stamps: LiveStamps | None
    ) -> None:
        """Record `topics` into the open `bag`; with `stamps`, under recorded stamps."""
        self._node = node
        self._bag = bag
        self._stamps = stamps
        self._missing = list(topics)
        self._subscriptions: list[Subscription] = []
        self.written = 0
        self.last_message: float | None = None

    def subscribe(self) -> list[str]:
        """Subscribe to topics that now have a publisher; returns those that still have none."""
        for topic in list(self._missing):
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                self._subscribe_to(topic, publishers)
                self._missing.remove(topic)
        return self._missing

    def _subscribe_to(self, topic: str, publishers: list[TopicEndpointInfo]) -> None:
        msgtype = publishers[0].topic_type
        self._subscriptions.append(
            self._node.create_subscription(
                message_class(msgtype),
                topic,
                partial(self._write, topic, msgtype),
                _matching_qos(publishers),
                raw=True,
            )
        )

    def _write(self, topic: str, msgtype: str, raw: bytes) -> None:
        self.last_message = time.monotonic()
        live_ns = read_stamp_ns(raw) if starts_with_header(msgtype) else time.time_ns()
        recorded_ns = live_ns
        if self._stamps is not None:
            recorded_ns = self._stamps.recorded_ns(live_ns)
            if recorded_ns is None:  # before the first frame there is no timeline to place it on
                return
            if starts_with_header(msgtype):
                raw = with_stamp_ns(raw, recorded_ns)
        self._bag.write_cdr(topic, msgtype, recorded_ns, raw)
        self.written += 1
        emit("message", topic=topic, live_ns=live_ns, recorded_ns=recorded_ns)


def _matching_qos(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """Ask for the most that all publishers of a topic offer, or nothing would arrive."""
    offers = [publisher.qos_profile for publisher in publishers]
    reliable = all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
    latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=QUEUE_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def main(arguments: list[str] | None = None) -> int:
    """Record until a signal or the quiet limit; the exit status is 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Record topics into a rosbag2.")
    parser.add_argument("output", type=Path)
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--storage", choices=("sqlite3", "mcap"), default="sqlite3")
    parser.add_argument("--live-stamps", type=Path, help="a player's frames file")
    parser.add_argument("--quiet", type=float, help="end after so many seconds without a message")
    args = parser.parse_args(arguments)
    stop = threading.Event()
    set_on_signals((signal.SIGINT, signal.SIGTERM), stop)
    return run_with_ros(lambda: _run(args, stop))


def _run(args: argparse.Namespace, stop: threading.Event) -> None:
    node = rclpy.create_node("erf_seg_recorder")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stamps = LiveStamps(args.live_stamps) if args.live_stamps else None
    with BagWriter(args.output, args.storage) as bag:
        recorder = Recorder(node, args.topics, bag, stamps)
        while not stop.is_set() and recorder.subscribe():
            executor.spin_once(timeout_sec=0.05)
        emit("ready")
        while not stop.is_set() and not _quiet(recorder, args.quiet):
            executor.spin_once(timeout_sec=0.1)
        _write_what_has_arrived(recorder, executor)
    emit("closed", written=bag.message_count)


def _quiet(recorder: Recorder, limit_s: float | None) -> bool:
    if limit_s is None or recorder.last_message is None:
        return False
    return time.monotonic() - recorder.last_message > limit_s


def _write_what_has_arrived(recorder: Recorder, executor: SingleThreadedExecutor) -> None:
    """Empty the queues: what was delivered before the signal belongs to the recording."""
    written = -1
    while written != recorder.written:
        written = recorder.written
        executor.spin_once(timeout_sec=0)


if __name__ == "__main__":
    sys.exit(main())
