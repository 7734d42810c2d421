"""The folder that a run fills: made, nobody else's meanwhile, and its disk's troubles in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bags.writer import DISK_ERRORS
from ..errors import ErfSegError, refuse_undecodable
from ..output_lock import output_lock

RESULT_FILES = ("report.html", "summary.json", "frames.csv")


@contextmanager
def result_folder(
    output: Path, files: tuple[str, ...] = RESULT_FILES, kept: str = ""
) -> Iterator[None]:
    """Hold `output` for one run; `kept` names what the next run in it does not do again.

    Raises `ErfSegError` when another run holds it, when it cannot be made, when a folder is where
    one of `files` goes, and in place of whatever the disk raises inside.
    """
    refuse_undecodable(output.resolve())
    with output_lock(output):
        for path in (output / name for name in files):
            if path.is_dir():
                raise ErfSegError(f"{path} is a folder, and a file goes there: move it away")
        try:
            yield
        except DISK_ERRORS as error:
            again = f"; {kept} are not done again" if kept else ""
            raise ErfSegError(
                f"the disk refused the results in {output} ({error}): make room or make it "
                f"writable, then run the same command again{again}"
            ) from error
