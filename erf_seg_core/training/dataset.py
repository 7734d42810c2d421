"""Training images in memory, and which views of them each optimisation step sees.

Nothing here has hidden state: a view is a function of the seed and of its place in the training, so
a resumed run sees what the interrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ..label_size import resize_labels
from .augment import random_view
from .recipe import Augmentation
from .sources import LabelledSet


class View(NamedTuple):
    """Image number and the key of the random numbers that change it."""

    index: int
    key: tuple[int, ...]


class TrainingImages:
    """Frames of several sources as uint8 arrays, each no larger than training can use.

    A stage of the training uses all of them, or those of some sources.
    """

    def __init__(
        self, sets: Sequence[LabelledSet], max_height: int, keep: bool = True, quiet: bool = False
    ) -> None:
        """Read and check every frame once; `keep` holds them in memory.

        Raises `ErfSegError` naming the first file that is damaged, of the wrong size or holds an
        unknown id.
        """
        self._sets = sets
        self._places = [(s, i) for s in range(len(sets)) for i in range(len(sets[s].frames))]
        self._pixels = np.zeros((len(sets), 256), np.int64)
        self._max_height = max_height
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        for place in tqdm(range(len(self._places)), "reading images", disable=quiet, mininterval=2):
            image, label = self._read(place)
            self._pixels[self._places[place][0]] += np.bincount(label.ravel(), minlength=256)
            if keep:
                self._kept.append((image, label))

    def __len__(self) -> int:
        """Count the frames, repeats not counted."""
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 BGR H×W×3 and target ids uint8 H×W."""
        return self._kept[index] if self._kept else self._read(index)

    def pixels(self, stage: int) -> np.ndarray:
        """Count the target ids (int64[256]) of the frames that a stage learns from, each once."""
        return self._pixels[[s.source.teaches(stage) for s in self._sets]].sum(0)

    def repeats(self, stage: int) -> np.ndarray:
        """How often an epoch of a stage shows each frame (float64[len]); 0: never."""
        often = [s.source.repeat * s.source.teaches(stage) for s in self._sets]
        return np.array([often[s] for s, _ in self._places])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        s, i = self._places[index]
        image, label = self._sets[s].load(i)
        h, w = image.shape[:2]
        if h <= self._max_height:
            return image, label
        height, width = self._max_height, round(w * self._max_height / h)
        smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return smaller, resize_labels(label, (height, width))


class Views(Dataset):
    """Random views of images: tensors uint8 3×h×w RGB and uint8 h×w."""

    def __init__(
        self, images: TrainingImages, input_height: int, settings: Augmentation, stride: int = 1
    ) -> None:
        """Labels are taken at every `stride`-th pixel (8 for training the encoder alone)."""
        self._images, self._height, self._settings = images, input_height, settings
        self._stride = stride

    def __getitem__(self, view: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the view."""
        image, label = self._images[view.index]
        rng = np.random.default_rng(view.key)
        image, label = random_view(image, label, self._height, self._settings, rng)
        s = self._stride
        return to_rgb(image), torch.from_numpy(label[s // 2 :: s, s // 2 :: s].copy())


def to_rgb(image_bgr: np.ndarray) -> torch.Tensor:
    """Image uint8 BGR H×W×3 → tensor uint8 RGB 3×H×W."""
    return torch.from_numpy(np.ascontiguousarray(image_bgr[:, :, ::-1].transpose(2, 0, 1)))


@dataclass(frozen=True)
class ViewOrder:
    """Which views make up the forward passes of an epoch on one of several processes.

    A batch is cut into `accumulate` × `world` equal parts; part `a·world + rank` is this process's
    a-th forward pass. So the weights do not depend on how the parts are spread.
    """

    repeats: np.ndarray
    batch_size: int
    accumulate: int
    seed: tuple[int, ...]
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Optimisation steps in an epoch; the last batch is filled up from the start."""
        return max(1, -(-round(float(self.repeats.sum())) // self.batch_size))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[View]]:
        """Views of each forward pass of an epoch, from an optimisation step on."""
        order = self._order(epoch)
        part = self.batch_size // (self.accumulate * self.world)
        for step in range(first_step, self.steps):
            for a in range(self.accumulate):
                start = step * self.batch_size + (a * self.world + self.rank) * part
                places = range(start, start + part)
                yield [View(int(order[p % len(order)]), (*self.seed, epoch, p)) for p in places]

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((*self.seed, epoch))
        whole = np.floor(self.repeats).astype(int)
        times = whole + (rng.random(len(whole)) < self.repeats - whole)
        order = rng.permutation(np.repeat(np.arange(len(times)), times))
        # Fractions may leave an epoch without any image.
        return order if len(order) else np.flatnonzero(self.repeats)[:1]
