"""Road surface, markings, kerbs, pavements and side streets: everything at the feet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .atlas import Material
from .kit import KERB_HEIGHT_M, Kit, Piece
from .labels import PAVEMENT, ROAD, TREE
from .mesh import (
    LAYER_GROUND,
    LAYER_KERB,
    LAYER_MARKING,
    LAYER_PAVEMENT,
    LAYER_PAVING,
    LAYER_ROAD,
    UP,
    Mesh,
    MeshBuilder,
)

EAST, NORTH = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
ORIGIN = np.zeros(3)
SIDE_STREET_M = 70.0
Gaps = dict[int, tuple[float, float]]  # side → the stretch of s where a side street joins

YELLOW = (0.25, 0.80, 1.05)


def open_ground(kit: Kit, reach_m: float = 900.0) -> Mesh:
    """The plane that everything stands on, around the origin; move it along with the camera."""
    builder = MeshBuilder()
    corner = np.array([-reach_m, -reach_m, 0.0])
    builder.quad(
        corner,
        2 * reach_m * EAST,
        2 * reach_m * NORTH,
        kit.palette.open_ground,
        kit.palette.open_tint,
        kit.palette.open_label,
        layer=LAYER_GROUND,
    )
    return builder.build()


def add_ground(
    piece: Piece, kit: Kit, rng: np.random.Generator, s0: float, s1: float, gaps: Gaps
) -> None:
    """Ground of the stretch from s0 to s1."""
    piece.solid.begin()
    layout = kit.layout
    strip(
        piece, kit, s0, s1, -layout.kerb(-1), layout.kerb(1), kit.palette.road,
        kit.palette.road_tint, ROAD, LAYER_ROAD,
    )  # fmt: skip
    for side, gap in gaps.items():
        _side_street(piece, kit, side, gap)
    _wear(piece, kit, rng, s0, s1)
    _lane_lines(piece, kit, s0, s1)
    _kerb_lines(piece, kit, s0, s1, gaps)
    if rng.random() < 0.25:
        _crossing(piece, kit, rng, rng.uniform(s0 + 3, s1 - 6))
    if rng.random() < 0.3:
        _arrow(piece, kit, rng.uniform(s0, s1 - 4))
    for side in (1, -1):
        for a, b in without_gap(s0, s1, gaps.get(side)):
            _pavement(piece, kit, side, a, b)


def without_gap(s0: float, s1: float, gap: tuple[float, float] | None) -> list[tuple[float, float]]:
    """What remains of [s0, s1] without the gap."""
    if gap is None:
        return [(s0, s1)]
    return [(a, b) for a, b in ((s0, gap[0]), (gap[1], s1)) if b - a > 0.5]


def strip(
    piece: Piece,
    kit: Kit,
    s0: float,
    s1: float,
    d0: float,
    d1: float,
    material: Material,
    tint: Sequence[float],
    label: int,
    layer: int,
    z: float = 0.0,
    aligned: bool = False,
) -> None:
    """Horizontal band between lateral positions d0 < d1; texture aligned with the road or not."""
    s = np.linspace(s0, s1, max(2, int((s1 - s0) / 2.5) + 1))
    outline = np.concatenate([kit.road.ground(s, d0, z), kit.road.ground(s[::-1], d1, z)])
    right, up = (kit.road.tangent(s0), kit.road.left(s0)) if aligned else (EAST, NORTH)
    origin = kit.road.ground(s0, d0, z) if aligned else ORIGIN + z * UP
    piece.solid.face(
        [outline], material, tint, label, origin=origin, right=right, up=up, layer=layer
    )


def _paint(
    piece: Piece, kit: Kit, s0: float, s1: float, d0: float, d1: float, tint: Sequence[float]
) -> None:
    strip(
        piece, kit, s0, s1, d0, d1, kit.material("road_paint"), tint, ROAD, LAYER_MARKING,
    )  # fmt: skip


def _side_street(piece: Piece, kit: Kit, side: int, gap: tuple[float, float]) -> None:
    """A straight road leaving sideways, with its own kerbs and a give-way line."""
    middle = (gap[0] + gap[1]) / 2
    start, away, along = (
        kit.road.ground(middle, side * (kit.layout.kerb(side) - 0.3)),
        side * kit.road.left(middle),
        kit.road.tangent(middle),
    )
    half = (gap[1] - gap[0]) / 2
    turn = along if side < 0 else -along  # with `away`, counter-clockwise from above
    options = {"right": EAST, "up": NORTH, "origin": ORIGIN, "layer": LAYER_ROAD}
    outline = _rectangle(start, SIDE_STREET_M * away, half * turn)
    piece.solid.face([outline], kit.palette.road, kit.palette.road_tint, ROAD, **options)
    for sign in (1, -1):
        edge = start + sign * turn * (half + 0.9) + away * 2 + KERB_HEIGHT_M * UP
        options = {"right": away, "up": turn, "origin": edge, "layer": LAYER_PAVEMENT}
        outline = _rectangle(edge, SIDE_STREET_M * away, 0.9 * turn)
        piece.solid.face(
            [outline], kit.palette.paving, kit.palette.paving_tint, PAVEMENT, **options
        )
    options = {"right": away, "up": turn, "origin": start, "layer": LAYER_MARKING}
    for step in np.arange(-half + 0.4, half - 0.5, 1.0):
        outline = _rectangle(start + 0.5 * away + turn * (step + 0.3), 0.2 * away, 0.3 * turn)
        piece.solid.face(
            [outline], kit.material("road_paint"), kit.layout.line_color, ROAD, **options
        )


def _rectangle(start: np.ndarray, length: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Counter-clockwise corners of a band that begins around `start`."""
    a, b = start - half_width, start + half_width
    return np.array([a, a + length, b + length, b])


