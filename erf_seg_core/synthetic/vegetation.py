"""Trees, bushes and hedges. Trees are flat and turn with the camera; hedges are solid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .atlas import Material
from .kit import Kit, Piece
from .labels import TREE
from .mesh import UP, MeshBuilder, upright

_X = np.array([1.0, 0, 0])
_ORIGIN = np.zeros(3)
_BARK_TINTS = ((0.24, 0.29, 0.34), (0.36, 0.40, 0.44), (0.62, 0.66, 0.68), (0.16, 0.19, 0.22))


def add_tree(
    piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray, height: float,
    bias: float = 0.0,
) -> None:  # fmt: skip
    """A tree of that height standing at `anchor`, leafy or bare as the drive's season has it."""
    builder = piece.billboard(anchor, bias)
    bark = np.array(_BARK_TINTS[int(rng.integers(len(_BARK_TINTS)))]) * rng.uniform(0.8, 1.2)
    if rng.random() < kit.layout.bare_trees:
        _bare_crown(builder, kit, rng, height, bark)
        radius = 0.2 * height
    elif rng.random() < 0.18:
        radius = _conifer(builder, kit, rng, height, bark)
    else:
        radius = _leafy_crown(builder, kit, rng, height, bark)
    _cast(piece, anchor, height, radius)


def add_bush(piece: Piece, kit: Kit, rng: np.random.Generator, anchor: np.ndarray) -> None:
    """A shrub of about a metre."""
    builder = piece.billboard(anchor)
    size = rng.uniform(0.5, 1.3)
    _clumps(builder, kit, rng, (0, size * 0.6), (size, size * 0.6), 3, size * 0.6)


def add_hedge(
    piece: Piece, kit: Kit, rng: np.random.Generator, start: np.ndarray, end: np.ndarray
) -> None:
    """A clipped hedge from `start` to `end`, with a ragged top."""
    height, run = rng.uniform(0.9, 2.2), end - start
    length = float(np.linalg.norm(run))
    along = np.linspace(0, 1, max(3, int(length / 0.4)))
    top = start + along[::-1, None] * run + (height + rng.normal(0, 0.07, len(along)))[:, None] * UP
    tint = _foliage(kit, rng)
    piece.solid.begin(far=True)
    piece.solid.face(
        [np.concatenate([[start, end], top])], kit.atlas.pick("leaves", rng), tint, TREE,
        origin=start, right=run / length, up=UP, two_sided=True,
    )  # fmt: skip


def skyline_trees(
    builder: MeshBuilder, kit: Kit, rng: np.random.Generator, outline: np.ndarray,
    right: np.ndarray,
) -> None:  # fmt: skip
    """One distant wood with the given outline."""
    builder.face(
        [outline], kit.atlas.pick("leaves", rng), _foliage(kit, rng) * 0.8, TREE,
        origin=outline[0], right=right, up=UP, tile_size=(25.0, 18.0), two_sided=True,
    )  # fmt: skip


def _foliage(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    tints = kit.palette.foliage_tints
    return np.array(tints[int(rng.integers(len(tints)))]) * rng.uniform(0.85, 1.15)


def _leafy_crown(
    builder: MeshBuilder, kit: Kit, rng: np.random.Generator, height: float, bark: np.ndarray
) -> float:
    clear = height * rng.uniform(0.18, 0.34)
    radius = height * rng.uniform(0.24, 0.38)
    _trunk(builder, kit, height * 0.75, 0.022 * height + 0.05, bark)
    for _ in range(3):
        lean = rng.uniform(-1, 1) * radius * 0.7
        start, end = (0, clear), (lean, height * rng.uniform(0.5, 0.7))
        _limb(builder, kit, start, end, 0.012 * height + 0.02, 0.03, bark)
    middle = (clear + height) / 2
    half = (height - clear) / 2
    _clumps(builder, kit, rng, (0, middle), (radius, half), int(rng.integers(7, 12)), radius * 0.55)
    return radius


def _clumps(
    builder: MeshBuilder,
    kit: Kit,
    rng: np.random.Generator,
    center: tuple[float, float],
    spread: tuple[float, float],
    count: int,
    size: float,
) -> None:
    """Ragged clumps of leaves, the darker ones behind and below."""
    tint, leaves = _foliage(kit, rng), kit.atlas.pick("leaves", rng)
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0.05, 0.55, count))
    x = center[0] + spread[0] * reach * np.cos(angle)
    z = center[1] + spread[1] * reach * np.sin(angle)
    for index in np.argsort(-z + rng.normal(0, 0.4 * spread[1], count))[::-1]:
        lift = (z[index] - center[1]) / max(spread[1], 0.1)
        shade = 0.92 + 0.22 * lift + rng.normal(0, 0.06)
        outline = _blob(rng, (x[index], z[index]), size * rng.uniform(0.7, 1.15))
        holes = [
            _blob(rng, tuple(rng.normal((x[index], z[index]), size * 0.4)), size * 0.11, 7)
            for _ in range(rng.integers(0, 4))
        ]
        origin = np.array([rng.uniform(-9, 9), 0, rng.uniform(-9, 9)])
        scale = float(np.clip(2.4 * size, 1.5, 5.0))
        _flat(builder, [outline, *holes], leaves, tint * shade, scale, origin)


