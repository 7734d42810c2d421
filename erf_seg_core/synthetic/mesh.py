"""Flat faces in arrays: what every object of the scene is made of.

A face is a planar polygon of one or more contours (even-odd, so a second contour inside the first
is a hole), with a texture frame, a tint and a label. Faces belong to groups, one per object; the
rasteriser paints groups from far to near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .atlas import Material

# Ground is painted first, in this order; everything that stands on it after it, by distance.
(
    LAYER_GROUND,
    LAYER_ROAD,
    LAYER_MARKING,
    LAYER_KERB,
    LAYER_PAVEMENT,
    LAYER_PAVING,
    LAYER_STANDING,
) = range(7)
LAYER_BONNET = 7

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Mesh:
    """Structure of arrays over V vertices, C contours, F faces and G groups."""

    vertices: np.ndarray  # float64 V×3
    contour_start: np.ndarray  # int64 C, index of each contour's first vertex
    contour_face: np.ndarray  # int64 C
    origin: np.ndarray  # float64 F×3, where the texture coordinates are 0
    u_axis: np.ndarray  # float64 F×3, tiles per metre across
    v_axis: np.ndarray  # float64 F×3, tiles per metre down
    normal: np.ndarray  # float64 F×3, outwards
    tile: np.ndarray  # int64 F, row of the atlas
    tint: np.ndarray  # float32 F×3, BGR factors
    label: np.ndarray  # uint8 F
    glow: np.ndarray  # float32 F, 0 = lit by the sun, above 0 = shines by itself this bright
    two_sided: np.ndarray  # bool F
    layer: np.ndarray  # int64 F
    face_group: np.ndarray  # int64 F
    group_start: np.ndarray  # int64 G, index of each group's first vertex
    group_far: np.ndarray  # bool G, ordered by its farthest vertex instead of its mean
    group_bias: np.ndarray  # float64 G, metres added to its distance when ordering

    def placed(self, x: float, y: float, yaw: float) -> Mesh:
        """Copy turned by `yaw` about the vertical and moved to (x, y) on the ground."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        move = np.array([x, y, 0.0])
        return replace(
            self,
            vertices=self.vertices @ turn + move,
            origin=self.origin @ turn + move,
            u_axis=self.u_axis @ turn,
            v_axis=self.v_axis @ turn,
            normal=self.normal @ turn,
        )

    @property
    def num_faces(self) -> int:
        """How many faces there are."""
        return len(self.tile)


