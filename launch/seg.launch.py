"""Start the segmentation node on a camera topic.

    ros2 launch erf_seg_ros seg.launch.py model:=dg4 image:=/camera/image_raw

`ros2 launch erf_seg_ros seg.launch.py --show-args` explains the arguments. Parameters come from
`config/segmentation.yaml`, then from `params_file`, then from the arguments given.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch_ros.actions import Node

from erf_seg_ros import dds_profile
from erf_seg_ros.parameters import SPECS

DEFAULT_PARAMETERS = Path(__file__).resolve().parents[1] / "config" / "segmentation.yaml"

# Arguments that are parameters of the node, with their types. An empty argument is not passed on.
PARAMETER_TYPES = {spec.name: type(spec.default) for spec in SPECS} | {"use_sim_time": bool}

OTHER_ARGUMENTS = {
    "image": ("image", "image topic; with transport:=compressed its /compressed sibling is read"),
    "camera_info": ("", "calibration topic; empty: the sibling camera_info of the image topic"),
    "namespace": ("", "namespace of the node and its topics"),
    "params_file": ("", "YAML file with parameters, such as a copy of config/segmentation.yaml"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again whenever it dies"),
}


def generate_launch_description() -> LaunchDescription:
    """Return arguments, environment and node."""
    environment = [
        SetEnvironmentVariable(name, value) for name, value in dds_profile.environment().items()
    ]
    return LaunchDescription(
        [*_declared_arguments(), *environment, OpaqueFunction(function=_start_node)]
    )


def _declared_arguments() -> list[DeclareLaunchArgument]:
    described = {
        spec.name: ("", f"{spec.description}; empty: from params_file, else {spec.default}")
        for spec in SPECS
    }
    described["use_sim_time"] = ("", "true: ages are measured against /clock")
    return [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in (OTHER_ARGUMENTS | described).items()
    ]


def _start_node(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    parameters = [str(DEFAULT_PARAMETERS)]
    if given["params_file"]:
        parameters.append(given["params_file"])
    parameters.append(_given_parameters(given))
    logger = ".".join(filter(None, [*given["namespace"].split("/"), "segmentation"]))
    node = Node(
        package="erf_seg_ros",
        executable="segmentation_node",
        name="segmentation",
        namespace=given["namespace"],
        parameters=parameters,
        remappings=remappings,
        ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
        respawn=_typed("respawn", bool, given["respawn"]),
        respawn_delay=2.0,
        output="screen",
    )
    return [node]


def _given_parameters(given: dict[str, str]) -> dict[str, object]:
    """Parameters whose arguments are not empty, in the types that the node declares."""
    return {
        name: _typed(name, kind, given[name])
        for name, kind in PARAMETER_TYPES.items()
        if given[name]
    }


def _typed(name: str, kind: type, text: str) -> object:
    """Value of an argument. Text stays text, even if YAML would see a number or a truth in it."""
    value = text if kind is str else yaml.safe_load(text)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{name}:={text} is not of type {kind.__name__}")
    return value
