"""How the nodes start: arguments that ROS cannot use, parameters that nobody has."""

from contextlib import closing

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from node_under_test import PATIENCE_S, Client, CloudNodeProcess, NodeProcess


@pytest.mark.parametrize("kind", [NodeProcess, CloudNodeProcess])
@pytest.mark.parametrize(
    "arguments",
    [["--params-file", "nowhere.yaml"], ["-r", "image:=bad//topic"], ["-r", "image:="]],
)
def test_arguments_that_ros_cannot_use_end_the_start_with_a_word(tmp_path, kind, arguments):
    with kind(tmp_path / "log", *arguments) as node:
        assert node.process.wait(PATIENCE_S) == 2
        assert "cannot start: " in node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("kind", "wrong", "meant"),
    [(NodeProcess, "modle", "model"), (CloudNodeProcess, "queue_sise", "queue_size")],
)
def test_a_misspelled_parameter_is_told(tmp_path, ros_domain_id, kind, wrong, meant):
    parameters = {wrong: 3, "use_sim_time": False, "of_another_node": 1}
    if kind is NodeProcess:
        parameters["autostart"] = False
    with kind(tmp_path / "log", **parameters) as node, closing(Client()) as client:
        client.wait_until(lambda: f"was '{meant}' meant?" in node.log, "the warning in the log")
        assert "of_another_node" not in node.log
        assert node.end()[0] == 0