_VERTEX_INDEX = {"contour_start", "group_start"}
_FACE_INDEX = {"contour_face"}
_GROUP_INDEX = {"face_group"}


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all of them, in order."""

    def shifts(sizes: list[int]) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)

    vertex = shifts([len(m.vertices) for m in meshes])
    face = shifts([m.num_faces for m in meshes])
    group = shifts([len(m.group_start) for m in meshes])
    merged = {}
    for field in fields(Mesh):
        parts = [getattr(m, field.name) for m in meshes]
        if field.name in _VERTEX_INDEX:
            parts = [p + shift for p, shift in zip(parts, vertex, strict=True)]
        elif field.name in _FACE_INDEX:
            parts = [p + shift for p, shift in zip(parts, face, strict=True)]
        elif field.name in _GROUP_INDEX:
            parts = [p + shift for p, shift in zip(parts, group, strict=True)]
        merged[field.name] = np.concatenate(parts)
    return Mesh(**merged)


def upright(flat: np.ndarray, depth: float = 0.0) -> np.ndarray:
    """Points (x, z) as points (x, depth, z)."""
    points = np.empty((len(flat), 3))
    points[:, 0], points[:, 1], points[:, 2] = flat[:, 0], depth, flat[:, 1]
    return points


class MeshBuilder:
    """Collects faces; `begin` opens the group that the following ones belong to."""

    def __init__(self) -> None:
        """Start empty."""
        self._vertices: list[np.ndarray] = []
        self._count = 0
        self._contour_start: list[int] = []
        self._contour_face: list[int] = []
        self._frames: list[tuple[np.ndarray, ...]] = []
        self._faces: list[tuple] = []
        self._groups: list[tuple[int, bool, float]] = []

    def begin(self, far: bool = False, bias: float = 0.0) -> None:
        """Open a new object; an object without faces is dropped."""
        if self._groups and self._groups[-1][0] == self._count:
            self._groups.pop()
        self._groups.append((self._count, far, bias))

    def face(
        self,
        contours: Sequence[np.ndarray],
        material: Material,
        tint: Sequence[float],
        label: int,
        *,
        origin: np.ndarray,
        right: np.ndarray,
        up: np.ndarray,
        tile_size: tuple[float, float] | None = None,
        glow: float = 0.0,
        two_sided: bool = False,
        layer: int = LAYER_STANDING,
    ) -> None:
        """Add a planar face; unit vectors `right` and `up` run along its texture.

        The outward normal is right × up. `tile_size` overrides the metres that one tile spans.
        """
        width, height = tile_size or (material.width_m, material.height_m)
        number = len(self._faces)
        for contour in contours:
            self._contour_start.append(self._count)
            self._contour_face.append(number)
            self._vertices.append(contour)
            self._count += len(contour)
        r, u = right, up
        normal = (r[1] * u[2] - r[2] * u[1], r[2] * u[0] - r[0] * u[2], r[0] * u[1] - r[1] * u[0])
        self._frames.append((origin, right / width, -up / height, normal))
        self._faces.append((material.index, tint, label, glow, two_sided, layer))
        self._face_group_append()

    def _face_group_append(self) -> None:
        if not self._groups:
            self.begin()
        self._faces[-1] += (len(self._groups) - 1,)

    def quad(
        self,
        bottom_left: np.ndarray,
        right_edge: np.ndarray,
        up_edge: np.ndarray,
        material: Material,
        tint: Sequence[float],
        label: int,
        **options: object,
    ) -> None:
        """Parallelogram seen from its front: edges from its lower left corner, in metres."""
        corners = np.array(
            [
                bottom_left,
                bottom_left + right_edge,
                bottom_left + right_edge + up_edge,
                bottom_left + up_edge,
            ]
        )
        self.face(
            [corners],
            material,
            tint,
            label,
            origin=corners[0],
            right=right_edge / _length(right_edge),
            up=up_edge / _length(up_edge),
            **options,
        )

    def polygon(
        self,
        points: np.ndarray,
        material: Material,
        tint: Sequence[float],
        label: int,
        **options: object,
    ) -> None:
        """Planar polygon, counter-clockwise seen from its front; its first edge is the rows."""
        right = points[1] - points[0]
        right = right / _length(right)
        other = points[-1] - points[0]
        up = other - right * (other @ right)
        self.face(
            [points],
            material,
            tint,
            label,
            origin=points[0],
            right=right,
            up=up / _length(up),
            **options,
        )

    def build(self) -> Mesh:
        """Return what was collected."""
        if self._groups and self._groups[-1][0] == self._count:
            self._groups.pop()
        tile, tint, label, glow, two_sided, layer, group = (
            zip(*self._faces, strict=True) if self._faces else ((),) * 7
        )
        frames = np.array(self._frames, float).reshape(-1, 4, 3)
        start, far, bias = zip(*self._groups, strict=True) if self._groups else ((),) * 3
        return Mesh(
            vertices=np.concatenate(self._vertices) if self._vertices else np.zeros((0, 3)),
            contour_start=np.array(self._contour_start, np.int64),
            contour_face=np.array(self._contour_face, np.int64),
            origin=frames[:, 0],
            u_axis=frames[:, 1],
            v_axis=frames[:, 2],
            normal=frames[:, 3],
            tile=np.array(tile, np.int64),
            tint=np.array(tint, np.float32).reshape(-1, 3),
            label=np.array(label, np.uint8),
            glow=np.array(glow, np.float32),
            two_sided=np.array(two_sided, bool),
            layer=np.array(layer, np.int64),
            face_group=np.array(group, np.int64),
            group_start=np.array(start, np.int64),
            group_far=np.array(far, bool),
            group_bias=np.array(bias, float),
        )


@dataclass(frozen=True)
class Billboards:
    """Mesh whose vertices turn with the camera: trees, people, posts.

    In `local`, x runs to the camera's right, y away from it, z up, from each vertex's `anchor`.
    """

    local: Mesh
    vertex_anchor: np.ndarray  # float64 V×3
    face_anchor: np.ndarray  # float64 F×3

    def facing(self, yaw: float) -> Mesh:
        """The mesh as a camera looking along `yaw` meets it."""
        turned = self.local.placed(0.0, 0.0, yaw - np.pi / 2)
        return replace(
            turned,
            vertices=turned.vertices + self.vertex_anchor,
            origin=turned.origin + self.face_anchor,
        )


def anchored(mesh: Mesh, anchors: Sequence[np.ndarray]) -> Billboards:
    """Billboards from a mesh in local coordinates and the anchor of each of its groups."""
    points = np.asarray(anchors, float).reshape(-1, 3)
    counts = np.diff(np.append(mesh.group_start, len(mesh.vertices)))
    return Billboards(mesh, np.repeat(points, counts, axis=0), points[mesh.face_group])


def _length(vector: np.ndarray) -> float:
    return float(np.sqrt(vector @ vector))
