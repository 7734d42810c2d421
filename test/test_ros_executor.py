"""What a callback or a transition raises is told, and the node goes on."""

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import TransitionCallbackReturn

from erf_seg_ros.executor import AsideExecutor
from erf_seg_ros.lifecycle import SteadyLifecycleNode, transition

PATIENCE_S = 20.0


@pytest.mark.parametrize("aside", [False, True], ids=["spinning thread", "aside"])
def test_a_callback_that_raises_is_logged_and_the_others_go_on(context, capfd, aside):
    node = rclpy.create_node("stumbling", context=context)
    slow = MutuallyExclusiveCallbackGroup()
    calls = []

    def stumble():
        calls.append("stumbled")
        raise RuntimeError("over a stone")

    node.create_timer(0.01, stumble, callback_group=slow if aside else None)
    executor = AsideExecutor(slow, context)
    executor.add_node(node)
    deadline = time.monotonic() + PATIENCE_S
    while len(calls) < 3 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    assert len(calls) >= 3
    told = capfd.readouterr().err
    assert "a callback failed" in told
    assert "RuntimeError: over a stone" in told


class Stumbling(SteadyLifecycleNode):
    @transition
    def on_activate(self, state):
        raise KeyError("bond")

    @transition
    def on_error(self, state):
        return TransitionCallbackReturn.SUCCESS


def test_a_transition_that_raises_says_why(ros_domain_id, capfd):
    rclpy.init()
    node = Stumbling("stumbling")
    try:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() is TransitionCallbackReturn.ERROR
        assert node.failure == "on_activate failed: KeyError: 'bond'"
        assert "Traceback" in capfd.readouterr().err
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS  # it can start over
    finally:
        node.destroy_node()
        rclpy.shutdown()
