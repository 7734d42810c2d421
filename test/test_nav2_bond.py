"""The bond with a Nav2 lifecycle manager, where bondpy is installed; silence where it is not."""

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from node_under_test import Client, NodeProcess, make_checkpoint
from std_msgs.msg import Empty

from erf_seg_ros import nav2_bond


@pytest.fixture
def node(context):
    node = rclpy.create_node("segmentation", context=context)
    yield node
    node.destroy_node()


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


class BondOfBondpy:
    """The part of bondpy 4's Bond that is used, with its constructor (ros/bond_core, ros2)."""

    def __init__(self, node, topic, bond_id, on_broken=None, on_formed=None):
        self.id = bond_id
        self.heartbeat_period = self.heartbeat_timeout = math.nan
        self.is_shutdown = False
        self.pub = node.create_publisher(Empty, topic, 1)
        self._subscribe = lambda: node.create_subscription(Empty, topic, lambda _: None, 1)

    def start(self):
        self.sub = self._subscribe()

    def shutdown(self):
        self.is_shutdown = True
        self.sub.destroy()
        self.pub.destroy()


def test_bond_is_made_and_ended_as_bondpy_wants_it(node, monkeypatch):
    monkeypatch.setattr(nav2_bond, "Bond", BondOfBondpy)
    bond = nav2_bond.Nav2Bond(node, 0.1)
    made = bond._bond
    assert bond.formed
    assert (made.id, made.heartbeat_period, made.heartbeat_timeout) == ("segmentation", 0.1, 4.0)
    assert len(bond_publishers(node)) == 1
    bond.end()
    assert made.is_shutdown
    assert not bond.formed
    assert not bond_publishers(node)
    assert not [s for s in node.subscriptions if s.topic_name == "/bond"]


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
