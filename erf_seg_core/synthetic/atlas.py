"""All tiles with their mip levels in one picture, so that a whole frame is one `cv2.remap`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import facades, textures
from .textures import TILE

Painter = Callable[[np.random.Generator], np.ndarray]

# kind → (painter, how many different ones, metres one tile spans across and up)
_KINDS: dict[str, tuple[Painter, int, float, float]] = {
    "plain": (textures.plain, 1, 2.0, 2.0),
    "asphalt": (textures.asphalt, 4, 7.0, 7.0),
    "slabs": (textures.slabs, 4, 4.0, 4.0),
    "grass": (textures.grass, 2, 4.0, 4.0),
    "leaves": (textures.leaves, 3, 2.6, 2.6),
    "bark": (textures.bark, 2, 1.0, 2.0),
    "brick": (textures.brick, 2, 2.4, 2.4),
    "stone": (textures.stone, 2, 3.2, 3.2),
    "stucco": (textures.stucco, 2, 5.0, 5.0),
    "roof": (textures.roof, 3, 3.6, 3.6),
    "planks": (textures.planks, 1, 2.0, 2.0),
    "cloth": (textures.cloth, 2, 0.8, 0.8),
    "road_paint": (textures.road_paint, 2, 2.0, 2.0),
    "car_paint": (textures.car_paint, 1, 2.0, 2.0),
    "glass": (textures.glass, 2, 2.0, 2.0),
    "upper_floors": (facades.upper_floors, 12, 6.0, 6.2),
    "office_floors": (facades.office_floors, 5, 7.0, 6.6),
    "shop_front": (facades.shop_front, 9, 6.0, 3.6),
    "house_front": (facades.house_front, 5, 6.0, 3.1),
    "blind_wall": (facades.blind_wall, 3, 7.0, 7.0),
}

LEVELS = 7  # 256 … 4 texels
_GUTTER = 1  # texels repeated around each tile, for bilinear lookup across its border
VARIANTS = 4  # different atlases; more variety costs 25 MB each


@dataclass(frozen=True)
class Material:
    """One tile of the atlas and the metres it spans."""

    index: int
    width_m: float
    height_m: float


@dataclass(frozen=True)
class Atlas:
    """`picture` is uint8 BGRA; a tile's levels lie side by side, tiles below each other."""

    picture: np.ndarray
    materials: dict[str, tuple[Material, ...]]

    def pick(self, kind: str, rng: np.random.Generator) -> Material:
        """One material of that kind at random."""
        choices = self.materials[kind]
        return choices[int(rng.integers(len(choices)))]

    def first(self, kind: str) -> Material:
        """The material of a kind that has one, or its first."""
        return self.materials[kind][0]


LEVEL_SIZES = np.array([TILE >> level for level in range(LEVELS)], np.float32)
_STRIDES = [(TILE >> level) + 2 * _GUTTER for level in range(LEVELS)]
# where the first texel's centre lies; the half texel turns [0, 1) coordinates into pixel centres
LEVEL_X = np.cumsum([0, *_STRIDES[:-1]]).astype(np.float32) + _GUTTER - 0.5
ROW_HEIGHT = TILE + 2 * _GUTTER
ROW_Y = np.float32(_GUTTER - 0.5)


@lru_cache(maxsize=VARIANTS)
def load_atlas(variant: int) -> Atlas:
    """Paint the atlas of that variant (0 to VARIANTS − 1); about half a second, then cached."""
    materials: dict[str, tuple[Material, ...]] = {}
    rows: list[np.ndarray] = []
    for kind, (paint, count, width_m, height_m) in _KINDS.items():
        made = []
        for number in range(count):
            rng = np.random.default_rng([variant, len(rows), number])
            made.append(Material(len(rows), width_m, height_m))
            rows.append(_mip_row(paint(rng)))
        materials[kind] = tuple(made)
    return Atlas(np.concatenate(rows), materials)


def _mip_row(tile: np.ndarray) -> np.ndarray:
    row = np.zeros((ROW_HEIGHT, sum(_STRIDES), 4), np.uint8)
    x = 0
    for level in range(LEVELS):
        size = TILE >> level
        small = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
        framed = cv2.copyMakeBorder(small, *[_GUTTER] * 4, cv2.BORDER_WRAP)
        row[: framed.shape[0], x : x + framed.shape[1]] = framed
        x += framed.shape[1]
    return row