def _wear(piece: Piece, kit: Kit, rng: np.random.Generator, s0: float, s1: float) -> None:
    """Wheel tracks, repair patches and manhole covers; all of them road."""
    layout, tint = kit.layout, np.array(kit.palette.road_tint)
    for lane in range(-layout.lanes, layout.lanes):
        middle = (lane + 0.5) * layout.lane_width
        for track in (-0.75, 0.75):
            shade = tint * 0.95
            strip(
                piece, kit, s0, s1, middle + track - 0.28, middle + track + 0.28,
                kit.palette.road, shade, ROAD, LAYER_ROAD,
            )  # fmt: skip
    for _ in range(rng.integers(0, 4)):
        s, d = rng.uniform(s0, s1 - 4), rng.uniform(-layout.half_road, layout.half_road - 1)
        length, width = rng.uniform(0.8, 6), rng.uniform(0.5, 1.6)
        strip(
            piece, kit, s, s + length, d, d + width, kit.atlas.pick("asphalt", rng),
            tint * rng.uniform(0.72, 1.15), ROAD, LAYER_ROAD, aligned=True,
        )  # fmt: skip
    for _ in range(rng.integers(0, 3)):
        center = kit.road.ground(
            rng.uniform(s0, s1), rng.uniform(-layout.half_road, layout.half_road)
        )
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        disc = center + 0.33 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        piece.solid.face(
            [disc], kit.material("plain"), tint * 0.6, ROAD,
            origin=center, right=EAST, up=NORTH, layer=LAYER_ROAD,
        )  # fmt: skip


def _lane_lines(piece: Piece, kit: Kit, s0: float, s1: float) -> None:
    layout = kit.layout
    half, color = 0.06, layout.line_color
    # the period divides the stretch, so that dashes run on evenly into the next one
    period = 8.0 if layout.lanes > 1 or layout.lane_width > 3.3 else 5.0
    dash = 0.5 * period
    for line in range(-layout.lanes + 1, layout.lanes):
        d = line * layout.lane_width
        for s in np.arange(s0, s1 - 0.1, period):
            _paint(piece, kit, s, s + dash, d - half, d + half, color)
    for side in (1, -1):
        if layout.kerb(side) > layout.half_road and layout.lane_width > 3.2:
            d = side * layout.half_road
            _paint(piece, kit, s0, s1, d - 0.05, d + 0.05, color)


