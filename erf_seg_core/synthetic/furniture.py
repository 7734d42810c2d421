"""Lamp posts, traffic lights, signs, bollards, fences and bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .kit import Kit, Piece
from .labels import FENCE, POLE, SIGN, VOID
from .mesh import UP

_X = np.array([1.0, 0, 0])
_ORIGIN = np.zeros(3)
_WHITE, _BLACK, _RED, _BLUE = (
    (1.2, 1.2, 1.2),
    (0.06, 0.06, 0.06),
    (0.14, 0.12, 0.85),
    (0.75, 0.3, 0.08),
)
_GREEN, _YELLOW = (0.25, 0.45, 0.06), (0.1, 0.8, 1.05)


def add_lamp_post(
    piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray, inwards: np.ndarray,
    lit: bool,
) -> None:  # fmt: skip
    """A street light whose arm reaches over the road (`inwards` is a unit vector)."""
    height, reach = rng.uniform(5.5, 9.5), rng.uniform(0.8, 2.4)
    tint = kit.palette.pole_tint
    _post(piece, kit, anchor, height, rng.uniform(0.13, 0.2), 0.09, tint)
    _shade(piece, anchor, height)
    tip = anchor + height * UP
    piece.solid.begin()
    piece.solid.quad(
        tip - 0.05 * UP, reach * inwards + 0.35 * UP, 0.1 * UP, kit.material("plain"), tint, POLE,
        two_sided=True,
    )  # fmt: skip
    head = tip + reach * inwards + 0.32 * UP
    piece.solid.quad(
        head, 0.75 * inwards + 0.05 * UP, 0.17 * UP, kit.material("plain"), np.array(tint) * 0.9,
        POLE, two_sided=True,
    )  # fmt: skip
    if lit:
        piece.solid.quad(
            head - 0.04 * UP, 0.7 * inwards + 0.05 * UP, 0.1 * UP, kit.material("plain"),
            (0.8, 1.1, 1.25), POLE, glow=1.25, two_sided=True,
        )  # fmt: skip


def add_pole(piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray) -> None:
    """A plain mast: telegraph pole or flag pole."""
    height, wooden = rng.uniform(5, 10), rng.random() < 0.5
    tint = (0.22, 0.28, 0.33) if wooden else kit.palette.pole_tint
    _post(piece, kit, anchor, height, 0.24 if wooden else 0.12, 0.14 if wooden else 0.08, tint)
    _shade(piece, anchor, height)


def add_bollard(piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray) -> None:
    """A short post at the kerb."""
    tint = (0.08, 0.08, 0.09) if rng.random() < 0.7 else (0.15, 0.75, 0.9)
    height = rng.uniform(0.8, 1.1)
    builder = piece.billboard(anchor)
    _upright(builder, kit, 0, 0, height, 0.16, 0.13, tint, POLE)
    _upright(builder, kit, 0, height * 0.8, height * 0.88, 0.15, 0.15, _WHITE, POLE)


def add_bin(piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray) -> None:
    """A litter bin; the class set has no name for it."""
    builder = piece.billboard(anchor)
    tint = rng.uniform(0.1, 0.4, 3)
    _upright(builder, kit, 0, 0, 1.0, 0.5, 0.56, tint, VOID)
    _upright(builder, kit, 0, 0.74, 0.88, 0.4, 0.4, _BLACK, VOID)


def add_sign(
    piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray, facing: np.ndarray
) -> None:
    """A traffic sign on a post, its front along the unit vector `facing`."""
    height = rng.uniform(2.1, 2.8)
    size = rng.uniform(0.3, 0.52)
    _post(piece, kit, anchor, height + size, 0.08, 0.08, (0.5, 0.5, 0.5))
    center = anchor + (height + size * 0.4) * UP + 0.06 * facing
    kind = rng.choice(["ban", "order", "warning", "plate", "direction", "stop"])
    piece.solid.begin(bias=-0.1)
    if kind in ("ban", "order", "stop"):
        _plate(piece, kit, center, facing, _polygon(8 if kind == "stop" else 18, size), _BLUE
               if kind == "order" else _RED)  # fmt: skip
        inner = _WHITE if kind == "ban" else _BLUE if kind == "order" else _RED
        _plate(piece, kit, center, facing, _polygon(16, size * 0.74), inner)
        mark = _BLACK if kind == "ban" else _WHITE
        _plate(piece, kit, center, facing, _bar(size * 0.5, size * 0.16), mark)
    elif kind == "warning":
        triangle = _polygon(3, size * 1.25, np.pi / 2)
        _plate(piece, kit, center, facing, triangle, _RED)
        _plate(piece, kit, center, facing, triangle * 0.68, _WHITE)
        _plate(piece, kit, center, facing, _bar(size * 0.09, size * 0.32), _BLACK)
    else:
        wide = kind == "direction"
        w, h = (size * 2.6, size * 0.9) if wide else (size * 0.8, size * 1.1)
        color = (_GREEN, _BLUE, _WHITE, _YELLOW)[int(rng.integers(4))]
        text = _BLACK if color in (_WHITE, _YELLOW) else _WHITE
        _plate(piece, kit, center, facing, _bar(w, h), color)
        for row in (-0.45, 0.1, 0.55):
            shift = np.array([rng.uniform(-0.2, 0.1) * w, row * h])
            _plate(piece, kit, center, facing, _bar(w * 0.6, h * 0.1) + shift, text)


def add_traffic_light(
    piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray, facing: np.ndarray
) -> None:
    """A signal head with three lamps, one of them lit."""
    height = rng.uniform(2.4, 3.2)
    _post(piece, kit, anchor, height, 0.11, 0.11, _BLACK)
    _shade(piece, anchor, height + 1)
    center = anchor + (height + 0.45) * UP + 0.09 * facing
    piece.solid.begin(bias=-0.1)
    if rng.random() < 0.5:
        _plate(piece, kit, center, facing, _bar(0.3, 0.62), _WHITE)
    _plate(piece, kit, center, facing, _bar(0.27, 0.58) if rng.random() < 0.5 else
           _bar(0.17, 0.5), _BLACK)  # fmt: skip
    lit = int(rng.integers(3))
    colors = ((0.2, 0.2, 1.25), (0.1, 0.7, 1.25), (0.5, 1.2, 0.2))
    for lamp in range(3):
        disc = _polygon(10, 0.11) + np.array([0, 0.32 - 0.32 * lamp])
        bright = lamp == lit
        tint = colors[lamp] if bright else np.array(colors[lamp]) * 0.15
        _plate(piece, kit, center + 0.02 * facing, facing, disc, tint, 1.2 if bright else 0.0)


def add_shop_sign(
    piece: Piece, kit: Kit, rng: np.random.Generator, wall_point: np.ndarray, outwards: np.ndarray
) -> None:
    """A sign that sticks out from a facade; its faces look along the street."""
    size = rng.uniform(0.5, 0.9)
    piece.solid.begin(bias=-0.3)
    start = wall_point + 0.15 * outwards
    tint = rng.uniform(0.1, 1.1, 3)
    piece.solid.quad(
        start, size * outwards, size * rng.uniform(0.7, 1.5) * UP, kit.material("plain"), tint,
        SIGN, two_sided=True,
    )  # fmt: skip
    piece.solid.quad(
        start + (0.2 * outwards + 0.25 * UP) * size, 0.6 * size * outwards, 0.15 * size * UP,
        kit.material("plain"), 1.2 - tint, SIGN, two_sided=True,
    )  # fmt: skip


def add_fence(
    piece: Piece, kit: Kit, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, kind: str
) -> None:
    """A stretch of fence: railing, planks, panel (guard rail) or mesh."""
    run = end - start
    length = float(np.linalg.norm(run))
    right = run / length
    height = {"railing": 1.05, "planks": 1.7, "panel": 0.75, "mesh": 1.5}[kind]
    material, tint = kit.material("plain"), np.array(kit.palette.pole_tint) * rng.uniform(0.4, 1)
    rectangle = _patch(start, right, 0, length, 0, height)
    contours = [rectangle]
    if kind == "planks":
        material, tint = (
            kit.material("planks"),
            np.array([0.30, 0.40, 0.50]) * rng.uniform(0.6, 1.3),
        )
    elif kind == "panel":
        contours = [_patch(start, right, 0, length, 0.35, height)]
        contours += [_patch(start, right, x, x + 0.12, 0, 0.35) for x in (0.2, length / 2)]
        tint = np.array([0.66, 0.66, 0.66])
    else:
        gap = 0.16 if kind == "railing" else 0.3
        edges = np.arange(0.05, length - gap, gap)
        bar = 0.04 if kind == "railing" else 0.03
        rows = (
            [(0.12, height - 0.08)] if kind == "railing" else [(0.05, 0.75), (0.79, height - 0.05)]
        )
        contours += [
            _patch(start, right, x, x + gap - bar, z0, z1) for x in edges for z0, z1 in rows
        ]
    piece.solid.begin(far=True)
    piece.solid.face(
        contours, material, tint, FENCE, origin=start, right=right, up=UP, two_sided=True
    )


def _patch(
    start: np.ndarray, right: np.ndarray, x0: float, x1: float, z0: float, z1: float
) -> np.ndarray:
    corners = np.array([[x0, z0], [x1, z0], [x1, z1], [x0, z1]])
    return start + corners[:, :1] * right + corners[:, 1:] * UP


def _post(
    piece: Piece, kit: Kit, anchor: np.ndarray, height: float, width: float, top_width: float,
    tint: Sequence[float],
) -> None:  # fmt: skip
    _upright(piece.billboard(anchor), kit, 0, 0, height, width, top_width, tint, POLE)


def _upright(
    builder: object, kit: Kit, x: float, z0: float, z1: float, width: float, top_width: float,
    tint: Sequence[float], label: int,
) -> None:  # fmt: skip
    outline = np.array(
        [
            [x - width / 2, 0, z0],
            [x + width / 2, 0, z0],
            [x + top_width / 2, 0, z1],
            [x - top_width / 2, 0, z1],
        ]
    )
    builder.face([outline], kit.material("plain"), tint, label, origin=_ORIGIN, right=_X, up=UP)


def _polygon(corners: int, radius: float, start: float = np.pi / 8) -> np.ndarray:
    angle = start + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _bar(half_width: float, half_height: float) -> np.ndarray:
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]


def _plate(
    piece: Piece,
    kit: Kit,
    center: np.ndarray,
    facing: np.ndarray,
    outline: np.ndarray,
    tint: Sequence[float],
    glow: float = 0.0,
) -> None:
    """A flat shape in the upright plane through `center` whose front is `facing`."""
    right = np.cross(UP, facing)
    points = center + outline[:, :1] * right + outline[:, 1:] * UP
    piece.solid.face(
        [points], kit.material("plain"), tint, SIGN, origin=center, right=right, up=UP, glow=glow
    )


def _shade(piece: Piece, anchor: np.ndarray, height: float) -> None:
    foot = anchor + np.array(
        [[-0.07, -0.07, 0], [0.07, -0.07, 0], [0.07, 0.07, 0], [-0.07, 0.07, 0]]
    )
    piece.casters.append(np.concatenate([foot, foot + height * UP]))
