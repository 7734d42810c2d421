"""How the semantic cloud is doing: what arrived, what came of it, what is missing; knows no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

from .conditions import ERROR_FACTOR, Level, Verdict

_WITH_SLOP = ("depth", "points")
"""Streams whose stamps need not be the label's."""


@dataclass
class CloudCounts:
    """Since the start. A joined set ends as one of `clouds`, `dropped`, `unwanted`, `refused`.

    `dropped` sets were displaced by a newer one, `unwanted` ones lost their subscriber,
    `refused` ones could not be used; `unmatched` labels never found the rest of their set. Each
    number is written by one thread only. `cloud_ms` is what the last cloud took.
    """

    received: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    joined: int = 0
    dropped: int = 0
    unwanted: int = 0
    refused: int = 0
    clouds: int = 0
    cloud_ms: float = 0.0
    last_refusal: str = ""


@dataclass(frozen=True)
class Waiting:
    """What the verdict needs to know of the inputs besides the counts.

    `topics` are the joined inputs by stream; `gaps_ms` says, for each that is not the label's, how
    far its closest waiting stamp is from a label's, None if nothing waits. `wanted_since` is when
    the clouds found a subscriber; None while nobody subscribes.
    """

    topics: dict[str, str]
    gaps_ms: dict[str, float | None]
    wanted_since: float | None


class CloudHealth:
    """Compares the counts of one look with the last; times are of one monotonic clock, seconds."""

    def __init__(self, now: float, stale_after: float) -> None:
        """Start at `now`."""
        self._stale_after = stale_after
        self._last_good = self._looked = now
        self._before = CloudCounts()

    def judge(self, now: float, counts: CloudCounts, waiting: Waiting) -> Verdict:
        """One status; `counts` are those of this moment."""
        before, seconds = self._before, max(now - self._looked, 1e-6)
        self._before, self._looked = _copy(counts), now
        used = counts.clouds + counts.unwanted - before.clouds - before.unwanted
        if used:
            self._last_good = now
        rate = (counts.clouds - before.clouds) / seconds
        values = _values(counts, waiting, rate)
        if waiting.wanted_since is None:
            return Verdict(Level.OK, "nobody subscribes", values)
        if counts.refused > before.refused:
            level = Level.WARN if used else Level.ERROR
            return Verdict(level, f"labels without a cloud: {counts.last_refusal}", values)
        silence = now - max(self._last_good, waiting.wanted_since)
        if silence <= self._stale_after:
            busy = f"{rate:.1f} Hz, {counts.cloud_ms:.0f} ms a cloud"
            return Verdict(Level.OK, busy if rate else "waiting", values)
        level = Level.ERROR if silence > ERROR_FACTOR * self._stale_after else Level.WARN
        cause = _cause(counts, before, waiting)
        return Verdict(level, f"no cloud for {silence:.1f} s: {cause}", values)


def _cause(counts: CloudCounts, before: CloudCounts, waiting: Waiting) -> str:
    silent = [
        topic
        for stream, topic in waiting.topics.items()
        if counts.received.get(stream, 0) == before.received.get(stream, 0)
    ]
    if silent:
        return f"nothing arrives on {', '.join(silent)}"
    known = {stream: gap for stream, gap in waiting.gaps_ms.items() if gap is not None}
    if not known:
        return (
            "labels come later than queue_size messages, or queue_mb megabytes, of the other "
            "topics reach back"
        )
    stream, gap = max(known.items(), key=lambda item: item[1])
    slop = "; if that is the same moment, set slop to more" if stream in _WITH_SLOP else ""
    return (
        f"no message on {waiting.topics[stream]} has a label's stamp, the closest is "
        f"{gap:.1f} ms away{slop}"
    )


def _copy(counts: CloudCounts) -> CloudCounts:
    return CloudCounts(**{**vars(counts), "received": dict(counts.received)})


def _values(counts: CloudCounts, waiting: Waiting, rate: float) -> dict[str, str]:
    values = {f"topic_{stream}": topic for stream, topic in waiting.topics.items()}
    values |= {f"received_{stream}": str(n) for stream, n in counts.received.items()}
    for name in ("unmatched", "joined", "dropped", "unwanted", "refused", "clouds"):
        values[name] = str(getattr(counts, name))
    values["last_refusal_reason"] = counts.last_refusal
    values["rate_hz"] = f"{rate:.2f}"
    values["cloud_ms"] = f"{counts.cloud_ms:.1f}"
    return values