def _kerb_lines(piece: Piece, kit: Kit, s0: float, s1: float, gaps: Gaps) -> None:
    for side in (1, -1):
        for number in range(kit.layout.kerb_lines):
            d = side * (kit.layout.kerb(side) - 0.25 - 0.2 * number)
            for a, b in without_gap(s0, s1, gaps.get(side)):
                _paint(piece, kit, a, b, d - 0.05, d + 0.05, YELLOW)


def _crossing(piece: Piece, kit: Kit, rng: np.random.Generator, s: float) -> None:
    """A zebra crossing or a stop line with studs."""
    left, right = kit.layout.kerb(1), kit.layout.kerb(-1)
    if rng.random() < 0.6:
        for d in np.arange(-right + 0.4, left - 0.6, 1.1):
            _paint(piece, kit, s, s + 3.0, d, d + 0.55, kit.layout.line_color)
    else:
        for edge in (s, s + 2.6):
            for d in np.arange(-right + 0.3, left - 0.3, 0.9):
                _paint(piece, kit, edge, edge + 0.25, d, d + 0.25, kit.layout.line_color)


def _arrow(piece: Piece, kit: Kit, s: float) -> None:
    """A direction arrow in our own lane."""
    d = kit.layout.traffic_side * kit.layout.lane_width / 2
    _paint(piece, kit, s, s + 2.6, d - 0.1, d + 0.1, kit.layout.line_color)
    head = np.stack([kit.road.ground(s + a, d + b) for a, b in ((2.5, -0.4), (4, 0), (2.5, 0.4))])
    piece.solid.face(
        [head], kit.material("road_paint"), kit.layout.line_color, ROAD,
        origin=head[0], right=EAST, up=NORTH, layer=LAYER_MARKING,
    )  # fmt: skip


def _pavement(piece: Piece, kit: Kit, side: int, s0: float, s1: float) -> None:
    """Kerb, an optional verge, and the pavement up to the building line."""
    layout, palette = kit.layout, kit.palette
    kerb = layout.kerb(side)
    _kerb_face(piece, kit, side, s0, s1)

    def band(
        near: float, far: float, material: Material, tint: Sequence[float], label: int
    ) -> None:
        d0, d1 = sorted((side * near, side * far))
        strip(
            piece, kit, s0, s1, d0, d1, material, tint, label, LAYER_PAVEMENT,
            z=KERB_HEIGHT_M, aligned=True,
        )  # fmt: skip

    inner = kerb + layout.verge_width
    if layout.verge_width:
        band(kerb, inner, kit.material("grass"), (0.28, 0.52, 0.42), TREE)
    paved_to = inner + layout.pavement(side) + (layout.setback if layout.setback < 1 else 0)
    band(inner, paved_to, palette.paving, palette.paving_tint, PAVEMENT)
    d0, d1 = sorted((side * kerb, side * (kerb + 0.14)))
    strip(
        piece, kit, s0, s1, d0, d1, kit.material("plain"), palette.kerb_tint, PAVEMENT,
        LAYER_PAVING, z=KERB_HEIGHT_M,
    )  # fmt: skip


def _kerb_face(piece: Piece, kit: Kit, side: int, s0: float, s1: float) -> None:
    """The low vertical side of the kerb, in straight pieces along the bend."""
    d = side * kit.layout.kerb(side)
    edges = kit.road.ground(np.linspace(s0, s1, max(2, int((s1 - s0) / 5) + 1)), d)
    for a, b in itertools.pairwise(edges):
        start, end = (a, b) if side > 0 else (b, a)
        piece.solid.quad(
            start, end - start, KERB_HEIGHT_M * UP, kit.material("plain"),
            np.array(kit.palette.kerb_tint) * 0.85, PAVEMENT, layer=LAYER_KERB,
        )  # fmt: skip
