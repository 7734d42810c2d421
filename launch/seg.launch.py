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

DEFAULT_PARAMETERS = Path(__file__).resolve().parents[1] / "config" / "segmentation.yaml"

# An empty argument leaves the value to params_file and the defaults.
PARAMETER_ARGUMENTS = {
    "model": (str, "model name (`erf_seg models` lists them) or path of a .safetensors checkpoint"),
    "transport": (str, "raw for sensor_msgs/Image, compressed for CompressedImage"),
    "device": (str, "auto, cpu, cuda or cuda:<number>"),
    "engine": (str, "what runs the network: auto, torch or onnxruntime"),
    "threads": (int, "CPU threads of the network, 0 for the engine's choice"),
    "input_size": (list, "[height, width] at which the network runs, e.g. '[256, 512]'"),
    "label_size": (list, "[height, width] of the label, e.g. '[180, 320]'; else the image's size"),
    "autostart": (
        bool,
        "true: configure and activate at once; false: wait for a lifecycle manager",
    ),
    "use_sim_time": (bool, "true: ages are measured against /clock"),
}

OTHER_ARGUMENTS = {
    "image": ("image", "image topic; with transport:=compressed its /compressed sibling is read"),
    "camera_info": ("", "calibration topic; empty: the sibling camera_info of the image topic"),
    "namespace": ("", "namespace of the node and its topics"),
    "params_file": ("", "YAML file with parameters, as config/segmentation.yaml"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again if it ever dies"),
}


def generate_launch_description() -> LaunchDescription:
    """Return arguments, environment and node."""
    declared = [
        DeclareLaunchArgument(name, default_value="", description=description)
        for name, (_, description) in PARAMETER_ARGUMENTS.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in OTHER_ARGUMENTS.items()
    ]
    environment = [
        SetEnvironmentVariable(name, value) for name, value in dds_profile.environment().items()
    ]
    return LaunchDescription([*declared, *environment, OpaqueFunction(function=_start_node)])


def _start_node(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    parameters = [str(DEFAULT_PARAMETERS)]
    if given["params_file"]:
        parameters.append(given["params_file"])
    parameters.append(_explicit_parameters(given))
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


def _explicit_parameters(given: dict[str, str]) -> dict[str, object]:
    """Parameters whose arguments are not empty, in the types that the node declares."""
    return {
        name: _typed(name, kind, given[name])
        for name, (kind, _) in PARAMETER_ARGUMENTS.items()
        if given[name]
    }


def _typed(name: str, kind: type, text: str) -> object:
    """Value of an argument; a model may be called 1 or true, so text stays text."""
    value = text if kind is str else yaml.safe_load(text)
    if type(value) is not kind:
        raise ValueError(f"{name}:={text} is not of type {kind.__name__}")
    return value
