"""Pedestrians and cyclists: jointed figures, laid flat towards the camera anew for each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .atlas import Atlas, Material
from .labels import BICYCLIST, PEDESTRIAN
from .mesh import UP, MeshBuilder, upright

_X = np.array([1.0, 0, 0])
_ORIGIN = np.zeros(3)
_SKINS = ((0.50, 0.62, 0.82), (0.40, 0.52, 0.72), (0.22, 0.32, 0.48), (0.14, 0.20, 0.30))
_HAIRS = ((0.08, 0.09, 0.11), (0.10, 0.16, 0.24), (0.25, 0.42, 0.55), (0.45, 0.46, 0.48))


@dataclass(frozen=True)
class Looks:
    """What a person wears and how tall they are (metres; tints BGR)."""

    height: float
    build: float
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    top: np.ndarray
    legs: np.ndarray
    skirt: bool
    bag: bool
    helmet: bool


def draw_looks(rng: np.random.Generator) -> Looks:
    """Dress somebody."""
    dark = rng.random() < 0.6
    top = rng.uniform(0.05, 0.45, 3) if dark else rng.uniform(0.2, 1.0, 3)
    jeans = np.array([0.38, 0.27, 0.19]) * rng.uniform(0.5, 1.2)
    legs = jeans if rng.random() < 0.5 else rng.uniform(0.06, 0.4) * np.ones(3)
    return Looks(
        height=float(rng.normal(1.70, 0.1)) * (0.72 if rng.random() < 0.08 else 1.0),
        build=float(rng.uniform(0.85, 1.25)),
        skin=_SKINS[int(rng.integers(len(_SKINS)))],
        hair=_HAIRS[int(rng.integers(len(_HAIRS)))],
        top=top,
        legs=legs,
        skirt=bool(rng.random() < 0.15),
        bag=bool(rng.random() < 0.35),
        helmet=bool(rng.random() < 0.6),
    )


class _Figure:
    """Parts with a depth each; `draw` adds them far to near. Body frame: forward, left, up."""

    def __init__(self, material: Material, label: int, turn: float) -> None:
        """`turn` is the body's heading minus the camera's, in radians."""
        self.material, self.label = material, label
        # the camera's right and away axes, seen from the body
        self.right = np.array([-np.sin(turn), -np.cos(turn)])
        self.away = np.array([np.cos(turn), -np.sin(turn)])
        self.parts: list[tuple[float, list[np.ndarray], Sequence[float]]] = []

    def flat(self, joint: Sequence[float]) -> np.ndarray:
        """Joint (forward, left, up) in the plane: x, up, and distance away."""
        f, left, z = joint
        return np.array(
            [f * self.right[0] + left * self.right[1], z, f * self.away[0] + left * self.away[1]]
        )

    def limb(
        self, a: Sequence[float], b: Sequence[float], wa: float, wb: float, tint: Sequence[float]
    ) -> None:
        """A tapered limb of widths wa, wb between two joints."""
        p, q = self.flat(a), self.flat(b)
        along = q[:2] - p[:2]
        length = max(float(np.hypot(*along)), 1e-3)
        across = np.array([along[1], -along[0]]) / length
        tip = along / length * 0.4
        outline = np.array(
            [
                p[:2] - across * wa / 2,
                p[:2] - tip * wa,
                p[:2] + across * wa / 2,
                q[:2] + across * wb / 2,
                q[:2] + tip * wb,
                q[:2] - across * wb / 2,
            ]
        )
        self._add((p[2] + q[2]) / 2, [outline], tint)

    def blob(
        self, center: Sequence[float], width: float, height: float, tint: Sequence[float],
        nearer: float = 0.0, hole: float = 0.0, start: float = 0.0, end: float = 2 * np.pi,
    ) -> None:  # fmt: skip
        """An ellipse (or the arc between two angles), with a hole of that relative size."""
        p = self.flat(center)
        angle = np.linspace(start, end, 12, endpoint=end - start < 6)
        ring = np.stack([np.cos(angle) * width / 2, np.sin(angle) * height / 2], axis=1)
        contours = [p[:2] + ring] + ([p[:2] + ring * hole] if hole else [])
        self._add(p[2] - nearer, contours, tint)

    def wheel(self, center: Sequence[float], radius: float, tint: Sequence[float]) -> None:
        """A wheel in the forward-up plane, never thinner than its tyre."""
        width = max(2 * radius * abs(float(self.right[0])), 0.07)
        self.blob(center, width, 2 * radius, tint, hole=0.84 if width > 0.2 else 0.0)

    def draw(self, builder: MeshBuilder) -> None:
        """Add all parts, far to near."""
        for _, contours, tint in sorted(self.parts, key=lambda part: -part[0]):
            solid = [upright(c) for c in contours]
            builder.face(solid, self.material, tint, self.label, origin=_ORIGIN, right=_X, up=UP)

    def _add(self, depth: float, contours: list[np.ndarray], tint: Sequence[float]) -> None:
        self.parts.append((depth, contours, tint))


def draw_pedestrian(
    builder: MeshBuilder, atlas: Atlas, looks: Looks, phase: float, turn: float, walking: bool
) -> None:
    """Add a person at the builder's open billboard; `phase` is the step cycle in radians."""
    figure = _Figure(atlas.first("cloth"), PEDESTRIAN, turn)
    h, b = looks.height, looks.build
    stride = 0.23 * h * np.sin(phase) if walking else 0.03
    hip, shoulder = 0.50 * h, 0.80 * h
    for side in (1, -1):
        swing = side * stride
        foot = (swing, side * 0.06 * h, 0.03 + max(0.0, -swing * np.cos(phase)) * 0.25)
        knee = (swing * 0.55 + 0.02, side * 0.06 * h, 0.27 * h)
        figure.limb((0, side * 0.055 * h, hip), knee, 0.105 * h * b, 0.08 * h, looks.legs)
        figure.limb(knee, foot, 0.08 * h, 0.05 * h, looks.legs)
        toe = (foot[0] + 0.09 * h, foot[1], foot[2] - 0.01)
        figure.limb(foot, toe, 0.05 * h, 0.045 * h, (0.08, 0.08, 0.09))
        elbow = (-swing * 0.35 - 0.02, side * 0.135 * h * b, 0.62 * h)
        hand = (-swing * 0.75 + 0.06, side * 0.14 * h * b, 0.47 * h)
        figure.limb((0, side * 0.11 * h * b, shoulder), elbow, 0.06 * h, 0.055 * h, looks.top * 0.9)
        figure.limb(elbow, hand, 0.055 * h, 0.04 * h, looks.top * 0.9)
        figure.blob(hand, 0.045 * h, 0.05 * h, looks.skin)
    _torso(figure, looks, (0, 0, hip), (0.01, 0, shoulder))
    if looks.skirt:
        figure.limb((0, 0, hip), (0, 0, 0.28 * h), 0.18 * h * b, 0.26 * h, looks.legs * 1.1)
    if looks.bag:
        figure.limb((-0.1 * h, 0.1 * h, 0.74 * h), (-0.1 * h, 0.1 * h, 0.5 * h), 0.1 * h, 0.16 * h,
                    looks.top * 0.5 + 0.08)  # fmt: skip
    _head(figure, looks, (0.015 * h, 0, 0.915 * h), helmet=False)
    figure.draw(builder)


