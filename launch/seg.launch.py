"""Start the segmentation node on one camera or several, and if wanted the semantic cloud.

    ros2 launch erf_seg_ros seg.launch.py model:=dg4 image:=/camera/image_raw
    ros2 launch erf_seg_ros seg.launch.py cameras:=front,left image:=/{camera}/image_raw
    ros2 launch erf_seg_ros seg.launch.py image:=/camera/image_raw cloud:=true depth:=/camera/depth

`ros2 launch erf_seg_ros seg.launch.py --show-args` explains the arguments. Parameters come from
`config/segmentation.yaml`, then from `params_file`, then from the arguments given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch_ros.actions import Node

from erf_seg_ros import dds_profile
from erf_seg_ros.launch_arguments import (
    camera_topic,
    cameras_in,
    described_parameters,
    logger_name,
    node_parameters,
    topic_remaps,
    typed,
)

PACKAGE = "erf_seg_ros"
DEFAULT_PARAMETERS = Path(__file__).resolve().parents[1] / "config" / "segmentation.yaml"

OTHER_ARGUMENTS = {
    "image": "image topic; empty: image, or <camera>/image of several cameras. With several, "
    "{camera} stands for the name, and front_image:=/topic is camera front's own. With "
    "transport:=compressed the /compressed sibling is read",
    "camera_info": "calibration topic, written as image is; empty: the image topic's sibling",
    "cloud": "true: start semantic_cloud_node for each camera, too",
    "depth": "cloud: registered depth image, 16UC1 or 32FC1, written as image is",
    "depth_camera_info": "cloud: calibration of the depth image; empty: its sibling camera_info",
    "points": "cloud: organised cloud registered to the image, instead of depth",
    "cloud_color": "cloud: class or image; empty: from params_file, else class",
    "namespace": "namespace of the nodes and their topics",
    "params_file": "YAML file with parameters, such as a copy of config/segmentation.yaml",
    "log_level": "debug, info, warn, error or fatal",
    "respawn": "true: start a node again whenever it dies",
}
DEFAULTS = {"cloud": "false", "log_level": "info", "respawn": "false"}


def generate_launch_description() -> LaunchDescription:
    """Return arguments, environment and nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=DEFAULTS.get(name, ""), description=description)
        for name, description in {**OTHER_ARGUMENTS, **described_parameters()}.items()
    ]
    environment = [
        SetEnvironmentVariable(name, value) for name, value in dds_profile.environment().items()
    ]
    return LaunchDescription([*arguments, *environment, OpaqueFunction(function=_start_nodes)])


def _start_nodes(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    parameters = node_parameters(given)
    files = [given["params_file"]] if given["params_file"] else []
    cameras = parameters.get("cameras") or cameras_in(files) or [""]
    nodes = [
        _node(
            given,
            "segmentation_node",
            "segmentation",
            [str(DEFAULT_PARAMETERS), *files, parameters],
            topic_remaps(given, cameras),
        )
    ]
    if typed("cloud", False, given["cloud"]):
        nodes += [_cloud_node(given, camera, files) for camera in cameras]
    return nodes


def _cloud_node(given: dict[str, str], camera: str, files: list[str]) -> Node:
    """Semantic cloud of one camera, named after it if there are several."""
    geometry = "points" if given["points"] else "depth"
    if not camera_topic(given, geometry, camera):
        raise ValueError("cloud:=true needs depth:=/topic (a registered depth image) or points:=…")
    inputs = {
        "image": camera_topic(given, "image", camera) or (f"{camera}/image" if camera else ""),
        "depth": camera_topic(given, "depth", camera),
        "points": camera_topic(given, "points", camera),
        "camera_info": camera_topic(given, "depth_camera_info", camera),
    }
    if camera:
        for topic in ("label", "confidence"):
            inputs[f"segmentation/{topic}"] = f"segmentation/{camera}/{topic}"
    parameters: dict[str, Any] = {"geometry": geometry}
    if given["cloud_color"]:
        parameters["color"] = given["cloud_color"]
    for shared in ("transport", "use_sim_time"):
        if given[shared]:
            parameters[shared] = node_parameters(given)[shared]
    name = f"{camera.replace('/', '_')}_semantic_cloud".lstrip("_")
    remaps = [(topic, target) for topic, target in inputs.items() if target]
    return _node(given, "semantic_cloud_node", name, [*files, parameters], remaps)


def _node(
    given: dict[str, str],
    executable: str,
    name: str,
    parameters: list[Any],
    remappings: list[tuple[str, str]],
) -> Node:
    return Node(
        package=PACKAGE,
        executable=executable,
        name=name,
        namespace=given["namespace"],
        parameters=parameters,
        remappings=remappings,
        ros_arguments=["--log-level", f"{logger_name(given, name)}:={given['log_level']}"],
        respawn=typed("respawn", False, given["respawn"]),
        respawn_delay=2.0,
        output="screen",
    )
