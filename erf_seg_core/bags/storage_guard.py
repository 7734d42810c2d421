"""Keeps a half-written bag readable: goes back to the last point where its storage was whole.

A full disk or Ctrl-C may hit in the middle of a record. SQLite then undoes its open transaction,
and an MCAP file ends in a torn chunk; `rosbags` alone would leave a bag that nobody can open.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rosbags.rosbag2 import Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

COMMIT_BYTES = 16 * 1024 * 1024
"""Most that a failure may cost in SQLite storage; MCAP loses at most its open chunk of 1 MB."""


@dataclass(frozen=True)
class _Point:
    """The writer's books when the storage was last whole."""

    counts: dict[int, int]
    times: tuple[int, int]
    end: int = 0
    chunks: int = 0
    channel_stats: dict[int, int] | None = None
    chunk_times: tuple[int, int] = (0, 0)


class StorageGuard:
    """Watches one open writer: told of every topic and message, it can undo a failed write."""

    def __init__(self, writer: Writer) -> None:
        """Take the still empty storage as the first whole point."""
        self._writer = writer
        self._unsaved = 0
        self._point = self._save()

    def after_topic(self) -> None:
        """Make a new topic last: SQLite would undo it together with later messages."""
        if isinstance(self._writer.storage, Sqlite3Writer):
            self._point = self._save()

    def after_write(self, size: int) -> None:
        """Note a written message of `size` bytes; from time to time the storage is made whole."""
        self._unsaved += size
        storage = self._writer.storage
        chunk_closed = isinstance(storage, McapWriter) and storage.chunk.bio.tell() == 0
        if chunk_closed or (isinstance(storage, Sqlite3Writer) and self._unsaved > COMMIT_BYTES):
            self._point = self._save()
            self._unsaved = 0

    def rewind(self) -> None:
        """Drop everything after the last whole point; the writer can be closed again."""
        writer, point = self._writer, self._point
        writer.counts.update(dict.fromkeys(writer.counts, 0))
        writer.counts.update(point.counts)
        writer.min_timestamp, writer.max_timestamp = point.times
        storage = writer.storage
        if isinstance(storage, Sqlite3Writer):
            storage.conn.rollback()
        elif isinstance(storage, McapWriter):
            _rewind_mcap(storage, point)

    def _save(self) -> _Point:
        writer, storage = self._writer, self._writer.storage
        counts, times = dict(writer.counts), (writer.min_timestamp, writer.max_timestamp)
        if isinstance(storage, Sqlite3Writer):
            storage.conn.commit()
        elif isinstance(storage, McapWriter):
            storage.bio.flush()
            return _Point(
                counts,
                times,
                storage.bio.tell(),
                len(storage.chunks),
                dict(storage.channel_stats),
                (storage.message_start_time, storage.message_end_time),
            )
        return _Point(counts, times)


def _rewind_mcap(storage: McapWriter, point: _Point) -> None:
    # Truncating first frees the room that flushing what Python still buffers may need.
    os.ftruncate(storage.bio.fileno(), point.end)
    storage.bio.flush()
    storage.bio.seek(point.end)
    storage.bio.truncate()
    del storage.chunks[point.chunks :]
    storage.channel_stats.update(dict.fromkeys(storage.channel_stats, 0))
    storage.channel_stats.update(point.channel_stats or {})
    storage.message_start_time, storage.message_end_time = point.chunk_times
    chunk = storage.chunk
    storage.chunk = type(chunk)(2**63 - 1, 0, type(chunk.bio)(), type(chunk.msgs)(list))
