"""Dataclasses from plain data (YAML, command line), with errors that name the key."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml

from ..errors import ErfSegError

T = TypeVar("T")


def build_dataclass(kind: type[T], data: Any, where: str = "") -> T:
    """Build a dataclass, its nested dataclasses and lists of them, from plain data.

    Raises `ErfSegError` naming the key that is unknown, missing or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ErfSegError(f"{where or 'the recipe'} must be a mapping of keys, not {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [key for key in data if key not in fields]
    if unknown:
        raise ErfSegError(
            f"unknown key '{_join(where, unknown[0])}'; known here: {', '.join(fields)}"
        )
    required = [name for name, f in fields.items() if _is_required(f) and name not in data]
    if required:
        raise ErfSegError(f"'{_join(where, required[0])}' is missing")
    values = {key: _convert(hints[key], value, _join(where, key)) for key, value in data.items()}
    return kind(**values)


def unshared(data: Any) -> Any:
    """Copy plain data; what was one part in several places (YAML's anchors) becomes several."""
    if isinstance(data, dict):
        return {key: unshared(value) for key, value in data.items()}
    return [unshared(value) for value in data] if isinstance(data, list) else data


def override(data: Any, assignments: Sequence[tuple[str, str]]) -> None:
    """Set dotted keys (`stages.0.epochs`, hyphens for underscores) in plain data to YAML values."""
    for dotted, text in assignments:
        *path, last = dotted.replace("-", "_").split(".")
        node = data
        for part in path:
            node = _child(node, part, dotted)
        value = _value(text, dotted)
        if isinstance(node, list):
            node[_index(node, last, dotted)] = value
        elif isinstance(node, dict):
            node[last] = value
        else:
            raise ErfSegError(f"--{dotted}: there is nothing below '{'.'.join(path)}'")


def _value(text: str, dotted: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ErfSegError(f"--{dotted}: '{text}' is no YAML value; quote it") from error


def parse_assignments(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs from `--key value`, `--key=value` and bare `--key` (true)."""
    pairs = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ErfSegError(f"'{word}' is not of the form --key value")
        key, equals, value = word[2:].partition("=")
        if not equals:
            value = "true" if not rest or rest[0].startswith("--") else rest.pop(0)
        pairs.append((key, value))
    return pairs


def _is_required(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = [a for a in arguments if a is not type(None)]
        return _convert(kind, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ErfSegError(
                f"'{where}' is {value!r}; it is one of {', '.join(map(str, arguments))}"
            )
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if dataclasses.is_dataclass(kind):
        return build_dataclass(kind, value, where)
    return _convert_scalar(kind, value, where)


def _convert_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ErfSegError(f"'{where}' is {value!r}, not a list")
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ErfSegError(f"'{where}' needs {len(kinds)} values, not {len(value)}")
    return tuple(
        _convert(k, v, f"{where}.{i}") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    )


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and not isinstance(value, bool):
        # YAML reads 5e-4 without a dot as text.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif type(value) is kind:
        return value
    raise ErfSegError(f"'{where}' is {value!r}, not of type {kind.__name__}")


def _child(node: Any, part: str, dotted: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, dotted)]
    if isinstance(node, dict):
        return node.setdefault(part, {})
    raise ErfSegError(f"--{dotted}: there is nothing below '{part}'")


def _index(node: list[Any], part: str, dotted: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ErfSegError(f"--{dotted}: '{part}' is not an index from 0 to {len(node) - 1}")
    return int(part)
