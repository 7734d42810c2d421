"""Signals as a flag, and an end to a process that does not come to one."""

import faulthandler
import os
import signal
import subprocess
import sys

import pytest

from erf_seg_ros.stop_signal import StopSignal


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    result = StopSignal()
    result.install()
    yield result
    faulthandler.cancel_dump_traceback_later()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_only_sets_the_flag(stop, number):
    assert not stop.raised
    os.kill(os.getpid(), number)
    assert stop.raised


HANGS = """
import signal, threading, time
from erf_seg_ros.replay import events
from erf_seg_ros import stop_signal

stop_signal.LAST_RESORT_S = events.LAST_RESORT_S = 0.5
{install}

def does_not_end():
    while True:
        time.sleep(60)

print("ready", flush=True)
does_not_end()
"""


@pytest.mark.parametrize(
    "install",
    [
        "stop_signal.StopSignal().install()",
        "events.set_on_signals((signal.SIGINT, signal.SIGTERM), threading.Event())",
    ],
)
def test_process_that_hangs_says_where_and_ends(install):
    code = HANGS.format(install=install)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "does_not_end" in stderr


@pytest.mark.parametrize("farewell", ["finish", "destroy_node"])
def test_a_farewell_that_fails_is_still_a_good_end(ros_domain_id, monkeypatch, farewell):
    """A transition in the other thread may take the same things away at that moment."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from erf_seg_ros import segmentation_node

    kind = segmentation_node.SegmentationNode
    original = getattr(kind, farewell)

    def fail(node):
        monkeypatch.setattr(kind, farewell, original)
        raise IndexError("list index out of range")

    monkeypatch.setattr(kind, farewell, fail)
    stop = StopSignal()
    stop.raised = True
    rclpy.init()
    try:
        assert segmentation_node._run(stop) == 0
    finally:
        rclpy.shutdown()
