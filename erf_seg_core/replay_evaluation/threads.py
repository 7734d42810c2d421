"""Reading ahead of the network and scoring behind it, each in one thread of its own.

Both keep the order of the frames, so results do not depend on timing; both hold few frames at a
time, so memory does not grow with the drive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 4
"""Frames in waiting on either side; enough to even out a slow picture, 11 MB of 1280×720."""

_CHECK_S = 0.1  # how soon a thread that waits sees that nobody wants its work any more


class Ahead(Generic[T]):
    """Iterates over `items()` in a thread; an exception there comes out here, in its place."""

    def __init__(self, items: Callable[[], Iterator[T]], depth: int = DEPTH) -> None:
        """Start reading."""
        self._queue: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(items,), name="read ahead")
        self._thread.start()

    def __enter__(self) -> Ahead[T]:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading and wait for the thread, which may be in the middle of a picture."""
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        """Items in order; ends with the iterator, or raises what it raised."""
        while True:
            is_item, content = self._queue.get()
            if is_item:
                yield content
            elif content is None:
                return
            else:
                raise content

    def _read(self, items: Callable[[], Iterator[T]]) -> None:
        end: BaseException | None = None
        try:
            for item in items():
                if not _put(self._queue, (True, item), self._closed):
                    return
        except BaseException as error:  # also a KeyboardInterrupt of the iterator's own
            end = error
        _put(self._queue, (False, end), self._closed)


class Behind(Generic[T]):
    """Hands items to `consume` in a thread, in the order they were given.

    The first exception ends it: `give` and `finish` raise it, and nothing later is consumed.
    """

    def __init__(self, consume: Callable[[T], None], depth: int = DEPTH) -> None:
        """Start the thread."""
        self._queue: Queue[tuple[T] | None] = Queue(depth)
        self._failed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(consume,), name="score behind")
        self._thread.start()

    def give(self, item: T) -> None:
        """Pass an item on; waits while too many are in waiting."""
        if not _put(self._queue, (item,), self._failed):
            raise self._error

    def finish(self) -> None:
        """Wait until all items are consumed; raises what `consume` raised."""
        try:
            self._end()
        except KeyboardInterrupt:  # the thread must not go on while its results are read
            self._end()
            raise
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        _put(self._queue, None, self._failed)
        self._thread.join()

    def _work(self, consume: Callable[[T], None]) -> None:
        try:
            while (packed := self._queue.get()) is not None:
                consume(packed[0])
        except BaseException as error:
            self._error = error
            self._failed.set()
            while True:  # free what still waits
                try:
                    self._queue.get_nowait()
                except Empty:
                    return


class HeldBack(Generic[T]):
    """Passes items on to `give`, but the first `count` of them only when the last of them is there.

    So nothing works behind while the first items are made.
    """

    def __init__(self, give: Callable[[T], None], count: int) -> None:
        """Hold nothing yet."""
        self._give, self._count = give, count
        self._held: list[T] | None = []

    def give(self, item: T) -> None:
        """Pass an item on, or keep it for later."""
        if self._held is None:
            self._give(item)
            return
        self._held.append(item)
        if len(self._held) == self._count:
            self.release()

    def release(self) -> None:
        """Pass on what is held, and hold nothing from now on."""
        held, self._held = self._held or [], None
        for item in held:
            self._give(item)


def _put(queue: Queue, content: object, given_up: threading.Event) -> bool:
    """Put, unless the other side has given up; whether it was put."""
    while not given_up.is_set():
        try:
            queue.put(content, timeout=_CHECK_S)
        except Full:
            continue
        return True
    return False
