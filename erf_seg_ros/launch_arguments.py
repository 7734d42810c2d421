"""What the launch files make of their arguments' texts; knows no launch, so plain tests reach it.

An argument of a launch file is a text. Those that are parameters of a node are given the type of
the parameter's default, and an empty one is not passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .parameter_specs import SPECS, ParameterSpec

DEFAULTS: dict[str, Any] = {spec.name: spec.default for spec in SPECS} | {"use_sim_time": False}

CAMERA = "{camera}"
"""Stands for the camera's name in topic arguments that serve several cameras."""


def described_parameters(specs: Iterable[ParameterSpec] = SPECS) -> dict[str, str]:
    """{parameter: description} for `ros2 launch --show-args`."""
    described = {
        spec.name: f"{spec.description}; empty: from params_file, else {_shown(spec.default)}"
        for spec in specs
    }
    return {**described, "use_sim_time": "true: ages are measured against /clock"}


def node_parameters(given: Mapping[str, str]) -> dict[str, Any]:
    """Values of the node's parameters whose arguments are not empty.

    Raises `ValueError` naming an argument whose text is not of its parameter's type.
    """
    return {
        name: typed(name, default, given[name]) for name, default in DEFAULTS.items() if given[name]
    }


def typed(name: str, default: Any, text: str) -> Any:
    """`text` in the type of `default`. Text stays text, even if YAML would see a number in it.

    Lists of names may be written as front,left or [front, left].
    """
    if isinstance(default, str):
        return text
    names = isinstance(default, list) and isinstance(default[0], str)
    if names and not text.lstrip().startswith("["):
        return [name.strip() for name in text.split(",")]
    value = _parsed(text)
    if type(default) is float and type(value) is int:
        return float(value)
    same = type(value) is type(default)
    if not same or (same and isinstance(value, list) and not _alike(value, default)):
        kind = "text" if names else type(default).__name__
        raise ValueError(f"{name}:={text} is not of type {kind}")
    return value


def topic_remaps(given: Mapping[str, str], cameras: Iterable[str]) -> list[tuple[str, str]]:
    """Remappings of image and camera_info topics, for each camera or for the only one.

    The topic of camera `front` is `front_image` if that argument is given, else `image` with
    {camera} replaced. Raises `ValueError` where several cameras would share a topic.
    """
    remaps = []
    for camera in cameras:
        for name in ("image", "camera_info"):
            if topic := camera_topic(given, name, camera):
                remaps.append((f"{camera}/{name}" if camera else name, topic))
    return remaps


def cameras_in(files: Iterable[str]) -> list[str]:
    """Names of cameras that parameter files give the segmentation node, [] where they give none.

    Raises `ValueError` for a file that is no YAML.
    """
    cameras: list[str] = []
    for file in files:
        try:
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"params_file:={file} cannot be read: {error}") from error
        for parameters in _of_segmentation(content):
            cameras = parameters.get("cameras", cameras)
    return [name for name in cameras if name]


def _of_segmentation(content: Any, node: str = "") -> Iterator[Mapping[str, Any]]:
    """Parameter blocks of a file that concern a node of that name, in whatever namespace."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters" and node in ("segmentation", "*", "**"):
            yield value if isinstance(value, dict) else {}
        elif key != "ros__parameters":
            yield from _of_segmentation(value, str(key).rpartition("/")[2])


def camera_topic(given: Mapping[str, str], name: str, camera: str) -> str:
    """Topic of one camera by the arguments; empty where they leave it to the node."""
    own = given.get(f"{camera.replace('/', '_')}_{name}", "") if camera else ""
    topic = own or given[name]
    if camera and topic and not own and CAMERA not in topic:
        raise ValueError(
            f"{name}:={topic} would serve every camera: write {CAMERA} where the camera's name "
            f"belongs, or give {camera.replace('/', '_')}_{name}:=…"
        )
    return topic.replace(CAMERA, camera)


def logger_name(given: Mapping[str, str], node: str) -> str:
    """Name of a node's logger: its namespaces and its name, with dots.

    launch_ros puts what `PushRosNamespace` pushed before a namespace that is not absolute.
    """
    namespace = given["namespace"]
    pushed = "" if namespace.startswith("/") else given.get("ros_namespace") or ""
    return ".".join(filter(None, [*pushed.split("/"), *namespace.split("/"), node]))


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _alike(value: list[Any], default: list[Any]) -> bool:
    return all(type(item) is type(default[0]) for item in value)


def _shown(default: Any) -> str:
    if default == [""]:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
