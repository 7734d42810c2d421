"""Reading a recording in rounds of frames, each in the background from when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterates over `items()`, up to `count` at a time, in the thread that it has for it.

    SQLite wants all reading in one thread. What the iterator raises comes out after the items
    before it.
    """

    def __init__(self, items: Callable[[], Iterator[T]], count: int) -> None:
        """Read nothing yet."""
        self._items, self._count = items, count
        self._iterator: Iterator[T] | None = None
        self._closed = self._ended = False
        self._next: Future[tuple[list[T], BaseException | None]] | None = None
        self._thread = ThreadPoolExecutor(1, "read ahead")

    def __enter__(self) -> ReadAhead[T]:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading and wait for the thread, which may be in the middle of an item."""
        self._closed = True
        self._thread.shutdown()

    def begin(self) -> None:
        """Read the next round now, unless that goes on already or there is none."""
        if self._next is None and not self._ended:
            self._next = self._thread.submit(self._read)

    def __iter__(self) -> Iterator[list[T]]:
        """Rounds in order, none of them empty."""
        while not self._ended:
            self.begin()
            items, error = self._next.result()
            self._next = None
            self._ended = error is not None or len(items) < self._count
            if items:
                yield items
            if error is not None:
                raise error

    def _read(self) -> tuple[list[T], BaseException | None]:
        items: list[T] = []
        try:
            if self._iterator is None:
                self._iterator = self._items()
            while len(items) < self._count and not self._closed:
                items.append(next(self._iterator))
        except StopIteration:
            pass
        except BaseException as error:  # also a KeyboardInterrupt of the iterator's own
            return items, error
        return items, None
