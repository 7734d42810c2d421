"""Class maps: a network's classes renamed, renumbered or merged into groups, as data.

The layout of the file is that of a class set, with two more keys that may be left out:

    name: traversability
    classes:
      - {name: drivable, color: [128, 64, 128], from: [road, road marking]}
      - {name: obstacle, id: 5, color: [0, 0, 142], from: [car, pedestrian]}
      - {name: sky}

`from` lists the network's classes that become this one (left out: the class of the same name),
`id` is its label (left out: its place in the list), `color` its RGB (left out: that of the
first class it comes from). A class of the network that is listed nowhere becomes void (255).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .class_sets import UNUSED_PREFIX, VOID_ID, ClassSet, Color, checked_color
from .errors import ErfSegError

_KEYS = {"name", "id", "color", "from"}
_LAYOUT = (
    "it needs 'name' and 'classes', a list of {name: …, id: …, color: [r, g, b], from: [names]}, "
    "of which only the name is required"
)


@dataclass(frozen=True, eq=False)
class ClassMap:
    """How labels of `source` become labels of `target`.

    `table` is a lookup table uint8[256] from source to target label; 255 for what is dropped, for
    void and for ids that `source` does not have. Ids that the file leaves out between others are
    classes of `target` called `unused_<id>`, black, which no label has.
    """

    source: ClassSet
    target: ClassSet
    table: np.ndarray


@dataclass(frozen=True)
class _Entry:
    """One class of the target: `members` are names of the source."""

    name: str
    id: int
    color: Color | None
    members: tuple[str, ...]


def load_class_map(path: str | Path, class_set: ClassSet) -> ClassMap:
    """Read a class map for a network with the classes of `class_set`.

    Raises `ErfSegError` for a file that cannot be read or is laid out otherwise, names that
    `class_set` does not have or that are listed twice, and ids that are taken or not 0 to 254.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ErfSegError(f"cannot read class map {path}: {error}") from error
    try:
        name, entries = _parsed(data)
        _refuse_conflicts(entries, class_set)
        target = _target(name, entries, class_set)
    except ErfSegError as error:
        raise ErfSegError(f"class map {path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ErfSegError(f"{path} is not a class map ({error!r}); {_LAYOUT}") from error
    table = np.full(256, VOID_ID, np.uint8)
    for entry in entries:
        for member in entry.members:
            table[class_set.names.index(member)] = entry.id
    return ClassMap(class_set, target, table)


def _parsed(data: Any) -> tuple[str, list[_Entry]]:
    """Name and classes; a wrong layout raises whatever it runs into."""
    return str(data["name"]), [_entry(raw, place) for place, raw in enumerate(data["classes"])]


def _entry(raw: dict[str, Any], place: int) -> _Entry:
    if unknown := set(raw) - _KEYS:
        raise ErfSegError(f"a class has no '{min(unknown)}'; {_LAYOUT}")
    name = str(raw["name"])
    number = raw.get("id", place)
    if type(number) is not int or not 0 <= number < VOID_ID:
        raise ErfSegError(
            f"class '{name}' has id {number}; ids are whole numbers from 0 to {VOID_ID - 1}, "
            f"for {VOID_ID} is void"
        )
    members = raw.get("from", name)
    members = [members] if isinstance(members, str) else list(members)
    color = checked_color(raw["color"]) if "color" in raw else None
    return _Entry(name, number, color, tuple(str(member) for member in members))


def _refuse_conflicts(entries: list[_Entry], class_set: ClassSet) -> None:
    if not entries:
        raise ErfSegError("it lists no class")
    if not all(entry.members for entry in entries):
        raise ErfSegError("an empty 'from' gives a class that no pixel has; leave the class out")
    if taken := _repeated(entry.id for entry in entries):
        names = [entry.name for entry in entries if entry.id == taken[0]]
        raise ErfSegError(f"id {taken[0]} is given to {' and '.join(names)}; each needs its own")
    members = [member for entry in entries for member in entry.members]
    if unknown := [member for member in members if member not in class_set.names]:
        raise ErfSegError(
            f"the network knows no class '{unknown[0]}'; its classes ({class_set.name}) are "
            f"{', '.join(class_set.names)}"
        )
    if repeated := _repeated(members):
        raise ErfSegError(f"class '{repeated[0]}' is listed twice; it can become only one class")


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _target(name: str, entries: list[_Entry], class_set: ClassSet) -> ClassSet:
    """Classes by id; consumers look names and colours up by position, so gaps are filled."""
    source_color = dict(zip(class_set.names, class_set.colors, strict=True))
    by_id = {entry.id: entry for entry in entries}
    names, colors = [], []
    for number in range(max(by_id) + 1):
        entry = by_id.get(number) or _Entry(f"{UNUSED_PREFIX}{number}", number, (0, 0, 0), ())
        names.append(entry.name)
        colors.append(entry.color or source_color[entry.members[0]])
    return ClassSet(name, tuple(names), tuple(colors))
