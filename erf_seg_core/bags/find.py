"""Bags that files, folders and glob patterns name."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import ErfSegError, refuse_undecodable
from .reader import STORAGE_SUFFIXES, SUFFIXES


def find_bags(
    given: Iterable[str | Path],
    exclude: Path | None = None,
    on_skipped: Callable[[str], None] = lambda what: None,
) -> list[Path]:
    """Every bag that is named, each once: bags as they are, folders with all bags below them.

    A pattern (`drives/*_rain`) that the shell has not expanded is expanded here. What is in the
    folder `exclude`, where results go, counts only if it is named itself. Folders that may not be
    entered are left out, which `on_skipped` is told. Raises `ErfSegError` for what does not exist
    or holds no bag.
    """
    outside = None if exclude is None else exclude.resolve()
    bags: dict[Path, Path] = {}
    for name in given:
        if name == "":
            raise ErfSegError("a bag has an empty name; is a variable of the shell not set?")
        paths = _paths_named(name, outside)
        if not paths:
            raise ErfSegError(f"there is no bag, folder or match of a pattern {name}")
        for path in paths:
            found = list(_bags_at(path, {outside}, on_skipped))
            if not found:
                raise ErfSegError(f"{path} holds no bags (metadata.yaml, {', '.join(SUFFIXES)})")
            for bag in found:
                bags.setdefault(bag.resolve(), bag)
    return list(bags.values())


def bag_names(bags: Iterable[Path]) -> list[str]:
    """Short names that tell the bags apart: their own, with as many folders as that needs.

    Raises `ErfSegError` for a name that no result could tell.
    """
    places = [bag.resolve() for bag in bags]
    for place in places:
        refuse_undecodable(place)
    parts = [place.parts for place in places]
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


def _paths_named(name: str | Path, outside: Path | None) -> list[Path]:
    try:
        return [Path(name)] if Path(name).exists() else _matches(str(name), outside)
    except OSError as error:
        raise ErfSegError(f"cannot look for the bag {name}: {error.strerror}") from error


def _matches(pattern: str, outside: Path | None) -> list[Path]:
    if not glob.has_magic(pattern):
        return []
    found = sorted(_expanded(pattern))
    return [path for path in found if outside not in (path.resolve(), *path.resolve().parents)]


def _expanded(pattern: str) -> list[Path]:
    """As the module glob, but `**` follows no links, which may lead round in circles."""
    whole = Path(pattern)
    if "**" not in whole.parts:
        return [Path(path) for path in glob.glob(pattern)]  # noqa: PTH207 - shows nothing hidden
    try:
        found = Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))
        return [path for path in found if not _is_hidden(path, whole)]
    except ValueError as error:
        raise ErfSegError(f"cannot make sense of the pattern {pattern}: {error}") from error


def _is_hidden(path: Path, pattern: Path) -> bool:
    """Whether a part begins with a dot that the pattern does not name."""
    return any(part.startswith(".") and part not in pattern.parts for part in path.parts)


def _bags_at(
    path: Path, seen: set[Path | None], on_skipped: Callable[[str], None]
) -> Iterator[Path]:
    """Bags at and below `path`, but for the folders `seen`, to which those gone through are added.

    So that links which lead back up do not lead round in circles.
    """
    try:
        if path.is_file() or (path / "metadata.yaml").is_file():
            yield path
            return
        inside = sorted(path.iterdir())
        files = [f for f in inside if f.suffix in SUFFIXES and f.is_file()]
        folders = [f for f in inside if f.is_dir()]
    except OSError as error:
        on_skipped(f"cannot look into {path}, it is left out: {error.strerror}")
        return
    seen.add(path.resolve())
    yield from [path] if _are_one_bag(files) else files
    for folder in folders:
        if folder.resolve() not in seen:
            yield from _bags_at(folder, seen, on_skipped)


def _are_one_bag(files: list[Path]) -> bool:
    """Whether these are parts of one rosbag2 that lacks its metadata: NAME_0.mcap, NAME_1.mcap."""
    names = [re.fullmatch(r"(.*)_\d+", file.stem) for file in files]
    if not files or any(file.suffix not in STORAGE_SUFFIXES for file in files):
        return False
    return all(names) and len({name[1] for name in names if name}) == 1
