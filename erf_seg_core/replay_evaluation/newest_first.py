"""What a live node would have dropped, from recorded stamps and measured times."""

from __future__ import annotations

import numpy as np


def would_be_dropped(stamps_ns: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """Frames that a newer one would have displaced while the node was busy: bool N.

    Simulates the node at the recorded rate: frames arrive at their stamps, one worker takes the
    newest that waits and needs `latency_ms` of that frame for it; those that wait behind it are
    gone. Transport takes no time here, so a live run drops at least about as many.

    Args:
        stamps_ns: int64 N, ascending.
        latency_ms: float64 N; where it is nan, that of the frames around is taken.

    """
    measured = np.flatnonzero(np.isfinite(latency_ms))
    if not len(measured):
        return np.zeros(len(stamps_ns), bool)
    latency_ms = np.interp(np.arange(len(latency_ms)), measured, latency_ms[measured])
    arrival_ms = (stamps_ns - stamps_ns[:1]) / 1e6
    dropped = np.zeros(len(stamps_ns), bool)
    oldest_waiting, free_ms = 0, -np.inf
    while oldest_waiting < len(arrival_ms):
        start_ms = max(free_ms, arrival_ms[oldest_waiting])
        taken = int(np.searchsorted(arrival_ms, start_ms, side="right")) - 1
        taken = max(taken, oldest_waiting)  # stamps that go back do not send us back
        dropped[oldest_waiting:taken] = True
        free_ms = start_ms + latency_ms[taken]
        oldest_waiting = taken + 1
    return dropped
