"""Cars, vans, buses and lorries as small solids; x forward, y left, z up, wheels at z = 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .atlas import Atlas
from .labels import CAR
from .mesh import UP, Mesh, MeshBuilder

_PAINTS = (
    (0.85, 0.86, 0.88), (0.62, 0.63, 0.65), (0.14, 0.14, 0.15), (0.10, 0.10, 0.11),
    (0.35, 0.20, 0.12), (0.14, 0.13, 0.55), (0.45, 0.36, 0.30), (1.12, 1.12, 1.12),
    (0.20, 0.30, 0.16), (0.55, 0.62, 0.68), (0.75, 0.52, 0.25), (0.10, 0.12, 0.34),
)  # fmt: skip
_BUS_PAINTS = ((0.12, 0.10, 0.68), (0.65, 0.45, 0.20), (0.75, 0.8, 0.82), (0.25, 0.45, 0.18))
_DARK, _TYRE, _HUB = (0.07, 0.07, 0.07), (0.11, 0.11, 0.11), (0.55, 0.55, 0.56)
_FORWARD, _LEFT = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


@dataclass(frozen=True)
class Shape:
    """Sizes in metres; the greenhouse is given by its x range at the belt and at the roof."""

    length: float
    width: float
    belt: float  # where paint ends and windows begin
    roof: float
    bonnet: float  # height of the front end
    boot: float  # height of the rear end
    glass_low: tuple[float, float]  # rear, front x at the belt, as fractions of the length
    glass_high: tuple[float, float]  # the same at the roof
    wheel: float
    odds: float


_SHAPES = {
    "hatchback": Shape(3.9, 1.70, 0.92, 1.45, 0.80, 0.90, (0.03, 0.74), (0.10, 0.56), 0.30, 0.28),
    "saloon": Shape(4.5, 1.76, 0.92, 1.42, 0.82, 0.92, (0.17, 0.72), (0.30, 0.57), 0.31, 0.22),
    "estate": Shape(4.6, 1.78, 0.93, 1.47, 0.82, 0.92, (0.02, 0.72), (0.06, 0.57), 0.31, 0.16),
    "suv": Shape(4.5, 1.88, 1.10, 1.74, 1.02, 1.08, (0.02, 0.74), (0.06, 0.60), 0.37, 0.14),
    "van": Shape(5.0, 1.95, 1.15, 2.15, 1.05, 1.15, (0.70, 0.90), (0.68, 0.80), 0.34, 0.12),
    "truck": Shape(7.5, 2.35, 1.30, 2.40, 1.20, 1.20, (0.76, 0.99), (0.76, 0.97), 0.45, 0.04),
    "bus": Shape(10.5, 2.50, 1.25, 3.05, 1.25, 1.25, (0.005, 0.995), (0.01, 0.985), 0.48, 0.04),
}

KINDS: tuple[str, ...] = tuple(_SHAPES)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle's mesh in its own frame, and the box around it."""

    mesh: Mesh
    length: float
    width: float
    height: float

    def corners(self) -> np.ndarray:
        """Eight corners of its bounding box, bottom four first."""
        x, y = self.length / 2, self.width / 2
        base = np.array([[x, y, 0], [-x, y, 0], [-x, -y, 0], [x, -y, 0]])
        return np.concatenate([base, base * [0.8, 0.85, 1] + self.height * UP])


def pick_kind(rng: np.random.Generator, parked: bool = False) -> str:
    """A kind as often as it is met; buses do not park."""
    odds = np.array([s.odds for s in _SHAPES.values()])
    if parked:
        odds = odds * [kind not in ("bus", "truck") for kind in KINDS]
    return str(rng.choice(KINDS, p=odds / odds.sum()))


def build_vehicle(
    atlas: Atlas, rng: np.random.Generator, kind: str, braking: bool = False, lit: bool = False
) -> Vehicle:
    """Draw one vehicle of that kind, its paint and proportions at random."""
    shape = _SHAPES[kind]
    scale = rng.uniform(0.95, 1.06)
    paints = _BUS_PAINTS if kind == "bus" else _PAINTS
    paint = np.array(paints[int(rng.integers(len(paints)))]) * rng.uniform(0.85, 1.15)
    if kind == "van" and rng.random() < 0.5:
        paint = np.array([1.05, 1.06, 1.06])
    body = _Body(atlas, shape, paint)
    body.wheels_behind()
    body.lower()
    body.greenhouse(glazed_sides=kind != "van")
    if kind in ("van", "truck"):
        body.cargo(rng, kind)
    if kind == "bus" and rng.random() < 0.4:
        body.upper_deck()
    body.wheels()
    body.lamps(braking, lit)
    mesh = body.builder.build()
    mesh.vertices[:] *= scale
    mesh.origin[:] *= scale
    height = float(mesh.vertices[:, 2].max())
    return Vehicle(mesh, shape.length * scale, shape.width * scale, height)


