"""The street, block by block: each 40 m stretch is drawn from (seed, its number) alone."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from . import buildings, furniture, ground, vegetation, vehicles
from .kit import KERB_HEIGHT_M, BuiltPiece, Kit, Piece
from .labels import BUILDING
from .mesh import UP, Mesh, MeshBuilder

BLOCK_M = 40.0
VIEW_AHEAD_M = 230.0
VIEW_BEHIND_M = 30.0
_KEPT_BLOCKS = 24


class World:
    """Static scene of one drive, built on demand."""

    def __init__(self, seed: int, kit: Kit, lights_on: bool) -> None:
        """`lights_on` lights the street lamps."""
        self._seed, self._kit, self._lights_on = seed, kit, lights_on
        self._blocks: OrderedDict[int, BuiltPiece] = OrderedDict()
        self.open_ground: Mesh = ground.open_ground(kit)
        self.skyline: Mesh = _skyline(kit, np.random.default_rng([seed, 7]))

    def around(self, s: float) -> list[BuiltPiece]:
        """All blocks that can be seen from road position s."""
        first = int(np.floor((s - VIEW_BEHIND_M) / BLOCK_M))
        last = int(np.floor((s + VIEW_AHEAD_M) / BLOCK_M))
        return [self._block(number) for number in range(first, last + 1)]

    def _block(self, number: int) -> BuiltPiece:
        if number not in self._blocks:
            self._blocks[number] = self._build(number)
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _build(self, number: int) -> BuiltPiece:
        kit, layout = self._kit, self._kit.layout
        # blocks behind the start have negative numbers, which a seed sequence does not take
        rng = np.random.default_rng([self._seed, 11, number + 1000])
        s0, s1 = number * BLOCK_M, (number + 1) * BLOCK_M
        piece = Piece()
        gaps: ground.Gaps = {}
        if rng.random() < layout.junction_share:
            start, width = s0 + rng.uniform(4, 22), rng.uniform(6, 10)
            sides = ((1,), (-1,), (1, -1))[int(rng.integers(3))]
            gaps = dict.fromkeys(sides, (start, start + width))
        ground.add_ground(piece, kit, rng, s0, s1, gaps)
        for side in (1, -1):
            stretches = ground.without_gap(s0, s1, gaps.get(side))
            for a, b in stretches:
                _add_side(piece, kit, rng, side, a, b, beside_gap=len(stretches) > 1)
            _add_pavement_things(piece, kit, rng, side, s0, s1, gaps.get(side), self._lights_on)
            _add_parked(piece, kit, rng, side, s0, s1, gaps.get(side))
        if gaps:
            _add_signals(piece, kit, rng, gaps)
        return piece.finish()


def building_line(kit: Kit, side: int) -> float:
    """Distance from the centre line to the facades of that side."""
    layout = kit.layout
    return layout.kerb(side) + layout.verge_width + layout.pavement(side) + layout.setback


def _add_side(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float,
    beside_gap: bool,
) -> None:  # fmt: skip
    """What stands beyond the pavement from s0 to s1."""
    kind = str(rng.choice(kit.layout.side_kinds))
    line = building_line(kit, side)
    if beside_gap:  # the side street keeps its own narrow pavements
        s0, s1 = (s0, s1 - 2) if rng.random() < 0.5 else (s0, s1)
    if kind == "green":
        _add_park(piece, kit, rng, side, s0, s1)
        return
    widths = {"shops": (5, 10), "terrace": (5, 8), "offices": (14, 26), "houses": (8, 12)}[kind]
    s = s0
    while s < s1 - 3:
        width = min(rng.uniform(*widths), s1 - s)
        if s1 - (s + width) < 3.5:
            width = s1 - s
        plot = buildings.plot_along(kit, side, s, s + width, line, rng.uniform(7, 12))
        if kind == "offices":
            buildings.add_office(piece, kit, rng, plot)
        elif kind == "houses":
            _add_house_plot(piece, kit, rng, side, s, s + width)
        else:
            buildings.add_terrace(piece, kit, rng, plot, shop=kind == "shops")
            if kind == "shops" and rng.random() < 0.4:
                point = plot.corner + plot.right * plot.width * rng.uniform(0.1, 0.9)
                height = rng.uniform(2.8, 4.0)
                furniture.add_shop_sign(piece, kit, rng, point + height * UP, plot.front)
        s += width
    if kit.layout.setback >= 1:
        _add_boundary(piece, kit, rng, side, s0, s1)


def _add_house_plot(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float
) -> None:
    gap, back = rng.uniform(0.5, 1.5), rng.uniform(0, 3)
    line = building_line(kit, side) + back
    plot = buildings.plot_along(kit, side, s0 + gap, s1 - gap, line, rng.uniform(7, 9))
    buildings.add_house(piece, kit, rng, plot)
    if rng.random() < 0.6:
        place = kit.road.ground(s0 + rng.uniform(0, 3), side * (line + rng.uniform(8, 14)))
        vegetation.add_tree(piece, kit, rng, place, rng.uniform(6, 13), bias=14)
    if rng.random() < 0.5:
        place = kit.road.ground(rng.uniform(s0, s1), side * (line - rng.uniform(0.5, 1.5)))
        vegetation.add_bush(piece, kit, rng, place)


def _add_boundary(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float
) -> None:
    """Fence, hedge or wall between pavement and gardens, in straight stretches."""
    line = building_line(kit, side) - kit.layout.setback + 0.05
    kind = rng.choice(["fence", "hedge", "wall", "fence", "open"])
    for a in np.arange(s0, s1 - 2, 4.0):
        start, end = kit.road.ground(np.array([a, min(a + 4.0, s1)]), side * line, KERB_HEIGHT_M)
        start, end = (start, end) if side > 0 else (end, start)
        if rng.random() < 0.15:
            continue  # a drive or a gate
        if kind == "fence":
            furniture.add_fence(piece, kit, rng, start, end, kit.layout.fence_kind)
        elif kind == "hedge":
            vegetation.add_hedge(piece, kit, rng, start, end)
        elif kind == "wall":
            buildings.add_garden_wall(piece, kit, rng, start, end)


def _add_park(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float
) -> None:
    """Grass and trees behind a fence or hedge, sometimes a building far back."""
    line = building_line(kit, side)
    if rng.random() < 0.6:
        plot = buildings.plot_along(kit, side, s0, s1, line + rng.uniform(25, 50), 10)
        buildings.add_office(piece, kit, rng, plot)
    count = int(rng.integers(2, 8) * (s1 - s0) / BLOCK_M) + 1
    for s, d in zip(rng.uniform(s0, s1, count), rng.uniform(1.5, 22, count), strict=True):
        place = kit.road.ground(s, side * (line + d))
        vegetation.add_tree(piece, kit, rng, place, rng.uniform(5, 15), bias=0.5 * d)
    for _ in range(rng.integers(0, 4)):
        place = kit.road.ground(rng.uniform(s0, s1), side * (line + rng.uniform(0.8, 6)))
        vegetation.add_bush(piece, kit, rng, place)
    if rng.random() < 0.75:
        for a in np.arange(s0, s1 - 1, 4.0):
            edge = np.array([a, min(a + 4.0, s1)])
            start, end = kit.road.ground(edge, side * (line - kit.layout.setback), KERB_HEIGHT_M)
            furniture.add_fence(piece, kit, rng, start, end, kit.layout.fence_kind)


def _add_pavement_things(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float,
    gap: tuple[float, float] | None, lights_on: bool,
) -> None:  # fmt: skip
    """Lamps, trees, signs, bollards, bins and railings along the kerb."""
    layout, road = kit.layout, kit.road
    kerb = layout.kerb(side)

    def in_gap(s: float) -> bool:
        return gap is not None and gap[0] - 1 < s < gap[1] + 1

    def spot(s: float, from_kerb: float) -> np.ndarray:
        return road.ground(s, side * (kerb + from_kerb), KERB_HEIGHT_M)

    def places(spacing: float, offset: float) -> list[float]:
        """Regular positions that run on across blocks."""
        first = np.ceil((s0 - offset) / spacing) * spacing + offset
        return [s for s in np.arange(first, s1, spacing) if not in_gap(s)]

    stagger = layout.lamp_spacing / 2 if side > 0 else 0.0
    for s in places(layout.lamp_spacing, stagger):
        inwards = -side * road.left(s)
        furniture.add_lamp_post(piece, kit, rng, spot(s, 0.45), inwards, lights_on)
    if layout.tree_spacing:
        for s in places(layout.tree_spacing, 3.0 + 2 * side):
            if rng.random() < 0.7:
                vegetation.add_tree(piece, kit, rng, spot(s, 0.8), rng.uniform(4, 10))
    for _ in range(rng.integers(1, 6)):
        s = rng.uniform(s0, s1)
        if in_gap(s):
            continue
        # on the side we drive on, signs look back at us; on the other one, away from us
        facing = road.tangent(s) * (-1 if side == layout.traffic_side else 1)
        if rng.random() < 0.6:
            furniture.add_sign(piece, kit, rng, spot(s, 0.5), facing)
        else:
            furniture.add_pole(piece, kit, rng, spot(s, rng.uniform(0.3, 1.0)))
    if rng.random() < 0.3:
        start = rng.uniform(s0, s1 - 8)
        for s in np.arange(start, start + 8, 1.6):
            if not in_gap(s):
                furniture.add_bollard(piece, kit, rng, spot(s, 0.35))
    if rng.random() < 0.25:
        start = rng.uniform(s0, s1 - 12)
        for a in np.arange(start, start + rng.uniform(4, 12), 2.0):
            if not in_gap(a) and not in_gap(a + 2):
                ends = (spot(a, 0.3), spot(a + 2, 0.3))
                furniture.add_fence(piece, kit, rng, *ends, "railing")
    if rng.random() < 0.3:
        s = rng.uniform(s0, s1)
        if not in_gap(s):
            furniture.add_bin(piece, kit, rng, spot(s, 0.6))


def _add_parked(
    piece: Piece, kit: Kit, rng: np.random.Generator, side: int, s0: float, s1: float,
    gap: tuple[float, float] | None,
) -> None:  # fmt: skip
    """Parked cars along the kerb, where there is a lane for them."""
    layout = kit.layout
    width = layout.parking_width[0 if side > 0 else 1]
    if not width:
        return
    d = side * (layout.half_road + width / 2)
    for s in np.arange(s0 + 3, s1 - 2, 6.2):
        near_gap = gap is not None and gap[0] - 5 < s < gap[1] + 5
        if near_gap or rng.random() > layout.parked_share:
            continue
        kind = vehicles.pick_kind(rng, parked=True)
        vehicle = vehicles.build_vehicle(kit.atlas, rng, kind)
        with_traffic = side == layout.traffic_side or rng.random() < 0.3
        add_vehicle(piece, kit, vehicle, s + rng.normal(0, 0.25), d + rng.normal(0, 0.06),
                    reverse=not with_traffic)  # fmt: skip


def add_vehicle(
    piece: Piece, kit: Kit, vehicle: vehicles.Vehicle, s: float, d: float, reverse: bool
) -> None:
    """Put a vehicle on the road; `reverse` looks back along it."""
    x, y = kit.road.point(s, d)
    yaw = float(kit.road.heading(s)) + (np.pi if reverse else 0.0)
    placed = vehicle.mesh.placed(float(x), float(y), yaw)
    piece.extra.append(placed)
    c, n = np.cos(yaw), np.sin(yaw)
    corners = vehicle.corners() @ np.array([[c, n, 0], [-n, c, 0], [0, 0, 1]]) + [x, y, 0]
    piece.casters.append(corners)
    piece.contacts.append(corners[:4])


def _add_signals(piece: Piece, kit: Kit, rng: np.random.Generator, gaps: ground.Gaps) -> None:
    """Traffic lights on both sides of a junction."""
    if rng.random() < 0.45:
        return
    start, end = next(iter(gaps.values()))
    for side in (1, -1):
        ours = side == kit.layout.traffic_side
        for s in (start - 1.5, end + 1.5):
            anchor = kit.road.ground(s, side * (kit.layout.kerb(side) + 0.45), KERB_HEIGHT_M)
            back = kit.road.tangent(s)
            furniture.add_traffic_light(piece, kit, rng, anchor, -back if ours else back)


def _skyline(kit: Kit, rng: np.random.Generator) -> Mesh:
    """Woods and blocks on the horizon, all around; moved along with the camera."""
    builder = MeshBuilder()
    sectors, distance = 36, 420.0
    for index in range(sectors):
        a0, a1 = (2 * np.pi * (index + k) / sectors for k in (-0.1, 1.1))
        start, end = (distance * np.array([np.cos(a), np.sin(a), 0]) for a in (a1, a0))
        run = end - start
        right = run / np.linalg.norm(run)
        steps = np.linspace(1, 0, 14)
        height = rng.uniform(5, 22)
        wood = rng.random() < 0.6
        ragged = rng.normal(0, 0.12 if wood else 0.0, 14)
        if not wood:
            ragged = np.repeat(rng.normal(0, 0.35, 7), 2)
        top = start + steps[:, None] * run + (height * (1 + ragged.clip(-0.6, 1)))[:, None] * UP
        outline = np.concatenate([[start, end], top])
        builder.begin(far=True)
        if wood:
            vegetation.skyline_trees(builder, kit, rng, outline, right)
        else:
            tints = kit.palette.wall_tints
            builder.face(
                [outline], kit.atlas.pick("upper_floors", rng), tints[index % len(tints)],
                BUILDING, origin=start, right=right, up=UP, two_sided=True,
            )  # fmt: skip
    return builder.build()
