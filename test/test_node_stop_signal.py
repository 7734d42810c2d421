"""Signals as a flag, and as an interruption only where code asks for it."""

import os
import signal

import pytest

from erf_seg_ros.stop_signal import StopSignal


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    result = StopSignal()
    result.install()
    yield result
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_only_sets_the_flag(stop, number):
    assert not stop.raised
    os.kill(os.getpid(), number)
    assert stop.raised


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruptible_work_is_interrupted_once(stop, number):
    after = []
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            after.append("cleanup was not interrupted")
    assert after
    assert stop.raised


def test_interruptible_work_does_not_begin_after_a_signal(stop):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        pytest.fail("it began")


def test_work_without_a_signal_is_left_alone(stop):
    with stop.interruptible():
        pass
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.raised
