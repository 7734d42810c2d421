"""The host exchanges and repairs real networks; what fails is an engine that is told to."""

import logging
import threading
import time

import numpy as np
import pytest
from inference_helpers import images, info_for, random_network

from erf_seg_core.errors import EngineError, ErfSegError
from erf_seg_core.inference import Segmenter
from erf_seg_ros import network_host
from erf_seg_ros.conditions import Level
from erf_seg_ros.network_host import NetworkHost

NETWORKS = {name: random_network(name) for name in ("dg4_star_light", "d_star_light")}
FIRST, SECOND = ({"model": name, "device": "cpu"} for name in NETWORKS)
PICTURE = images(1)[0]
NOW = (0.0, 0.0, 0.0)
"""Three attempts without pauses."""


class FlakyEngine:
    """A real engine that raises in its next `failures` runs, as one whose device has gone does."""

    def __init__(self, engine):
        self._engine = engine
        self.failures = 0
        self.closes = True

    def run(self, images, confidence):
        if self.failures:
            self.failures -= 1
            raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
        return self._engine.run(images, confidence)

    def close(self):
        self._engine.close()
        if not self.closes:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def __getattr__(self, name):
        return getattr(self._engine, name)


class Loader:
    """Loads networks with flaky engines; its next `failures` loads fail."""

    def __init__(self):
        self.loaded = []
        self.failures = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, options):
        assert self.hold.wait(30)
        if self.failures:
            self.failures -= 1
            raise ErfSegError("no device")
        net = NETWORKS[options["model"]]
        segmenter = Segmenter(net, info_for(net), "cpu", options.get("engine", "torch"), threads=1)
        segmenter._engine = FlakyEngine(segmenter._engine)
        segmenter.device = options["device"]  # there may be no GPU here to fail
        self.loaded.append(dict(options))
        return segmenter


@pytest.fixture
def load():
    return Loader()


@pytest.fixture
def make_host(load):
    hosts = []

    def make(options=FIRST, pauses=NOW):
        hosts.append(NetworkHost(load, options, logging.getLogger("test"), pauses))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def label(host):
    with host.turn() as segmenter:
        return segmenter(PICTURE).labels


def expected(options):
    net = NETWORKS[options["model"]]
    return Segmenter(net, info_for(net), "cpu", "torch", threads=1)(PICTURE).labels


def fail(host, times=1):
    """Let the engine fail; returns the error that the labelling thread gets."""
    host.segmenter._engine.failures = times
    with pytest.raises(EngineError) as error:
        label(host)
    return error.value


def test_exchange_between_two_batches(make_host):
    host = make_host()
    old = host.segmenter
    np.testing.assert_array_equal(label(host), expected(FIRST))
    announced = []
    host.exchange(SECOND, announced.append)
    np.testing.assert_array_equal(label(host), expected(SECOND))
    assert announced == [host.segmenter]
    with pytest.raises(ErfSegError, match="closed"):
        old(PICTURE)


@pytest.mark.parametrize("changed", ["model", "class_map"])
def test_exchange_with_a_file_that_changed_under_its_name(make_host, load, tmp_path, changed):
    files = {name: tmp_path / name for name in ("model", "class_map")}
    for file in files.values():
        file.write_text("first")
    options = {name: str(file) for name, file in files.items()}
    NETWORKS[options["model"]] = NETWORKS[FIRST["model"]]
    host = make_host({"device": "cpu", **options})
    host.exchange({"device": "cpu", **options}, lambda segmenter: None)
    assert len(load.loaded) == 1
    files[changed].write_text("another length")
    for _ in range(2):  # the second time it is in use already
        host.exchange({"device": "cpu", **options}, lambda segmenter: None)
        assert len(load.loaded) == 2
    del NETWORKS[options["model"]]


def test_exchange_waits_for_the_batch_in_hand_but_not_for_a_second(make_host):
    """Batches follow each other without a pause, as when the network is slower than the camera."""
    host = make_host()
    events = []
    stop, begun = threading.Event(), threading.Event()

    def label_without_pause():
        while not stop.is_set():
            with host.turn() as segmenter:
                events.append(segmenter.info.model)
                begun.set()
                time.sleep(0.002)  # holds the turn, as a network does
                events.append(segmenter.info.model)

    worker = threading.Thread(target=label_without_pause)
    worker.start()
    begun.wait()
    waiting_since = []
    load = host._load
    host._load = lambda options: (load(options), waiting_since.append(len(events)))[0]
    host.exchange(SECOND, lambda segmenter: events.append("exchanged"))
    stop.set()
    worker.join()
    at = events.index("exchanged")
    assert at % 2 == 0
    assert set(events[:at]) == {"dg4_star_light"}
    assert set(events[at + 1 :]) <= {"d_star_light"}
    assert at - waiting_since[0] <= 4


def test_old_network_labels_while_the_new_one_loads(make_host, load):
    host = make_host()
    load.hold.clear()
    exchange = threading.Thread(target=host.exchange, args=(SECOND, lambda segmenter: None))
    exchange.start()
    for _ in range(3):
        np.testing.assert_array_equal(label(host), expected(FIRST))
    load.hold.set()
    exchange.join()
    np.testing.assert_array_equal(label(host), expected(SECOND))


def test_network_that_does_not_load_changes_nothing(make_host, load):
    host = make_host()
    load.failures = 1
    with pytest.raises(ErfSegError, match="no device"):
        host.exchange(SECOND, lambda segmenter: pytest.fail("announced"))
    np.testing.assert_array_equal(label(host), expected(FIRST))
    assert host.verdict.level is Level.OK


