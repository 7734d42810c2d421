"""Class sets as data: which ids a network's labels mean, their names and colours."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .errors import ErfSegError, is_file

VOID_ID = 255
"""Label of pixels that belong to no class; never in the class map."""

UNUSED_PREFIX = "unused_"
"""Names of places in a class set that no label has begin like this, see `class_map`."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """Names and RGB colours of the classes; a class's id is its position."""

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        """Refuse sets that could not be drawn or looked up."""
        if not self.names or len(self.names) > VOID_ID:
            raise ErfSegError(
                f"class set '{self.name}' has {len(self.names)} classes, not 1 to {VOID_ID}"
            )
        if len(set(self.names)) != len(self.names):
            raise ErfSegError(f"class set '{self.name}' names a class twice")
        if len(self.colors) != len(self.names):
            raise ErfSegError(f"class set '{self.name}' needs one colour for each class")

    @property
    def num_classes(self) -> int:
        """How many classes there are, void not counted."""
        return len(self.names)

    def used(self) -> dict[int, str]:
        """Id → name of the classes that labels may have."""
        return {
            number: name
            for number, name in enumerate(self.names)
            if not name.startswith(UNUSED_PREFIX)
        }

    def palette_bgr(self) -> np.ndarray:
        """Lookup table uint8 256×3 from label to BGR; void and unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = np.array(self.colors, np.uint8)[:, ::-1]
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the layout of the YAML files."""
        classes = [
            {"name": name, "color": list(color)}
            for name, color in zip(self.names, self.colors, strict=True)
        ]
        return {"name": self.name, "classes": classes}

    @classmethod
    def from_dict(cls, data: Any, source: str = "class set") -> ClassSet:
        """Build from plain data; `ErfSegError` says what is missing and from which `source`."""
        problem = _layout_problem(data)
        if problem:
            raise ErfSegError(
                f"{source} is not a class set: {problem}; it needs 'name' and 'classes', "
                "a list of {name: …, color: [r, g, b]}"
            )
        classes = [_checked_class(n, c, source) for n, c in enumerate(data["classes"])]
        names = tuple(name for name, _ in classes)
        colors = tuple(color for _, color in classes)
        return cls(str(data["name"]), names, colors)

    @classmethod
    def from_yaml(cls, path: str | Path) -> ClassSet:
        """Read a class set file; the layout is that of `class_set_files/camvid11.yaml`."""
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ErfSegError(f"cannot read class set {path}: {error}") from error
        return cls.from_dict(data, str(path))


def load_class_set(name_or_path: str | Path) -> ClassSet:
    """Return the shipped class set of that name, or the one in the YAML file at that path."""
    folder = resources.files(__package__) / "class_set_files"
    shipped = sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())
    if str(name_or_path) in shipped:
        with resources.as_file(folder / f"{name_or_path}.yaml") as path:
            return ClassSet.from_yaml(path)
    if is_file(Path(name_or_path)):
        return ClassSet.from_yaml(name_or_path)
    raise ErfSegError(
        f"no class set '{name_or_path}': shipped are {', '.join(shipped)}, or give a YAML file"
    )


def _layout_problem(data: Any) -> str:
    if not isinstance(data, dict):
        return "it is no mapping"
    if set(data) != {"name", "classes"}:
        return f"its keys are {', '.join(map(str, data))}"
    return "" if isinstance(data["classes"], list) else "its 'classes' are no list"


def _checked_class(place: int, entry: Any, source: str) -> tuple[str, Color]:
    """Name and colour of a class, checked; its `id` may be given and is its place."""
    where = f"{source}: class {place}"
    keys = set(entry) if isinstance(entry, dict) else set()
    if not {"name", "color"} <= keys <= {"id", "name", "color"}:
        raise ErfSegError(f"{where} is {entry!r}, not {{name: …, color: [r, g, b]}}")
    if not isinstance(entry["name"], str):
        raise ErfSegError(f"{where} has the name {entry['name']!r}, which is no text")
    if entry.get("id", place) != place:
        raise ErfSegError(
            f"{where}, '{entry['name']}', says id {entry['id']}; ids are the places in the list, "
            "so put the classes in the order of their ids"
        )
    try:
        return entry["name"], checked_color(entry["color"])
    except ErfSegError as error:
        raise ErfSegError(f"{where}, '{entry['name']}': {error}") from error


def checked_color(color: Any) -> Color:
    """Return three whole numbers from 0 to 255; `ErfSegError` if they are not."""
    if (
        not isinstance(color, (list, tuple))
        or len(color) != 3
        or not all(type(v) is int and 0 <= v <= 255 for v in color)
    ):
        raise ErfSegError(f"colour {color!r} is not three whole numbers from 0 to 255, [r, g, b]")
    r, g, b = color
    return r, g, b
