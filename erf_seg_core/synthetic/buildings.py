"""Terraces, shops, offices and houses along the street."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .atlas import Material
from .kit import Kit, Piece
from .labels import BUILDING
from .mesh import UP

_AWNINGS = (
    (0.2, 0.2, 0.9),
    (0.35, 0.75, 0.3),
    (0.9, 0.4, 0.2),
    (1, 1, 1),
    (0.3, 0.8, 1),
    (0.2, 0.2, 0.2),
)


@dataclass(frozen=True)
class Plot:
    """Where a building stands: lower left corner seen from the street, and its axes."""

    corner: np.ndarray
    right: np.ndarray  # unit vector along the facade
    front: np.ndarray  # unit vector towards the street
    width: float
    depth: float

    @property
    def walls(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Lower left corner, direction and width of front, right, back and left wall."""
        right, front = self.right * self.width, self.front * self.depth
        c = self.corner
        return [
            (c, self.right, self.width),
            (c + right, -self.front, self.depth),
            (c + right - front, -self.right, self.width),
            (c - front, self.front, self.depth),
        ]


def plot_along(kit: Kit, side: int, s0: float, s1: float, line: float, depth: float) -> Plot:
    """Plot whose facade runs from s0 to s1 at distance `line` from the centre line."""
    a, b = kit.road.ground(np.array([s0, s1]), side * line)
    start, end = (a, b) if side > 0 else (b, a)
    right = (end - start) / np.linalg.norm(end - start)
    front = np.cross(right, UP)
    return Plot(start, right, front, float(np.linalg.norm(end - start)), depth)


def add_terrace(piece: Piece, kit: Kit, rng: np.random.Generator, plot: Plot, shop: bool) -> None:
    """A town house in a row: ground floor, upper floors, pitched roof with chimney."""
    floors = int(rng.integers(kit.layout.building_floors[0], kit.layout.building_floors[1] + 1))
    ground_height = float(rng.uniform(3.1, 4.1) if shop else rng.uniform(2.8, 3.2))
    floor_height = float(rng.uniform(2.6, 3.3))
    tint = _pick(rng, kit.palette.wall_tints)
    top = ground_height + floors * floor_height
    piece.solid.begin(far=True)
    kind = "shop_front" if shop else "house_front"
    units = max(1, round(plot.width / (rng.uniform(4, 7) if shop else 6.0)))
    base = kit.atlas.pick(kind, rng)
    upper = kit.atlas.pick("upper_floors", rng)
    bays = max(1, round(plot.width / rng.uniform(2.4, 3.6)))
    _wall(piece, plot, 0, base, tint, 0, ground_height, (plot.width / units, ground_height))
    size = (2 * plot.width / bays, 2 * floor_height)
    _wall(piece, plot, 0, upper, tint, ground_height, top, size)
    _blind_sides(piece, kit, rng, plot, tint, top)
    if shop and rng.random() < 0.35:
        _awning(piece, kit, rng, plot, ground_height * 0.78)
    if rng.random() < 0.75:
        _gable_roof(piece, kit, rng, plot, top, tint)
    else:
        _flat_roof(piece, kit, plot, top, tint)
    piece.casters.append(_hull(plot, top))


def add_office(piece: Piece, kit: Kit, rng: np.random.Generator, plot: Plot) -> None:
    """A larger block with rows of glass and a flat roof."""
    floors = int(rng.integers(2, kit.layout.building_floors[1] + 4))
    floor_height = float(rng.uniform(3.0, 3.8))
    top = floors * floor_height
    tint = _pick(rng, kit.palette.wall_tints)
    material = kit.atlas.pick("office_floors" if rng.random() < 0.7 else "upper_floors", rng)
    piece.solid.begin(far=True)
    for index, (_, _, width) in enumerate(plot.walls):
        bays = max(1, round(width / rng.uniform(6, 8)))
        _wall(piece, plot, index, material, tint, 0, top, (width / bays, 2 * floor_height))
    if rng.random() < 0.5:
        units = max(1, round(plot.width / 7))
        size = (plot.width / units, floor_height)
        _wall(piece, plot, 0, kit.atlas.pick("shop_front", rng), tint, 0, floor_height, size)
    _flat_roof(piece, kit, plot, top, tint)
    piece.casters.append(_hull(plot, top))


def add_house(piece: Piece, kit: Kit, rng: np.random.Generator, plot: Plot) -> None:
    """A detached house of one or two floors."""
    floors, height = int(rng.integers(1, 3)), float(rng.uniform(2.6, 3.0))
    tint = _pick(rng, kit.palette.wall_tints)
    piece.solid.begin(far=True)
    base, upper = kit.atlas.pick("house_front", rng), kit.atlas.pick("upper_floors", rng)
    _wall(piece, plot, 0, base, tint, 0, height, (plot.width, height))
    if floors > 1:
        size = (2 * plot.width / max(2, round(plot.width / 3)), 2 * height)
        _wall(piece, plot, 0, upper, tint, height, floors * height, size)
    _blind_sides(piece, kit, rng, plot, tint, floors * height)
    _gable_roof(piece, kit, rng, plot, floors * height, tint)
    piece.casters.append(_hull(plot, floors * height + 1.5))


