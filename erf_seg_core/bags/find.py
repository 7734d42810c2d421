"""Bags that files, folders and glob patterns name."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import ErfSegError
from .reader import STORAGE_SUFFIXES, SUFFIXES


def find_bags(given: Iterable[str | Path], exclude: Path | None = None) -> list[Path]:
    """Every bag that is named, each once: bags as they are, folders with all bags below them.

    A pattern (`drives/*_rain`) that the shell has not expanded is expanded here. What is in the
    folder `exclude`, where results go, counts only if it is named itself. Raises `ErfSegError` for
    what does not exist or holds no bag.
    """
    outside = None if exclude is None else exclude.resolve()
    bags: dict[Path, Path] = {}
    for name in given:
        paths = [Path(name)] if Path(name).exists() else _matches(str(name), outside)
        if not paths:
            raise ErfSegError(f"there is no bag, folder or match of a pattern {name}")
        for path in paths:
            for bag in _bags_at(path, outside):
                bags.setdefault(bag.resolve(), bag)
    return list(bags.values())


def bag_names(bags: Iterable[Path]) -> list[str]:
    """Short names that tell the bags apart: their own, with as many folders as that needs."""
    parts = [bag.resolve().parts for bag in bags]
    names = [path[-1:] for path in parts]
    while repeated := {name for name, count in Counter(names).items() if count > 1}:
        longer = [
            path[-len(name) - 1 :] if name in repeated else name
            for path, name in zip(parts, names, strict=True)
        ]
        if longer == names:
            break  # the same bag given twice
        names = longer
    return ["/".join(name) for name in names]


def _matches(pattern: str, outside: Path | None) -> list[Path]:
    if not glob.has_magic(pattern):
        return []
    found = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    return [path for path in found if outside not in (path.resolve(), *path.resolve().parents)]


def _bags_at(path: Path, outside: Path | None) -> list[Path]:
    if path.is_file() or (path / "metadata.yaml").is_file():
        return [path]
    files = sorted(f for f in path.iterdir() if f.is_file() and f.suffix in SUFFIXES)
    bags = [path] if _are_one_bag(files) else files
    for folder in sorted(f for f in path.iterdir() if f.is_dir() and f.resolve() != outside):
        try:
            bags += _bags_at(folder, outside)
        except ErfSegError:
            continue  # a folder without bags among others is none of our business
    if not bags:
        raise ErfSegError(f"{path} holds no bags (metadata.yaml, {', '.join(SUFFIXES)})")
    return bags


def _are_one_bag(files: list[Path]) -> bool:
    """Whether these are parts of one rosbag2 that lacks its metadata: NAME_0.mcap, NAME_1.mcap."""
    names = [re.fullmatch(r"(.*)_\d+", file.stem) for file in files]
    if not files or any(file.suffix not in STORAGE_SUFFIXES for file in files):
        return False
    return all(names) and len({name[1] for name in names if name}) == 1