def test_failed_engine_is_loaded_again(make_host, load, monkeypatch):
    host = make_host()
    error = fail(host)
    assert str(error) == "torch on cpu failed: RuntimeError: CUDA error: out of memory"
    host.recover(error, cpu=False, stop=threading.Event())
    np.testing.assert_array_equal(label(host), expected(FIRST))
    assert load.loaded == [FIRST, FIRST]
    verdict = host.verdict
    assert verdict.level is Level.WARN
    assert "out of memory" in verdict.message
    assert verdict.values == {"engine_failures": "1"}
    monkeypatch.setattr(network_host, "STEADY_S", 0.0)
    assert host.verdict.level is Level.OK


def test_attempts_are_bounded_and_granted_again(make_host, load):
    host = make_host()
    load.failures = 3
    host.recover(fail(host), cpu=False, stop=threading.Event())
    assert load.failures == 0
    assert host.verdict.level is Level.ERROR
    assert "no device" in host.verdict.message
    assert "given up" in host.verdict.message
    with pytest.raises(ErfSegError, match="given up"):
        label(host)
    host.revive()
    with pytest.raises(EngineError) as error:
        label(host)
    host.recover(error.value, cpu=False, stop=threading.Event())
    np.testing.assert_array_equal(label(host), expected(FIRST))


def test_engine_that_fails_after_each_loading_is_given_up(make_host):
    host = make_host()
    for _ in range(len(NOW)):
        host.recover(fail(host), cpu=False, stop=threading.Event())
        assert host.verdict.level is Level.WARN
    host.recover(fail(host), cpu=False, stop=threading.Event())
    assert host.verdict.level is Level.ERROR
    with pytest.raises(ErfSegError, match="given up"):
        label(host)


def test_failures_long_after_each_other_count_alone(make_host, monkeypatch):
    monkeypatch.setattr(network_host, "STEADY_S", 0.0)
    host = make_host()
    for _ in range(2 * len(NOW)):
        host.recover(fail(host), cpu=False, stop=threading.Event())
        label(host)


def test_device_that_stays_away_leaves_the_cpu(make_host, load):
    gpu = {**FIRST, "device": "cuda:0"}
    host = make_host(gpu)
    load.failures = 1
    host.recover(fail(host), cpu=True, stop=threading.Event())
    assert host.segmenter.device == "cpu"
    assert load.loaded[-1] == {**FIRST, "engine": "auto", "precision": "auto"}
    with host.turn() as segmenter:
        assert (segmenter(PICTURE).labels == expected(FIRST)).mean() > 0.99  # another engine
    assert host.verdict.level is Level.WARN
    assert "on cpu, after: torch on cuda:0 failed" in host.verdict.message
    host.exchange(gpu, lambda segmenter: None)
    assert host.verdict.level is Level.OK


def test_device_that_fails_again_at_once_leaves_the_cpu_too(make_host):
    host = make_host({**FIRST, "device": "cuda:0"})
    host.recover(fail(host), cpu=True, stop=threading.Event())
    assert host.segmenter.device == "cuda:0"
    host.recover(fail(host), cpu=True, stop=threading.Event())
    assert host.segmenter.device == "cpu"


def test_device_that_refuses_to_be_freed_leaves_the_cpu(make_host, load, caplog):
    host = make_host({**FIRST, "device": "cuda:0"})
    host.segmenter._engine.closes = False
    load.failures = 1
    host.recover(fail(host), cpu=True, stop=threading.Event())
    assert host.segmenter.device == "cpu"
    label(host)
    assert "could not be freed: RuntimeError: CUDA error: unspecified launch" in caplog.text


def test_without_permission_the_cpu_is_left_alone(make_host, load):
    host = make_host({**FIRST, "device": "cuda:0"})
    load.failures = 2
    host.recover(fail(host), cpu=False, stop=threading.Event())
    assert host.segmenter.device == "cuda:0"


def test_recovery_can_be_interrupted_and_taken_up(make_host, load):
    host = make_host(pauses=(0.0, 3600.0))
    load.failures = 1
    stop = threading.Event()
    error = fail(host)
    recovery = threading.Thread(target=host.recover, args=(error, False, stop))
    recovery.start()
    while load.failures:
        time.sleep(0.001)
    stop.set()
    recovery.join(30)
    assert not recovery.is_alive()
    host.revive()
    with pytest.raises(EngineError) as error:
        label(host)
    host.recover(error.value, cpu=False, stop=threading.Event())
    label(host)


def test_exchange_ends_a_recovery(make_host, load):
    host = make_host(pauses=(0.0, 0.2, 0.2))
    load.failures = 1
    error = fail(host)
    recovery = threading.Thread(target=host.recover, args=(error, False, threading.Event()))
    recovery.start()
    while load.failures:
        time.sleep(0.001)
    host.exchange(SECOND, lambda segmenter: None)
    recovery.join(30)
    np.testing.assert_array_equal(label(host), expected(SECOND))
    assert host.verdict.level is Level.OK


def test_failure_that_an_exchange_has_overtaken_is_no_longer_one(make_host, load):
    host = make_host()
    error = fail(host)
    host.exchange(SECOND, lambda segmenter: None)
    host.recover(error, cpu=False, stop=threading.Event())
    assert load.loaded == [FIRST, SECOND]
    np.testing.assert_array_equal(label(host), expected(SECOND))


def test_errors_that_are_not_the_engines_cost_no_network(make_host, load):
    host = make_host()
    with pytest.raises(ErfSegError), host.turn() as segmenter:
        segmenter(PICTURE[:, :, 0])
    label(host)
    assert len(load.loaded) == 1
