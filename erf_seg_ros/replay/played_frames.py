"""The table of frames that a player sent: which recorded stamp travelled under which live stamp."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

COLUMNS = ("recorded_ns", "live_ns", "sent_ns", "late_us")


@dataclass(frozen=True)
class PlayedFrame:
    """One camera frame as the player sent it; times in nanoseconds since the Unix epoch.

    `live_ns` is the header stamp it travelled under, `sent_ns` the clock when it was published,
    `late_us` by how many microseconds that missed its deadline.
    """

    recorded_ns: int
    live_ns: int
    sent_ns: int
    late_us: int


class PlayedFramesWriter:
    """Appends rows; each is on disk before its frame is sent, so a label always finds its row."""

    def __init__(self, path: Path) -> None:
        """Start the table at `path`, replacing what was there."""
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)
        self._file.flush()

    def append(self, frame: PlayedFrame) -> None:
        """Add one frame."""
        self._rows.writerow([getattr(frame, column) for column in COLUMNS])
        self._file.flush()

    def __enter__(self) -> PlayedFramesWriter:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()


def read_played_frames(path: Path) -> list[PlayedFrame]:
    """All frames of a table, in the order sent."""
    return list(_PlayedFramesTail(path).new_rows())


class LiveStamps:
    """Turns live stamps back into recorded ones while the player is still writing its table."""

    def __init__(self, path: Path) -> None:
        """Follow the table at `path`; it need not exist yet."""
        self._tail = _PlayedFramesTail(path)
        self._recorded: dict[int, int] = {}
        self._first: PlayedFrame | None = None
        self._last: PlayedFrame | None = None

    def recorded_ns(self, live_ns: int) -> int | None:
        """Recorded stamp of the frame that travelled under `live_ns`: exact, or None before play.

        A stamp that belongs to no frame (a diagnostics message) is placed on the recorded timeline
        by its distance from the newest frame.
        """
        if live_ns not in self._recorded:
            self._read_on()
        if live_ns in self._recorded:
            return self._recorded[live_ns]
        if self._first is None or self._last is None or live_ns < self._first.live_ns:
            return None
        return self._last.recorded_ns + (live_ns - self._last.live_ns)

    def _read_on(self) -> None:
        for frame in self._tail.new_rows():
            self._recorded[frame.live_ns] = frame.recorded_ns
            self._first = self._first or frame
            self._last = frame


class _PlayedFramesTail:
    """Reads the complete rows that were added since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_rows(self) -> Iterator[PlayedFrame]:
        if not self._path.is_file():
            return
        with self._path.open(encoding="utf-8", newline="") as file:
            file.seek(self._offset)
            text = file.read()
        complete = text[: text.rfind("\n") + 1]
        self._offset += len(complete.encode())
        for row in csv.reader(complete.splitlines()):
            if row != list(COLUMNS):
                yield PlayedFrame(*(int(value) for value in row))
