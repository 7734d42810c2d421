"""What is kept of every frame: some numbers and a confusion matrix, a kilobyte or so."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrameTable:
    """Rows of N labelled frames of one bag and one model, in the order of recording.

    `index` int64 N: which frame of the topic. `stamps_ns` int64 N. `times_ms` float64 N by name.
    `flicker` and `boundary` float64 N, nan where there is nothing to
    compare. `scored` bool N: whether there was truth. `confusion` int32 M×C×(C+1) of the M scored.
    """

    index: np.ndarray
    stamps_ns: np.ndarray
    times_ms: dict[str, np.ndarray]
    flicker: np.ndarray
    boundary: np.ndarray
    scored: np.ndarray
    confusion: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stamps_ns)

    @property
    def latency_ms(self) -> np.ndarray:
        """The time that the report calls a frame's: from stamp to label live, else the total."""
        unknown = np.full(len(self), np.nan)
        return self.times_ms.get("end_to_end", self.times_ms.get("total", unknown))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a file; `from_arrays` takes them back."""
        times = {f"times_{name}": values for name, values in self.times_ms.items()}
        return {
            "index": self.index,
            "stamps_ns": self.stamps_ns,
            "flicker": self.flicker,
            "boundary": self.boundary,
            "scored": self.scored,
            "confusion": self.confusion,
            **times,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> FrameTable:
        """Inverse of `to_arrays`."""
        times = {
            name.removeprefix("times_"): values
            for name, values in arrays.items()
            if name.startswith("times_")
        }
        names = ("index", "stamps_ns", "flicker", "boundary", "scored", "confusion")
        return cls(times_ms=times, **{name: arrays[name] for name in names})


class FrameTableBuilder:
    """Collects rows in plain arrays, eight bytes a number."""

    def __init__(self, num_classes: int) -> None:
        """Start empty."""
        self._num_classes = num_classes
        self._whole = {name: array("q") for name in ("index", "stamps_ns", "scored")}
        self._real: dict[str, array[float]] = {"flicker": array("d"), "boundary": array("d")}
        self._confusion: list[np.ndarray] = []

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._whole["index"])

    def add(
        self,
        index: int,
        stamp_ns: int,
        times_ms: dict[str, float],
        flicker: float,
        boundary: float,
        confusion: np.ndarray | None,
    ) -> None:
        """Append a row; every row must have the same times."""
        whole = {"index": index, "stamps_ns": stamp_ns, "scored": confusion is not None}
        for name, value in whole.items():
            self._whole[name].append(int(value))
        times = {f"times_{name}": ms for name, ms in times_ms.items()}
        for name, number in {"flicker": flicker, "boundary": boundary, **times}.items():
            self._real.setdefault(name, array("d")).append(number)
        if confusion is not None:
            self._confusion.append(confusion.astype(np.int32))

    def table(self) -> FrameTable:
        """The rows so far."""
        shape = (len(self._confusion), self._num_classes, self._num_classes + 1)
        arrays = {name: np.array(values, np.int64) for name, values in self._whole.items()}
        arrays |= {name: np.array(values, np.float64) for name, values in self._real.items()}
        arrays["scored"] = arrays["scored"].astype(bool)
        arrays["confusion"] = np.array(self._confusion, np.int32).reshape(shape)
        return FrameTable.from_arrays(arrays)