def _blob(
    rng: np.random.Generator, center: tuple[float, float], radius: float, corners: int = 44
) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    ragged = radius * (1 + 0.10 * rng.standard_normal(corners).clip(-2, 2))
    for waves, depth in ((2, 0.12), (5, 0.07), (9, 0.05)):
        ragged *= 1 + depth * np.sin(waves * angle + rng.uniform(0, 6))
    x, z = center[0] + ragged * np.cos(angle), center[1] + ragged * 0.9 * np.sin(angle)
    return np.stack([x, 0 * x, np.maximum(z, 0.02)], axis=1)


def _flat(
    builder: MeshBuilder,
    contours: list[np.ndarray],
    material: Material,
    tint: np.ndarray,
    size: float,
    origin: np.ndarray = _ORIGIN,
) -> None:
    """A clump of leaves; texture from its own `origin`, so that neighbours do not repeat."""
    builder.face(
        contours,
        material,
        tint,
        TREE,
        origin=origin,
        right=_X,
        up=UP,
        tile_size=(size, size),
    )


def _conifer(
    builder: MeshBuilder, kit: Kit, rng: np.random.Generator, height: float, bark: np.ndarray
) -> float:
    """Tiers of drooping branches."""
    radius = height * rng.uniform(0.16, 0.24)
    _trunk(builder, kit, height * 0.5, 0.02 * height + 0.04, bark)
    leaves, tint = (
        kit.atlas.pick("leaves", rng),
        np.array([0.15, 0.27, 0.18]) * rng.uniform(0.7, 1.3),
    )
    tiers = 7
    for tier in range(tiers):
        base = height * (0.1 + 0.82 * tier / tiers)
        width = radius * (1 - tier / tiers) + 0.1
        x = np.linspace(-width, width, 11)
        z = base + rng.normal(0, 0.02 * height, 11) + 0.03 * height * (np.arange(11) % 2)
        peak = [[0.12 * width, 0, base + 0.24 * height], [-0.12 * width, 0, base + 0.24 * height]]
        outline = np.concatenate([np.stack([x, 0 * x, z], axis=1), peak])
        _flat(builder, [outline], leaves, tint * (0.8 + 0.4 * tier / tiers), 2.6)
    return radius


def _bare_crown(
    builder: MeshBuilder, kit: Kit, rng: np.random.Generator, height: float, bark: np.ndarray
) -> None:
    """A winter tree: forked branches, all in one face."""
    width = 0.02 * height + 0.05
    branches: list[np.ndarray] = []

    def grow(start: np.ndarray, angle: float, length: float, thick: float, depth: int) -> None:
        end = start + length * np.array([np.sin(angle), np.cos(angle)])
        branches.append(_tapered(start, end, thick, thick * 0.6))
        if depth == 0:
            return
        for _ in range(3 if depth > 2 else 2):
            part = start + (end - start) * rng.uniform(0.45, 1.0)
            turn = angle * 0.85 + rng.normal(0, 0.5)
            grow(part, turn, length * rng.uniform(0.55, 0.8), thick * 0.55, depth - 1)

    grow(np.zeros(2), rng.normal(0, 0.03), height * 0.36, width, 5 if height > 6 else 4)
    builder.face(branches, kit.atlas.first("bark"), bark, TREE, origin=_ORIGIN, right=_X, up=UP)


def _trunk(builder: MeshBuilder, kit: Kit, top: float, width: float, bark: np.ndarray) -> None:
    _limb(builder, kit, (0, 0), (0, top), width, width * 0.5, bark)


def _limb(
    builder: MeshBuilder,
    kit: Kit,
    start: tuple[float, float],
    end: tuple[float, float],
    width: float,
    end_width: float,
    tint: Sequence[float],
) -> None:
    outline = _tapered(np.array(start, float), np.array(end, float), width, end_width)
    builder.face([outline], kit.atlas.first("bark"), tint, TREE, origin=_ORIGIN, right=_X, up=UP)


def _tapered(start: np.ndarray, end: np.ndarray, width: float, end_width: float) -> np.ndarray:
    along = end - start
    across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-6)
    flat = np.array(
        [
            start - across * width / 2,
            start + across * width / 2,
            end + across * end_width / 2,
            end - across * end_width / 2,
        ]
    )
    return upright(flat)


def _cast(piece: Piece, anchor: np.ndarray, height: float, radius: float) -> None:
    """Shadows of trunk and crown."""
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    crown = anchor + np.concatenate(
        [ring * radius * 0.9 + 0.65 * height * UP, ring * radius * 0.5 + 0.95 * height * UP]
    )
    trunk = anchor + np.concatenate([ring[::2] * 0.15, ring[::2] * 0.15 + 0.5 * height * UP])
    piece.casters += [crown, trunk]
