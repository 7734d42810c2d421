"""How busy others kept the machine: a duration measured beside them is not the machine's."""

from __future__ import annotations

import os
import time

import psutil


class CpuWatch:
    """Counts from its creation on."""

    def __init__(self) -> None:
        """Start counting."""
        self._start = _counters()

    def cores_used_by_others(self) -> float:
        """Cores that other processes kept busy on average since the start.

        On a virtual machine that includes what the host took away ("steal").
        """
        seconds, busy, own = (
            now - then for now, then in zip(_counters(), self._start, strict=True)
        )
        return max(0.0, float((busy - own) / seconds)) if seconds > 0 else 0.0


def load_at_start(seconds: float = 0.5) -> dict[str, float]:
    """Load averages, and the cores that others use while this process does nothing."""
    watch = CpuWatch()
    time.sleep(seconds)
    one_minute, five_minutes, _ = os.getloadavg()
    return {
        "load_1_min": round(one_minute, 2),
        "load_5_min": round(five_minutes, 2),
        "cores_used_by_others": round(watch.cores_used_by_others(), 2),
    }


def _counters() -> tuple[float, float, float]:
    """Clock, busy seconds of all cores, busy seconds of this process and its children."""
    cpu = psutil.cpu_times()
    busy = sum(cpu) - cpu.idle - getattr(cpu, "iowait", 0.0)
    busy -= getattr(cpu, "guest", 0.0) + getattr(cpu, "guest_nice", 0.0)  # counted in user already
    return time.monotonic(), busy, sum(os.times()[:4])
