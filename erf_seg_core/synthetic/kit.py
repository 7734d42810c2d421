"""What every part of a scene is built with, and what it hands over."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .atlas import Atlas, Material
from .mesh import Billboards, Mesh, MeshBuilder, anchored, merge
from .road import Road
from .style import Layout, Palette

KERB_HEIGHT_M = 0.12


@dataclass(frozen=True)
class Kit:
    """One drive's road, layout, palette and textures."""

    road: Road
    layout: Layout
    palette: Palette
    atlas: Atlas

    def material(self, kind: str) -> Material:
        """The first material of that kind."""
        return self.atlas.first(kind)


@dataclass
class Piece:
    """A stretch of scene under construction: solid faces, billboards and what casts shadows."""

    solid: MeshBuilder = field(default_factory=MeshBuilder)
    flat: MeshBuilder = field(default_factory=MeshBuilder)
    anchors: list[np.ndarray] = field(default_factory=list)
    extra: list[Mesh] = field(default_factory=list)  # finished solids: vehicles
    casters: list[np.ndarray] = field(default_factory=list)  # convex hulls' points, K×3
    contacts: list[np.ndarray] = field(default_factory=list)  # footprints that touch, 4×3

    def billboard(self, anchor: np.ndarray, bias: float = 0.0) -> MeshBuilder:
        """Open a billboard object at `anchor` and return the builder for its faces."""
        self.flat.begin(bias=bias)
        self.anchors.append(np.asarray(anchor, float))
        return self.flat

    def finish(self) -> BuiltPiece:
        """Freeze into arrays."""
        return BuiltPiece(
            merge([self.solid.build(), *self.extra]),
            anchored(self.flat.build(), self.anchors),
            self.casters,
            self.contacts,
        )


@dataclass(frozen=True)
class BuiltPiece:
    """A finished stretch of scene."""

    solid: Mesh
    billboards: Billboards
    casters: list[np.ndarray]
    contacts: list[np.ndarray]
