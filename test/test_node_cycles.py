"""A hundred lives of the lifecycle in one process leave nothing behind."""

import psutil
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from node_under_test import Client, NodeProcess, make_checkpoint
from rclpy.node import NodeNameNonExistentError

WARM_UP = 15  # cycles until the allocator has what it will reuse
CYCLES = 100
WINDOW = 10  # readings scatter by megabytes, what is leaked is in the lowest of several, too
ALLOWED_BYTES = 5_000_000
ALWAYS = ["/diagnostics", "/parameter_events", "/rosout", "/segmentation/transition_event"]


@pytest.fixture
def client(ros_domain_id):
    result = Client()
    yield result
    result.close()


def topics_of_node(client):
    """Names of what it publishes and hears, or none while the node itself is not discovered."""
    try:
        names = client.node.get_publisher_names_and_types_by_node("segmentation", "/")
        names += client.node.get_subscriber_names_and_types_by_node("segmentation", "/")
    except NodeNameNonExistentError:
        return []
    return sorted(name for name, _ in names)


def live_once(client, process):
    """Configure, activate, deactivate, clean up; returns (memory in bytes, threads, files)."""
    for transition in ("configure", "activate", "deactivate", "cleanup"):
        assert client.change_state(transition)
    return process.memory_info().rss, process.num_threads(), process.num_fds()


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_hundred_cycles_leak_nothing(client, tmp_path, engine):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    parameters = {"model": checkpoint, "engine": engine, "device": "cpu", "threads": 1}
    with NodeProcess(tmp_path / "node.log", autostart=False, **parameters) as node:
        process = psutil.Process(node.process.pid)
        client.wait_for_state("unconfigured")
        client.wait_until(lambda: topics_of_node(client) == ALWAYS, "the node's own topics")
        readings = [live_once(client, process) for _ in range(WARM_UP + CYCLES)]
        memory, threads, files = zip(*readings[WARM_UP - WINDOW :], strict=True)
        assert min(memory[-WINDOW:]) - min(memory[:WINDOW]) < ALLOWED_BYTES
        assert max(threads[-WINDOW:]) <= max(threads[:WINDOW])
        assert max(files[-WINDOW:]) <= max(files[:WINDOW])
        client.wait_until(lambda: topics_of_node(client) == ALWAYS, "the end of other topics")
        assert "Traceback" not in node.log
