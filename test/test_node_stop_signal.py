"""Signals as a flag."""

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
