"""What a model scored on every frame: the file `confusion.npz` of a result folder."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ErfSegError

FILE_NAME = "confusion.npz"


@dataclass(frozen=True)
class FrameScores:
    """One row for each of N labelled frames, in the order of the recording.

    `bag` str[N], `stamps_ns` int64[N], `confusion` int32[N, C, C+1] (rows truth, columns
    prediction, the last one void predicted), `latency_ms` float64[N], nan where not measured.
    A frame without truth is a matrix of zeros.
    """

    class_names: tuple[str, ...]
    bag: np.ndarray
    stamps_ns: np.ndarray
    confusion: np.ndarray
    latency_ms: np.ndarray

    def __post_init__(self) -> None:
        """Refuse rows and classes that do not fit together."""
        classes, rows = len(self.class_names), len(self.stamps_ns)
        fits = self.confusion.shape == (rows, classes, classes + 1)
        if not fits or not len(self.bag) == len(self.latency_ms) == rows:
            raise ErfSegError(
                f"scores of {rows} frames and {classes} classes do not fit: confusion is "
                f"{self.confusion.shape}, with {len(self.bag)} bags and "
                f"{len(self.latency_ms)} latencies"
            )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.stamps_ns)

    def rows(self, chosen: np.ndarray) -> FrameScores:
        """The frames at these positions."""
        return FrameScores(
            self.class_names,
            self.bag[chosen],
            self.stamps_ns[chosen],
            self.confusion[chosen],
            self.latency_ms[chosen],
        )

    def with_truth(self) -> FrameScores:
        """The frames of which at least one pixel could be judged."""
        return self.rows(np.flatnonzero(self.confusion.any(axis=(1, 2))))

    def save(self, path: Path) -> None:
        """Write the file; matrices are mostly zeros and shrink to a few per cent."""
        np.savez_compressed(
            path,
            class_names=np.array(self.class_names, np.str_),
            bag=np.asarray(self.bag, np.str_),
            stamps_ns=np.asarray(self.stamps_ns, np.int64),
            confusion=np.asarray(self.confusion, np.int32),
            latency_ms=np.asarray(self.latency_ms, np.float64),
        )

    @classmethod
    def load(cls, path: Path) -> FrameScores:
        """Read the file; `ErfSegError` if it is none or damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    tuple(str(name) for name in file["class_names"]),
                    *(file[name] for name in ("bag", "stamps_ns", "confusion", "latency_ms")),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ErfSegError(
                f"{path} holds no frame scores ({error}); `erf_seg bag evaluate` writes them"
            ) from error


def common_rows(first: FrameScores, second: FrameScores) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the frames that both have, in the order of `first`: int64 M each.

    Frames are the same if the stamp is, and the name of the bag without its folder.
    """
    place = {key: row for row, key in enumerate(_keys(second))}
    pairs = [(row, place[key]) for row, key in enumerate(_keys(first)) if key in place]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _keys(scores: FrameScores) -> list[tuple[str, int]]:
    names = {bag: Path(str(bag)).name for bag in np.unique(scores.bag)}
    return [(names[b], int(s)) for b, s in zip(scores.bag, scores.stamps_ns, strict=True)]
