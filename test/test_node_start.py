"""How the nodes start: arguments that ROS cannot use, parameters that nobody has."""

import json
from contextlib import closing
from unittest.mock import Mock

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from node_under_test import PATIENCE_S, Client, CloudNodeProcess, NodeProcess

from erf_seg_ros.cloud_parameters import CLOUD_SPECS
from erf_seg_ros.parameter_specs import SPECS
from erf_seg_ros.start import warn_of_misspelled_parameters


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


@pytest.mark.parametrize(
    ("specs", "other"), [(SPECS, CLOUD_SPECS), (CLOUD_SPECS, SPECS)], ids=["segmentation", "cloud"]
)
def test_parameters_of_the_other_node_are_not_taken_for_misspelled(context, specs, other):
    words = [word for spec in other for word in ("-p", f"{spec.name}:={json.dumps(spec.default)}")]
    node = rclpy.create_node("node", context=context, cli_args=["--ros-args", *words])
    for spec in specs:
        node.declare_parameter(spec.name, spec.default)
    warnings = []
    node.get_logger = lambda: Mock(warning=warnings.append)
    warn_of_misspelled_parameters(node)
    assert warnings == []