class _Body:
    """Adds the parts of one vehicle in painting order: hidden ones first."""

    def __init__(self, atlas: Atlas, shape: Shape, paint: np.ndarray) -> None:
        self.builder = MeshBuilder()
        self.builder.begin()
        self.atlas, self.shape, self.paint = atlas, shape, paint
        self.paint_material = atlas.first("car_paint")
        self.plain, self.glass = atlas.first("plain"), atlas.first("glass")
        self.x0, self.x1, self.y = -shape.length / 2, shape.length / 2, shape.width / 2
        self.floor = 0.5 * shape.wheel + 0.05

    def wheels_behind(self) -> None:
        """Tyres as seen from the front and the rear, and the dark under the car."""
        for x, normal in ((self.x0, -1), (self.x1, 1)):
            self._end(x * 0.8, normal, 0, self.y - 0.1, 0.1, self.floor + 0.05, _DARK)
            for y in (-self.y + 0.13, self.y - 0.13):
                self._end(x * 0.75, normal, y, 0.1, 0.0, self.floor + 0.05, _TYRE)

    def lower(self) -> None:
        """Everything below the belt line: an extruded side profile."""
        s = self.shape
        rear_glass, front_glass = (self.x0 + f * s.length for f in s.glass_low)
        profile = [
            (self.x0 + 0.12, self.floor),
            (self.x1 - 0.12, self.floor),
            (self.x1, self.floor + 0.2),
            (self.x1 - 0.06, s.bonnet - 0.12),
            (self.x1 - 0.3, s.bonnet),
            (front_glass, s.belt),
            (rear_glass, s.belt),
            (self.x0 + 0.06, s.boot),
            (self.x0, self.floor + 0.2),
        ]
        self._extrude(np.array(profile), self.y)

    def greenhouse(self, glazed_sides: bool) -> None:
        """Roof, pillars and windows; it narrows towards the roof."""
        s = self.shape
        low = [self.x0 + f * s.length for f in s.glass_low]
        high = [self.x0 + f * s.length for f in s.glass_high]
        w0, w1 = self.y - 0.03, self.y - (0.2 if s.roof < 2 else 0.06)
        self._cabin(low, high, (w0, w1), (s.belt, s.roof), glazed_sides)

    def upper_deck(self) -> None:
        """The second floor of a double-decker."""
        s = self.shape
        low, w = [self.x0 + 0.01 * s.length, self.x1 - 0.02 * s.length], self.y - 0.06
        self._box(low[0], low[1], w, s.roof, s.roof + 0.6, self.paint)
        self._cabin(low, low, (w, w), (s.roof + 0.6, s.roof + 1.5), True)

    def cargo(self, rng: np.random.Generator, kind: str) -> None:
        """The closed box behind the cab."""
        s = self.shape
        front = self.x0 + s.glass_high[0] * s.length
        tint = self.paint if kind == "van" else rng.uniform(0.4, 1.1) * np.ones(3)
        base = s.belt - 0.05 if kind == "van" else 0.9
        top = s.roof if kind == "van" else 3.3
        self._box(self.x0 + 0.02, front + 0.05, self.y - 0.02, base, top, tint)

    def wheels(self) -> None:
        """Wheels and arches on both sides."""
        radius = self.shape.wheel
        for x in (self.x0 + 0.19 * self.shape.length, self.x1 - 0.19 * self.shape.length):
            for side in (-1, 1):
                center = np.array([x, side * (self.y + 0.006), radius])
                self._disc(center, side, radius * 1.18, _DARK, cut=radius * 0.5)
                self._disc(center, side, radius, _TYRE)
                self._disc(center, side, radius * 0.62, _HUB)

    def lamps(self, braking: bool, lit: bool) -> None:
        """Head lamps, tail lamps, plates, bumpers."""
        s = self.shape
        rear, front = self.x0 - 0.01, self.x1 + 0.01
        self._end(rear, -1, 0, self.y - 0.05, self.floor, self.floor + 0.22, self.paint * 0.55)
        self._end(front, 1, 0, self.y - 0.05, self.floor, self.floor + 0.2, self.paint * 0.5)
        self._end(rear - 0.01, -1, 0, 0.26, s.belt * 0.62, s.belt * 0.62 + 0.12, (0.1, 0.75, 0.9))
        self._end(front + 0.01, 1, 0, 0.26, self.floor + 0.06, self.floor + 0.18, (1, 1, 1))
        self._end(front, 1, 0, 0.5, s.bonnet * 0.62, s.bonnet * 0.8, _DARK)
        for side in (-1, 1):
            y = side * (self.y - 0.17)
            tail_glow = 1.1 if braking else 0.75 if lit else 0.0
            red = (0.12, 0.10, 0.9) if tail_glow else (0.14, 0.12, 0.6)
            self._end(rear, -1, y, 0.13, s.boot * 0.72, s.boot * 0.95, red, tail_glow)
            self._end(front, 1, y, 0.17, s.bonnet * 0.66, s.bonnet * 0.84, (1.2, 1.25, 1.28),
                      1.2 if lit else 0.0)  # fmt: skip

    def _extrude(self, profile: np.ndarray, half: float) -> None:
        """Solid between y = ±half of a profile given counter-clockwise in (x, z)."""
        for side in (-1, 1):
            points = np.insert(profile, 1, side * half, axis=1)
            right = _FORWARD * -side
            self.builder.face(
                [points], self.paint_material, self.paint, CAR,
                origin=np.zeros(3), right=right, up=UP,
            )  # fmt: skip
        for (xa, za), (xb, zb) in zip(profile, np.roll(profile, -1, axis=0), strict=True):
            start = np.array([xa, half, za])
            edge = np.array([xb - xa, 0.0, zb - za])
            steep = abs(edge[2]) > abs(edge[0])
            corners = np.array([start, start + edge, start + edge, start])
            corners[2:, 1] = -half
            outward = np.array([edge[2], 0, -edge[0]]) / np.hypot(edge[0], edge[2])
            right = np.cross(UP, outward)
            length = np.linalg.norm(right)
            right = right / length if length > 1e-3 else -_LEFT
            self.builder.face(
                [corners], self.paint_material if steep else self.plain, self.paint, CAR,
                origin=np.zeros(3), right=right, up=np.cross(outward, right),
            )  # fmt: skip

    def _cabin(
        self,
        low: Sequence[float],
        high: Sequence[float],
        widths: tuple[float, float],
        heights: tuple[float, float],
        glazed_sides: bool,
    ) -> None:
        (w0, w1), (z0, z1) = widths, heights
        base = np.array([[low[1], w0], [low[0], w0], [low[0], -w0], [low[1], -w0]])
        top = np.array([[high[1], w1], [high[0], w1], [high[0], -w1], [high[1], -w1]])
        base, top = np.insert(base, 2, z0, axis=1), np.insert(top, 2, z1, axis=1)
        self.builder.face(
            [top], self.plain, self.paint, CAR, origin=top[0], right=_FORWARD, up=_LEFT
        )
        for index in range(4):
            # going round counter-clockwise from above: left side, rear, right side, front
            a, b = base[index], base[(index + 1) % 4]
            d, c = top[index], top[(index + 1) % 4]
            wall = np.array([a, b, c, d])
            self.builder.polygon(wall, self.plain, self.paint, CAR)
            side = index in (0, 2)
            if side and not glazed_sides:
                continue
            panes = max(1, round(abs(low[1] - low[0]) / 1.15)) if side else 1
            for pane in range(panes):
                self._pane(wall, pane / panes, (pane + 1) / panes)

    def _pane(self, wall: np.ndarray, t0: float, t1: float) -> None:
        """Glass set into the part of a wall between fractions t0 and t1 of its width."""
        a, b, c, d = wall
        margin = 0.04
        lower = [a + (b - a) * t for t in (t0 + margin, t1 - margin)]
        upper = [d + (c - d) * t for t in (t0 + margin, t1 - margin)]
        quad = np.array(
            [
                lower[0] + 0.06 * (upper[0] - lower[0]),
                lower[1] + 0.06 * (upper[1] - lower[1]),
                lower[1] + 0.9 * (upper[1] - lower[1]),
                lower[0] + 0.9 * (upper[0] - lower[0]),
            ]
        )
        self.builder.polygon(quad, self.glass, (1, 1, 1), CAR)

    def _box(
        self, x0: float, x1: float, y: float, z0: float, z1: float, tint: Sequence[float]
    ) -> None:
        base = np.array([[x1, y, z0], [x0, y, z0], [x0, -y, z0], [x1, -y, z0]], float)
        height = (z1 - z0) * UP
        for index in range(4):
            edge = base[(index + 1) % 4] - base[index]
            self.builder.quad(base[index], edge, height, self.plain, tint, CAR)

    def _end(
        self,
        x: float,
        normal: int,
        y: float,
        half: float,
        z0: float,
        z1: float,
        tint: Sequence[float],
        glow: float = 0.0,
    ) -> None:
        """Upright rectangle facing forwards (normal 1) or backwards (−1)."""
        right = _LEFT * normal
        start = np.array([x, y, z0]) - half * right
        self.builder.quad(start, 2 * half * right, (z1 - z0) * UP, self.plain, tint, CAR, glow=glow)

    def _disc(
        self, center: np.ndarray, side: int, radius: float, tint: Sequence[float], cut: float = 0.0
    ) -> None:
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        points = center + radius * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
        points[:, 2] = np.maximum(points[:, 2], cut)
        self.builder.face(
            [points], self.plain, tint, CAR, origin=center, right=-_FORWARD * side, up=UP
        )
