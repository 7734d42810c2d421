"""Messages that belong together, found by their stamps."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class StampJoin(Generic[ItemT]):
    """Joins one item of each stream whose stamps agree; a bounded buffer for each stream.

    The first stream leads: it is the slow one (labels of images whose depth came long ago), and a
    joined set carries its stamp. Once a set is complete, what no later leader can match is thrown
    away. Where stamps may differ, the item of one set may be the exact partner of the next leader,
    so it stays until then. Stamps may jump backwards (a bag that loops): the items from before the
    jump fall out of the buffer by and by.

    Written here because message_filters is not among the wheels that the tests run on, and its
    Python version cannot tell how far stamps are apart when nothing matches.
    """

    def __init__(
        self, slops_ns: Mapping[str, int], capacity: int = 30, room: int | None = None
    ) -> None:
        """Join the streams of `slops_ns`: {name: how far its stamps may be from the leader's}.

        The first leads; its number must be 0. Of each stream at most `capacity` items wait, and no
        more than have `room`, by the sizes that `add` is told.
        """
        self._streams: dict[str, _Stream[ItemT]] = {
            name: _Stream(slop_ns) for name, slop_ns in slops_ns.items()
        }
        self._leader = next(iter(self._streams.values()))
        self._capacity = capacity
        self._room = room
        self.unmatched = 0
        """Items of the leading stream that were thrown away without a match."""

    def add(self, name: str, stamp_ns: int, item: ItemT, size: int = 0) -> dict[str, ItemT] | None:
        """Take an item of a stream; returns {stream: item} if it completes a set."""
        stream = self._streams[name]
        before_ns = stream.newest_ns
        evicted = stream.add(stamp_ns, item, self._most(size))
        if stream is self._leader:
            self.unmatched += evicted
            leaders = [stamp_ns]
        else:
            leaders = self._leaders_for(stream, stamp_ns, before_ns)
        for leader_ns in leaders:
            if (stamps := self._partners(leader_ns)) is not None:
                return self._take(leader_ns, stamps)
        return None

    def clear(self) -> None:
        """Forget what waits; it does not count as unmatched."""
        for stream in self._streams.values():
            stream.clear()

    def gap_ns(self, name: str) -> int | None:
        """Return how far the closest stamps of the leader and a stream are apart, if both wait."""
        leaders = sorted(self._leader.items)
        return min(
            (
                abs(stamp - leader_ns)
                for stamp in self._streams[name].items
                for leader_ns in _neighbours(leaders, stamp)
            ),
            default=None,
        )

    def _most(self, size: int) -> int:
        """How many items of a stream may wait if all are like one of this size."""
        if self._room is None or not size:
            return self._capacity
        return max(1, min(self._capacity, self._room // size))

    def _leaders_for(
        self, stream: _Stream[ItemT], stamp_ns: int, before_ns: int | None
    ) -> list[int]:
        """Stamps of the waiting leaders that a new item may complete, closest first.

        Those within the tolerance, and those that it passed: nothing closer will come to them.
        """
        leaders, slop_ns = self._leader.items, stream.slop_ns
        if not slop_ns:  # the usual case needs no search
            return [stamp_ns] if stamp_ns in leaders else []
        first = stamp_ns - slop_ns if before_ns is None else min(before_ns, stamp_ns - slop_ns)
        near = [s for s in leaders if first <= s <= stamp_ns + slop_ns]
        return sorted(near, key=lambda s: abs(s - stamp_ns))

    def _partners(self, leader_ns: int) -> dict[str, int] | None:
        """Return the stamp of each stream's item for a leader, None unless all are there."""
        stamps = {}
        for name, stream in self._streams.items():
            partner_ns = stream.partner(leader_ns)
            if partner_ns is None:
                return None
            stamps[name] = partner_ns
        return stamps

    def _take(self, leader_ns: int, stamps: dict[str, int]) -> dict[str, ItemT]:
        joined = {name: self._streams[name].items[stamp] for name, stamp in stamps.items()}
        waited = len(self._leader.items)
        for name, stamp in stamps.items():
            self._streams[name].used(stamp, leader_ns)
        self.unmatched += waited - len(self._leader.items) - 1
        return joined


class _Stream(Generic[ItemT]):
    """What waits of one stream, in the order in which it came, and how the stream goes on."""

    def __init__(self, slop_ns: int) -> None:
        self.slop_ns = slop_ns
        self.clear()

    def clear(self) -> None:
        self.items: dict[int, ItemT] = {}
        self.newest_ns: int | None = None
        """Stamp of the item that came last."""
        self._period_ns = 0
        self._used_ns: int | None = None

    def add(self, stamp_ns: int, item: ItemT, most: int) -> int:
        """Take an item; returns how many went so that at most `most` are left."""
        if self.newest_ns is not None and stamp_ns > self.newest_ns:
            self._period_ns = stamp_ns - self.newest_ns
        self.newest_ns = stamp_ns
        self.items.pop(stamp_ns, None)  # of a bag's loop before: it must not keep its early place
        self.items[stamp_ns] = item
        surplus = max(0, len(self.items) - most)
        for oldest in list(self.items)[:surplus]:
            del self.items[oldest]
        return surplus

    def partner(self, leader_ns: int) -> int | None:
        """Stamp of the item that belongs to a leader; None if it has not come."""
        if leader_ns in self.items:
            return leader_ns
        if not self.slop_ns:
            return None
        closest = min(self.items, key=lambda s: abs(s - leader_ns), default=None)
        if closest is None or abs(closest - leader_ns) > self.slop_ns:
            return None
        return None if self._is_closer_due(closest, leader_ns) else closest

    def used(self, stamp_ns: int, leader_ns: int) -> None:
        """Drop what no leader after this one can match; the item of `stamp_ns` may stay."""
        self._used_ns = stamp_ns
        self.items = {s: item for s, item in self.items.items() if s > leader_ns - self.slop_ns}

    def _is_closer_due(self, closest_ns: int, leader_ns: int) -> bool:
        """Whether a leader is to wait, because the stream has not reached it.

        Else it would get its predecessor's item where that came before its own, and with a
        tolerance of a period so would every leader after it. Much closer is asked for, so that
        streams that are half a period apart do not wait.
        """
        if self.newest_ns is None or self.newest_ns >= leader_ns:
            return False
        if closest_ns == self._used_ns:
            return True
        due_ns = self.newest_ns + self._period_ns
        return 2 * abs(due_ns - leader_ns) < abs(closest_ns - leader_ns)


def _neighbours(stamps: list[int], stamp: int) -> list[int]:
    """Of sorted stamps the one before and the one after."""
    place = bisect(stamps, stamp)
    return stamps[max(place - 1, 0) : place + 1]
