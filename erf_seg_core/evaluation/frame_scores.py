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

    Frames are the same if the stamp and the bag are: by its name, or, if it lay elsewhere, by its
    name without the folder, where that tells all bags apart.
    """
    names = _same_bags(np.unique(first.bag).tolist(), np.unique(second.bag).tolist())
    place = {
        (str(bag), int(stamp)): row
        for row, (bag, stamp) in enumerate(zip(second.bag, second.stamps_ns, strict=True))
    }
    keys = ((names.get(str(b)), int(s)) for b, s in zip(first.bag, first.stamps_ns, strict=True))
    pairs = [(row, place[key]) for row, key in enumerate(keys) if key in place]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _same_bags(first: list[str], second: list[str]) -> dict[str, str]:
    """What each bag of the first is called in the second."""
    same = {bag: bag for bag in first if bag in second}
    left = [bag for bag in second if bag not in same]
    for bag in first:
        name = Path(bag).name
        found = [other for other in left if Path(other).name == name]
        alone = sum(Path(other).name == name for other in first) == 1
        if bag not in same and alone and len(found) == 1:
            same[bag] = found[0]
    return same
