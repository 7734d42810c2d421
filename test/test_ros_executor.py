"""What a callback or a transition raises is told, and the node goes on."""

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.waitable import NumberOfEntities, Waitable
from std_msgs.msg import Header

from erf_seg_ros.executor import MOST_FAILURES, AsideExecutor
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


class Hand(Waitable):
    """Destroys a subscription just when the executor has begun to wait for it."""

    def __init__(self, node):
        super().__init__(MutuallyExclusiveCallbackGroup())
        self._node = node
        node.add_waitable(self)  # the executor begins with what was there first
        self.subscription = node.create_subscription(Header, "headers", print, 1)

    def __enter__(self):
        if self.subscription is not None:
            self._node.destroy_subscription(self.subscription)
        self.subscription = None

    def __exit__(self, *_):
        pass

    def get_num_entities(self):
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set):
        pass

    def is_ready(self, wait_set):
        return False


def test_a_subscription_that_goes_meanwhile_does_not_end_the_executor(context):
    node = rclpy.create_node("handing", context=context)
    executor = AsideExecutor(MutuallyExclusiveCallbackGroup(), context)
    hand = Hand(node)
    calls = []
    node.create_timer(0.01, lambda: calls.append("called"))
    executor.add_node(node)
    deadline = time.monotonic() + PATIENCE_S
    while not calls and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    assert hand.subscription is None
    assert calls


class Rotten(Waitable):
    """Asks for a timer that is gone, as rclpy does if another thread destroys it at that moment."""

    def __init__(self, node, times):
        super().__init__(MutuallyExclusiveCallbackGroup())
        self._timer = node.create_timer(1.0, print)
        node.destroy_timer(self._timer)
        self._left = times
        node.add_waitable(self)

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass

    def get_num_entities(self):
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set):
        self._left -= 1
        if self._left >= 0:
            self._timer.handle.is_timer_ready()

    def is_ready(self, wait_set):
        return False


def spin(executor, times):
    for _ in range(times):
        executor.spin_once(timeout_sec=0.0)


def test_what_rclpy_cannot_wait_for_is_tried_again_but_not_for_ever(context):
    node = rclpy.create_node("rotten", context=context)
    executor = AsideExecutor(context=context)
    executor.add_node(node)
    calls = []
    node.create_timer(0.0, lambda: calls.append("called"))
    Rotten(node, times=3)
    spin(executor, 5)
    assert calls
    Rotten(node, times=MOST_FAILURES)
    with pytest.raises(RuntimeError, match="timer"):
        spin(executor, MOST_FAILURES)
    executor.shutdown()
    node.destroy_node()


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
