"""One run at a time for a folder of results: two would overwrite each other's files."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ErfSegError, make_folder, refuse_unwritable

LOCK_FILE = ".lock"
"""Stays in the folder: were it removed, two runs could hold two files of this name."""


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Make the folder `output` and keep other runs out of it; the kernel frees it if we die.

    Raises `ErfSegError` when another run, of this process or another, has it, or when the folder
    cannot be made or written.
    """
    refuse_unwritable(output)
    make_folder(output)
    try:
        file = (output / LOCK_FILE).open("a", encoding="utf-8")
    except OSError as error:
        raise ErfSegError(f"cannot write into {output}: {error.strerror}") from error
    with file:
        _claim(file.fileno(), output)
        yield


def _claim(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ErfSegError(
            f"another run is writing to {output}; wait for it or choose another --output"
        ) from None
    except OSError:
        return  # a file system without locks, as some network ones are, still takes results
