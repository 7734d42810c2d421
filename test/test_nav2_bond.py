"""The bond with a Nav2 lifecycle manager, where bondpy is installed; silence where it is not."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from node_under_test import Client, NodeProcess, make_checkpoint

from erf_seg_ros import nav2_bond


@pytest.fixture
def node(ros_domain_id):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("segmentation", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def bond_publishers(node):
    return [p for p in node.publishers if p.topic_name == "/bond"]


def test_no_bond_is_made_with_a_period_of_zero(node):
    bond = nav2_bond.Nav2Bond(node, 0.0)
    assert not bond.formed
    assert not bond_publishers(node)
    bond.end()


@pytest.mark.skipif(nav2_bond.Bond is not None, reason="bondpy is installed")
def test_without_bondpy_nothing_is_published(node):
    bond = nav2_bond.Nav2Bond(node, 0.1)
    assert not bond.formed
    assert not bond_publishers(node)
    bond.end()


@pytest.mark.skipif(nav2_bond.Bond is None, reason="bondpy is not installed; it comes with Nav2")
def test_heartbeats_from_activation_to_deactivation(tmp_path, ros_domain_id):
    from bond.msg import Status

    model = make_checkpoint(tmp_path / "small.safetensors")
    parameters = {"model": model, "device": "cpu", "engine": "torch", "threads": 1}
    with NodeProcess(tmp_path / "node.log", **parameters) as process:
        client = Client()
        beats = []
        client.node.create_subscription(Status, "/bond", beats.append, 10)
        client.wait_until(lambda: len(beats) > 3, "heartbeats")
        assert {(beat.id, beat.active) for beat in beats} == {("segmentation", True)}
        assert client.change_state("deactivate")
        client.wait_until(lambda: not beats[-1].active, "the end of the bond")
        client.wait_until(lambda: not client.node.count_publishers("/bond"), "no publisher")
        client.close()
        assert process.end()[0] == 0
