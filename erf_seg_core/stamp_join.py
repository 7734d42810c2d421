"""Messages that belong together, found by their stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class StampJoin(Generic[ItemT]):
    """Joins one item of each stream whose stamps agree; a bounded buffer for each stream.

    The first stream leads: it is the slow one (labels of images whose depth came long ago), and a
    joined set carries its stamp. Once a set is complete, what is older than its members is thrown
    away, as `message_filters::ExactTime` does. Stamps may jump backwards (a bag that loops): the
    items from before the jump fall out of the buffer by and by.

    Written here because message_filters is not among the wheels that the tests run on, and its
    Python version cannot tell how far stamps are apart when nothing matches.
    """

    def __init__(self, streams: Sequence[str], slop_ns: int = 0, capacity: int = 30) -> None:
        """Join `streams`, the first leading, whose stamps differ by at most `slop_ns` from its."""
        self._leader = streams[0]
        self._slop_ns = slop_ns
        self._capacity = capacity
        self._items: dict[str, dict[int, ItemT]] = {stream: {} for stream in streams}
        self.unmatched = 0
        """Items of the leading stream that were thrown away without a match."""

    def add(self, stream: str, stamp_ns: int, item: ItemT) -> dict[str, ItemT] | None:
        """Take an item; returns {stream: item} if it completes a set."""
        waiting = self._items[stream]
        waiting[stamp_ns] = item
        if len(waiting) > self._capacity:
            del waiting[next(iter(waiting))]  # the one that came first
            self.unmatched += stream == self._leader
        leaders = [stamp_ns] if stream == self._leader else self._leaders_near(stamp_ns)
        for leader_ns in leaders:
            if (stamps := self._matches(leader_ns)) is not None:
                return self._take(stamps)
        return None

    def gap_ns(self, stream: str) -> int | None:
        """Return how far the closest stamps of the leader and `stream` are apart, if both wait."""
        return min(
            (abs(a - b) for a in self._items[self._leader] for b in self._items[stream]),
            default=None,
        )

    def _leaders_near(self, stamp_ns: int) -> list[int]:
        """Stamps of waiting leaders within the tolerance, closest first."""
        if not self._slop_ns:  # the usual case needs no search
            return [stamp_ns] if stamp_ns in self._items[self._leader] else []
        near = [s for s in self._items[self._leader] if abs(s - stamp_ns) <= self._slop_ns]
        return sorted(near, key=lambda s: abs(s - stamp_ns))

    def _matches(self, leader_ns: int) -> dict[str, int] | None:
        """Return the stamp of each stream's closest item, None unless all are close enough."""
        stamps = {}
        for stream, waiting in self._items.items():
            if leader_ns in waiting:
                stamps[stream] = leader_ns
                continue
            closest = min(waiting, key=lambda s: abs(s - leader_ns), default=None)
            if closest is None or abs(closest - leader_ns) > self._slop_ns:
                return None
            stamps[stream] = closest
        return stamps

    def _take(self, stamps: dict[str, int]) -> dict[str, ItemT]:
        joined = {stream: self._items[stream][stamp] for stream, stamp in stamps.items()}
        for stream, stamp in stamps.items():
            waiting = self._items[stream]
            self._items[stream] = {s: item for s, item in waiting.items() if s > stamp}
            if stream == self._leader:
                self.unmatched += len(waiting) - len(self._items[stream]) - 1
        return joined
