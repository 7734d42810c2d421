"""What goes wrong: by the user's doing, or by the machine's."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class ErfSegError(ValueError):
    """Bad input from the user's side: says in one sentence what is wrong and what to do.

    The command line prints it without a traceback and exits with status 2; the node logs it.
    """


class EngineError(RuntimeError):
    """An engine broke while it ran: the device is out of memory, lost, or in an error state.

    It says nothing against the image; loading the network anew may help.
    """


def make_folder(path: Path) -> None:
    """Make a folder for results, with those above it, unless it is there already."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ErfSegError(f"cannot make the folder {path}: {error.strerror}") from error


def refuse_unwritable(path: Path) -> None:
    """Find out before long work whether a folder for its results can be made; makes nothing."""
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ErfSegError(f"cannot make the folder {path}: {nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise ErfSegError(f"cannot make the folder {path}: {nearest} may not be written")


def refuse_irregular(path: Path) -> None:
    """Find out before long work whether a file of results would replace more than such a file."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing is there, or writing will tell why it cannot be
        return
    if not stat.S_ISREG(mode):
        raise ErfSegError(f"{path} is a folder, a link or a device: choose another output")


def refuse_undecodable(path: Path) -> None:
    """Find out before long work whether results, which are UTF-8, can tell a path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ErfSegError(f"the name {shown} is not UTF-8: rename it") from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; `ErfSegError` where the system refuses to say."""
    try:
        return path.is_file()
    except OSError as error:  # a name too long, a folder that may not be searched
        raise ErfSegError(f"cannot look for {path}: {error.strerror}") from error


def first_line(error: BaseException) -> str:
    """What an engine's own error says first; CUDA's go on for ten lines."""
    return str(error).strip().partition("\n")[0]


def in_words(error: BaseException) -> str:
    """Message of an error; after its type where nobody foresaw it."""
    foreseen = isinstance(error, (ErfSegError, EngineError))
    return str(error) if foreseen else f"{type(error).__name__}: {error}"