def add_garden_wall(
    piece: Piece, kit: Kit, rng: np.random.Generator, start: np.ndarray, end: np.ndarray
) -> None:
    """A low brick wall from `start` to `end`, seen from either side."""
    height = float(rng.uniform(0.6, 1.3))
    piece.solid.begin(far=True)
    piece.solid.quad(
        start, end - start, height * UP, kit.atlas.pick("brick", rng),
        _pick(rng, kit.palette.wall_tints), BUILDING, two_sided=True,
    )  # fmt: skip


def _wall(
    piece: Piece,
    plot: Plot,
    index: int,
    material: Material,
    tint: Sequence[float],
    z0: float,
    z1: float,
    tile_size: tuple[float, float] | None = None,
) -> None:
    corner, direction, width = plot.walls[index]
    piece.solid.quad(
        corner + z0 * UP, width * direction, (z1 - z0) * UP, material, tint, BUILDING,
        tile_size=tile_size,
    )  # fmt: skip


def _blind_sides(
    piece: Piece, kit: Kit, rng: np.random.Generator, plot: Plot, tint: Sequence[float], top: float
) -> None:
    material = kit.atlas.pick(str(rng.choice(["brick", "stucco", "blind_wall"])), rng)
    for index in (1, 3):
        _wall(piece, plot, index, material, tint, 0, top)


def _gable_roof(
    piece: Piece,
    kit: Kit,
    rng: np.random.Generator,
    plot: Plot,
    top: float,
    wall_tint: Sequence[float],
) -> None:
    """Two slopes with the ridge along the street (or across it), gables, and a chimney."""
    roof, tint = kit.atlas.pick("roof", rng), _pick(rng, kit.palette.roof_tints)
    rise = float(rng.uniform(0.5, 0.9)) * min(plot.depth, plot.width) / 2
    across = rng.random() < 0.2  # gable to the street
    turn = 1 if across else 0
    walls = plot.walls
    for index in (turn, turn + 2):
        corner, direction, width = walls[index]
        inward = np.cross(UP, direction) * (plot.width if across else plot.depth) / 2
        eaves = 0.25 * -inward / np.linalg.norm(inward)
        piece.solid.quad(
            corner + eaves + top * UP, width * direction, inward - eaves + rise * UP,
            roof, tint, BUILDING,
        )  # fmt: skip
        corner, direction, width = walls[(index + 1) % 4]
        gable = np.array(
            [corner, corner + width * direction, corner + width / 2 * direction + rise * UP]
        )
        piece.solid.polygon(
            gable + top * UP, kit.material("stucco"), np.array(wall_tint) * 0.95, BUILDING
        )
    if rng.random() < 0.7:
        place = plot.corner + plot.right * plot.width * rng.uniform(0.05, 0.85)
        place = place - plot.front * plot.depth * 0.5 - plot.right * 0.4
        stack = Plot(place, plot.right, plot.front, 0.9, 0.6)
        for index in range(4):
            corner, direction, width = stack.walls[index]
            height = rise + 0.9
            piece.solid.quad(
                corner + top * UP, width * direction, height * UP, kit.material("brick"),
                (0.34, 0.42, 0.6), BUILDING,
            )  # fmt: skip


def _flat_roof(piece: Piece, kit: Kit, plot: Plot, top: float, tint: Sequence[float]) -> None:
    """A cornice; the roof itself cannot be seen from the street."""
    for index in range(4):
        corner, direction, width = plot.walls[index]
        out = 0.12 * np.cross(direction, UP)
        piece.solid.quad(
            corner + out + (top - 0.15) * UP, width * direction, 0.65 * UP,
            kit.material("plain"), np.array(tint) * 1.08, BUILDING,
        )  # fmt: skip


def _awning(piece: Piece, kit: Kit, rng: np.random.Generator, plot: Plot, height: float) -> None:
    tint = rng.uniform(0.25, 0.9) * np.array(_AWNINGS[int(rng.integers(len(_AWNINGS)))])
    start = plot.corner + plot.front * 1.1 + plot.right * 0.4 + (height - 0.45) * UP
    width = (plot.width - 0.8) * plot.right
    piece.solid.quad(
        start, width, -1.1 * plot.front + 0.6 * UP, kit.material("cloth"), tint, BUILDING,
        two_sided=True,
    )  # fmt: skip


def _hull(plot: Plot, top: float) -> np.ndarray:
    base = np.array([corner for corner, _, _ in plot.walls])
    return np.concatenate([base, base + top * UP])


def _pick(rng: np.random.Generator, tints: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(tints[int(rng.integers(len(tints)))]) * rng.uniform(0.9, 1.1)