def draw_cyclist(
    builder: MeshBuilder, atlas: Atlas, looks: Looks, phase: float, turn: float
) -> None:
    """Add a rider on a bicycle; `phase` turns the pedals."""
    figure = _Figure(atlas.first("cloth"), BICYCLIST, turn)
    steel = looks.legs * 0.4 + 0.1
    for f in (-0.52, 0.52):
        figure.wheel((f, 0, 0.34), 0.34, (0.07, 0.07, 0.07))
    seat, pedals, bar = (-0.2, 0, 0.86), (-0.05, 0, 0.30), (0.42, 0, 0.98)
    hub, axle, fork = (-0.52, 0, 0.34), (0.52, 0, 0.34), (0.38, 0, 0.75)
    tubes = ((hub, pedals), (pedals, seat), (pedals, fork), (seat, fork), (axle, bar), (hub, seat))
    for start, end in tubes:
        figure.limb(start, end, 0.045, 0.045, steel)
    figure.limb((0.42, -0.28, 1.0), (0.42, 0.28, 1.0), 0.04, 0.04, (0.1, 0.1, 0.1))
    hip, shoulder = (-0.18, 0, 0.95), (0.16, 0, 1.42)
    for side in (1, -1):
        angle = phase + (0 if side > 0 else np.pi)
        foot = (-0.05 + 0.17 * np.cos(angle), side * 0.1, 0.30 + 0.17 * np.sin(angle))
        knee = (0.16 + 0.06 * np.cos(angle), side * 0.11, 0.68 + 0.1 * np.sin(angle))
        figure.limb((hip[0], side * 0.08, hip[2]), knee, 0.17, 0.13, looks.legs)
        figure.limb(knee, foot, 0.12, 0.08, looks.legs)
        figure.limb(foot, (foot[0] + 0.14, foot[1], foot[2]), 0.08, 0.07, (0.08, 0.08, 0.08))
        elbow = (0.28, side * 0.25, 1.16)
        figure.limb((shoulder[0], side * 0.17, shoulder[2]), elbow, 0.11, 0.09, looks.top * 0.92)
        figure.limb(elbow, (0.42, side * 0.26, 1.02), 0.09, 0.06, looks.top * 0.92)
    _torso(figure, looks, hip, shoulder)
    _head(figure, looks, (0.26, 0, 1.62), looks.helmet)
    figure.draw(builder)


def _torso(
    figure: _Figure, looks: Looks, hip: tuple[float, float, float],
    shoulder: tuple[float, float, float],
) -> None:  # fmt: skip
    # broad from the front, narrower from the side
    broad = 0.62 + 0.38 * abs(float(figure.right[1]))
    scale = looks.build * looks.height * broad
    low = (hip[0], hip[1], hip[2] - 0.03)
    figure.limb(low, shoulder, 0.19 * scale, 0.24 * scale, looks.top)


def _head(figure: _Figure, looks: Looks, center: tuple[float, float, float], helmet: bool) -> None:
    h = looks.height
    f, left, z = center
    figure.limb((f - 0.02, left, z - 0.1 * h), center, 0.06 * h, 0.06 * h, looks.skin)
    figure.blob(center, 0.092 * h, 0.135 * h, looks.skin, nearer=0.05)
    # seen from behind the whole head is hair, from the front only its upper part
    behind = figure.away[0] > 0
    cap = np.array([0.9, 0.9, 0.95]) * looks.top.max() if helmet else looks.hair
    start = -0.6 if behind and not helmet else 0.15
    figure.blob((f, left, z + 0.012 * h), 0.105 * h, 0.14 * h, cap, nearer=0.08, start=start,
                end=np.pi - start)  # fmt: skip
