"""What `~/timing` says about one frame: to a message and back.

Durations come from a monotonic clock; only the age on arrival compares the ROS clock with the
image's stamp.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

STAGES = ("convert", "preprocess", "network", "postprocess", "publish")
"""Stages of a frame in the node, in order; `publish` covers every output topic."""

_COUNTS = ("received", "labelled", "dropped", "malformed", "failed", "too_old")

_MILLISECONDS = "_ms"


class StageClock:
    """Stopwatch for consecutive stages; readings in milliseconds."""

    def __init__(self) -> None:
        """Start the first stage now."""
        self._last = time.perf_counter()
        self.stages_ms: dict[str, float] = {}

    def restart(self) -> None:
        """Start the next stage here; what lies before it was timed by others."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End `stage` here and start the next."""
        now = time.perf_counter()
        self.stages_ms[stage] = (now - self._last) * 1e3
        self._last = now


@dataclass(frozen=True)
class FrameTiming:
    """One labelled frame: where its time went, and how many frames there were so far.

    `waiting_ms` is from arrival until the worker took it. `age_on_arrival_ms` is from the stamp
    until the node had the message (nan without a stamp), `end_to_end_ms` from the stamp until the
    label was published. The counts run since the node was configured. Of a `batch` of several
    frames, preprocess, network and postprocess are the whole batch's times, convert and publish
    the frame's own; what it spent while others were converted or published is in `end_to_end_ms`.
    """

    stages_ms: dict[str, float]
    waiting_ms: float
    age_on_arrival_ms: float
    end_to_end_ms: float
    received: int
    labelled: int
    dropped: int
    malformed: int
    failed: int
    too_old: int
    model: str
    engine: str
    batch: int = 1

    def to_message(self, header: Header, name: str, hardware_id: str) -> DiagnosticArray:
        """Return one status with one key per figure, under the image's `header`."""
        durations = {
            **self.stages_ms,
            "waiting": self.waiting_ms,
            "age_on_arrival": self.age_on_arrival_ms,
            "end_to_end": self.end_to_end_ms,
        }
        values = {f"{key}{_MILLISECONDS}": f"{ms:.3f}" for key, ms in durations.items()}
        for key in (*_COUNTS, "model", "engine", "batch"):
            values[key] = str(getattr(self, key))
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK,
            name=name,
            hardware_id=hardware_id,
            message=f"{self.end_to_end_ms:.1f} ms from stamp to label",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        return DiagnosticArray(header=header, status=[status])

    @classmethod
    def from_message(cls, message: DiagnosticArray) -> FrameTiming:
        """Inverse of `to_message`; `KeyError` for a message that is not a frame's timing."""
        values = {v.key: v.value for status in message.status for v in status.values}
        return cls(
            stages_ms={stage: float(values[stage + _MILLISECONDS]) for stage in STAGES},
            waiting_ms=float(values["waiting_ms"]),
            age_on_arrival_ms=float(values["age_on_arrival_ms"]),
            end_to_end_ms=float(values["end_to_end_ms"]),
            **{key: int(values[key]) for key in _COUNTS},
            model=values["model"],
            engine=values["engine"],
            batch=int(values["batch"]),
        )
