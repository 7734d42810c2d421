"""Play a recorded drive to the segmentation node, score its labels, write a report, and end.

    ros2 launch erf_seg_ros replay.launch.py bag:=drive model:=dg4 rate:=1.0

The arguments are the options of `erf_seg bag replay`, which this starts: camera, node and recorder
as processes of their own in a ROS domain of their own, so that a running robot is not disturbed.
Ctrl-C keeps what was labelled so far and reports it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.events.process import ProcessExited
from launch_ros.substitutions import ExecutableInPackage

from erf_seg_cli.replaying import add_replay_arguments

REPORT_S = "120"
"""How long an interrupted replay may take to write its report before it is killed."""

OUTPUT = "folder of the report; empty: <bag>_<model>_replay in the current folder"


def generate_launch_description() -> LaunchDescription:
    """Return arguments and the replay."""
    declared = [
        DeclareLaunchArgument(
            option.dest,
            default_value="" if option.dest == "output" else _text(option.default),
            description=_description(option),
        )
        for option in _options()
    ]
    bag = DeclareLaunchArgument("bag", description="rosbag2 folder or file, or ROS 1 .bag")
    return LaunchDescription([bag, *declared, OpaqueFunction(function=_start_replay)])


def _options() -> list[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    add_replay_arguments(parser, output=None, video=True)
    # argparse has no public list of them; taken from there, the arguments are always complete
    return [action for action in parser._actions if action.dest != "json"]


def _description(option: argparse.Action) -> str:
    if option.dest == "output":
        return OUTPUT
    return f"{option.help}: {', '.join(option.choices)}" if option.choices else option.help


def _start_replay(context: LaunchContext) -> list[ExecuteProcess]:
    given = dict(context.launch_configurations)
    if not given["output"]:
        bag, model = Path(given["bag"]).resolve().stem, Path(given["model"]).stem
        given["output"] = f"{bag}_{model}_replay"
    return [
        ExecuteProcess(
            cmd=[
                ExecutableInPackage(package="erf_seg_ros", executable="erf_seg"),
                *("bag", "replay", given["bag"]),
                *(word for option in _options() for word in _words(option, given[option.dest])),
            ],
            output="screen",
            on_exit=_report_failure,
            sigterm_timeout=REPORT_S,
            sigkill_timeout=REPORT_S,
        )
    ]


def _words(option: argparse.Action, text: str) -> list[str]:
    """Command line of one option; an empty argument is left out."""
    if not text:
        return []
    if isinstance(option, argparse.BooleanOptionalAction):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{option.dest}:={text} is neither true nor false")
        return [option.option_strings[text.lower() == "false"]]
    if option.nargs == "+":
        return [option.option_strings[0], *text.replace(",", " ").split()]
    return [f"{option.option_strings[0]}={text}"]


def _text(default: object) -> str:
    if default is None or default == []:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _report_failure(event: ProcessExited, context: LaunchContext) -> None:
    """Let `ros2 launch` fail where the replay failed."""
    if event.returncode:
        raise RuntimeError(f"the replay ended with status {event.returncode}; its reason is above")
