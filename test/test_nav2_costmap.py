"""config/nav2_semantic_costmap.yaml against what our nodes publish and what the layer reads.

The layer's side (names, types, defaults) is that of semantic_segmentation_layer.cpp and
segmentation_buffer.hpp in github.com/kiwicampus/semantic_segmentation_layer, April 2026.
"""

from collections import Counter
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from erf_seg_ros import segmentation_node, semantic_cloud_node
from erf_seg_ros.cloud_parameters import CLOUD_SPECS
from erf_seg_ros.parameter_specs import SPECS

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "config" / "nav2_semantic_costmap.yaml"
CLASS_SETS = sorted((ROOT / "erf_seg_core" / "class_set_files").glob("*.yaml"))
CLASS_MAPS = sorted((ROOT / "config" / "class_maps").glob("*.yaml"))

LAYER = {
    "plugin": str,
    "enabled": bool,
    "combination_method": int,
    "use_approximate_time_sync": bool,
    "observation_sources": str,
}
SOURCE = {
    "segmentation_topic": str,
    "confidence_topic": str,
    "labels_topic": str,
    "pointcloud_topic": str,
    "max_obstacle_distance": float,
    "min_obstacle_distance": float,
    "tile_map_decay_time": float,
    "expected_update_rate": float,
    "use_cost_selection": bool,
    "class_types": list,
}
CLASS_TYPE = {
    "classes": list,
    "base_cost": int,
    "max_cost": int,
    "mark_confidence": int,
    "samples_to_max_cost": int,
    "dominant_priority": bool,
}


@pytest.fixture(scope="module")
def sections():
    return {
        node: content["ros__parameters"]
        for node, content in yaml.safe_load(FILE.read_text()).items()
    }


@pytest.fixture(scope="module")
def layer(sections):
    return sections["/local_costmap/local_costmap"]["semantic_layer"]


def test_our_nodes_know_their_parameters(sections):
    ours = {
        f"/{segmentation_node.NODE_NAME}": SPECS,
        f"/{semantic_cloud_node.NODE_NAME}": CLOUD_SPECS,
    }
    assert set(sections) == {*ours, "/local_costmap/local_costmap"}
    for node, specs in ours.items():
        known = {spec.name: spec for spec in specs}
        for name, value in sections[node].items():
            assert type(value) is type(known[name].default)
            assert known[name].refusal(value) is None


def test_layer_reads_what_we_publish(layer):
    segmentation = f"/{segmentation_node.NODE_NAME}"
    assert layer["camera"]["segmentation_topic"] == f"{segmentation}/label"
    assert layer["camera"]["confidence_topic"] == f"{segmentation}/confidence"
    assert layer["camera"]["labels_topic"] == f"{segmentation}/label_info"
    assert layer["camera"]["pointcloud_topic"] == f"/{semantic_cloud_node.NODE_NAME}/points"


def test_parameters_have_the_layers_names_and_types(sections, layer):
    assert "semantic_layer" in sections["/local_costmap/local_costmap"]["plugins"]
    source = layer["observation_sources"]
    types = layer[source]["class_types"]
    for content, known, others in (
        (layer, LAYER, {source}),
        (layer[source], SOURCE, set(types)),
        *((layer[source][name], CLASS_TYPE, set()) for name in types),
    ):
        assert set(content) - set(known) == others
        for name in set(content) - others:
            assert type(content[name]) is known[name], name


@pytest.mark.parametrize("file", [*CLASS_SETS, *CLASS_MAPS], ids=lambda file: file.stem)
def test_every_class_of_what_we_ship_has_one_cost(layer, file):
    """LabelInfo lists them all, and the layer calls one without a cost a critical error."""
    content = yaml.safe_load(file.read_text())
    names = [c["name"] for c in content["classes"]]
    costs = Counter(name for kind in kinds(layer).values() for name in kind["classes"])
    assert {name: costs[name] for name in names} == dict.fromkeys(names, 1)


def test_costs_are_bytes_and_cautious(layer):
    for kind in kinds(layer).values():
        assert 0 <= kind["base_cost"] <= kind["max_cost"] <= 254  # 255 is "no information"
        assert 0 <= kind.get("mark_confidence", 0) < 255
    cost = {name: kind["max_cost"] for kind in kinds(layer).values() for name in kind["classes"]}
    assert cost["road"] == cost["drivable"] == 0
    assert cost["road"] < cost["pavement"] < cost["pole"]
    assert cost["pedestrian"] == cost["person"] == cost["mover"] == 254


def kinds(layer):
    return {name: layer["camera"][name] for name in layer["camera"]["class_types"]}
