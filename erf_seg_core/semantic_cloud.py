"""Labels in space: depth and labels of the same pixels as the points of an organised cloud.

Depth is read as REP-118 defines it: uint16 in millimetres, 0 for unknown; float32 in metres along
the optical axis, NaN and ±inf (REP-117) where there is no measurement. Points follow REP-103's
optical frame: x right, y down, z forward.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from .errors import ErfSegError
from .label_size import resize_labels

POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("rgb", "<u4"),
        ("label", "<u4"),
        ("confidence", "<f4"),
    ]
)
"""One point in memory. Types and order are those of PCL's PointXYZRGBL; `rgb` holds 0x00RRGGBB."""

# Numbers of sensor_msgs/PointField.
_FLOAT32, _FLOAT64 = 7, 8

_TILE_ROWS = 32
"""Rows at a time: the tile's intermediate arrays stay in the processor's cache."""

_METRES = np.arange(1 << 16, dtype=np.float32) * np.float32(1e-3)
_METRES[0] = np.nan


@dataclass(frozen=True)
class Projection:
    """Pinhole camera of the depth image, in its pixels; pixel centres are whole numbers."""

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Semantics:
    """What the points carry besides their place.

    `labels` is h×w uint8. `colors` is the labelled image, H×W×3 uint8 BGR of any size, or a
    palette: 256 uint32 as `pack_bgr` makes them, by label. `confidence` is h×w uint8, 255 for
    certainty; None counts as certain.
    """

    labels: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse arrays of different sizes."""
        if self.confidence is not None and self.confidence.shape != self.labels.shape:
            raise ErfSegError(
                f"the confidence is {_size(self.confidence.shape)}, "
                f"the labels are {_size(self.labels.shape)}"
            )

    def write(self, rows: slice, points: np.ndarray) -> None:
        """Fill these rows' part of `points`."""
        labels = self.labels[rows]
        points["label"] = labels
        if self.colors.ndim == 1:
            points["rgb"] = self.colors[labels]
        else:
            points["rgb"] = pack_bgr(self._image[rows])
        if self.confidence is None:
            points["confidence"] = 1.0
        else:
            np.multiply(self.confidence[rows], np.float32(1 / 255), out=points["confidence"])

    @cached_property
    def _image(self) -> np.ndarray:
        """The image at the labels' size: of a depth of its size `CloudBuilder` takes these pixels.

        Once for all tiles of rows.
        """
        return resize_labels(self.colors, self.labels.shape)


class CloudBuilder:
    """Writes clouds into one buffer, which the next cloud of the same size overwrites."""

    def __init__(self) -> None:
        """Allocate with the first cloud."""
        self._data = array("B")
        self._points = np.empty((0, 0), POINT)
        self._rays: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))
        self._rays_for: tuple[object, ...] = ()

    def from_depth(
        self, depth: np.ndarray, projection: Projection, semantics: Semantics
    ) -> array[int]:
        """Cloud of a depth image that shows what the labels show (registered).

        `depth` is H×W uint16 (mm) or float32 (m) and seen through `projection`. The labels are
        H×W, too, or a whole fraction of it: then every n-th pixel of the depth is taken, from the
        middle of each label.

        Returns h×w `POINT`s as bytes, row by row, NaN where the depth is unknown; valid until the
        next call. Raises `ErfSegError` where sizes do not fit each other.
        """
        step = _sampling(depth.shape, semantics.labels.shape, "depth image")
        rays_x, rays_y = self._rays_of(projection, depth.shape, step)
        depth = depth[step // 2 :: step, step // 2 :: step]
        for rows, points in self._tiles(semantics.labels.shape):
            z = _metres(depth[rows])
            np.multiply(z, rays_x, out=points["x"])
            np.multiply(z, rays_y[rows], out=points["y"])
            points["z"] = z
            semantics.write(rows, points)
        return self._data

    def from_points(self, located: np.ndarray, semantics: Semantics) -> array[int]:
        """Cloud of an organised cloud whose points are the labels' pixels; else as `from_depth`.

        `located` is H×W with the fields x, y, z (see `organised_points`), in whatever frame.
        """
        step = _sampling(located.shape, semantics.labels.shape, "point cloud")
        located = located[step // 2 :: step, step // 2 :: step]
        for rows, points in self._tiles(semantics.labels.shape):
            xyz = [located[axis][rows] for axis in "xyz"]
            known = np.logical_and.reduce([np.isfinite(values) for values in xyz])
            for axis, values in zip("xyz", xyz, strict=True):
                points[axis] = np.where(known, values, np.nan)
            semantics.write(rows, points)
        return self._data

    def _tiles(self, shape: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of rows, each with its part of the cloud to be filled."""
        height, width = shape
        if self._points.shape != shape:
            self._data = array("B", bytes(height * width * POINT.itemsize))
            self._points = np.frombuffer(self._data, POINT).reshape(shape)
        for start in range(0, height, _TILE_ROWS):
            rows = slice(start, start + _TILE_ROWS)
            yield rows, self._points[rows]

    def _rays_of(
        self, projection: Projection, shape: tuple[int, ...], step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """x/z as 1×w and y/z as h×1 of every sampled pixel's ray; computed once per camera."""
        wanted = (projection, shape, step)
        if self._rays_for != wanted:
            height, width = shape
            columns = np.arange(step // 2, width, step)
            rows = np.arange(step // 2, height, step)
            x = (columns - projection.cx) / projection.fx
            y = (rows - projection.cy) / projection.fy
            self._rays = x[None, :].astype(np.float32), y[:, None].astype(np.float32)
            self._rays_for = wanted
        return self._rays


def pack_bgr(image: np.ndarray) -> np.ndarray:
    """H×W×3 uint8 BGR → H×W uint32 0x00RRGGBB.

    PCL reads it as a float's bits; with a full alpha byte half of the colours would be NaN, and
    readers that skip NaN would skip those points.
    """
    with_alpha = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA).view("<u4")
    return with_alpha[..., 0] & np.uint32(0x00FFFFFF)


def organised_points(
    data: bytes | array | memoryview | np.ndarray,
    height: int,
    width: int,
    point_step: int,
    row_step: int,
    fields: dict[str, tuple[int, int]],
    is_bigendian: bool = False,
) -> np.ndarray:
    """View the fields of a `sensor_msgs/PointCloud2` as H×W with the floats x, y and z.

    `fields` is {name: (offset, datatype number of `PointField`)}. Nothing is copied. Raises
    `ErfSegError` where the numbers contradict each other, or x, y, z are no floats.
    """
    flat = np.frombuffer(data, np.uint8)
    cloud = f"point cloud {width}×{height} with point_step {point_step}, row_step {row_step}"
    if height <= 0 or width <= 0:
        raise ErfSegError(f"{cloud} has no points")
    if row_step < width * point_step or flat.size != row_step * height:
        raise ErfSegError(f"{cloud} does not fit its {flat.size} bytes of data")
    order = ">" if is_bigendian else "<"
    formats, offsets = [], []
    for axis in "xyz":
        offset, datatype = fields.get(axis, (0, 0))
        if datatype not in (_FLOAT32, _FLOAT64):
            raise ErfSegError(f"{cloud} has no float field {axis}; its fields: {', '.join(fields)}")
        formats.append(order + ("f4" if datatype == _FLOAT32 else "f8"))
        offsets.append(offset)
    layout = {"names": list("xyz"), "formats": formats, "offsets": offsets, "itemsize": point_step}
    try:
        point = np.dtype(layout)
    except ValueError as error:
        raise ErfSegError(f"{cloud}: its fields do not fit a point ({error})") from error
    return np.ndarray((height, width), point, flat, strides=(row_step, point_step))


def _sampling(source: tuple[int, ...], labels: tuple[int, ...], what: str) -> int:
    """How many source pixels lie between two labels."""
    if len(labels) == 2 and labels[0] and labels[1]:
        step = source[0] // labels[0]
        if step and source == (labels[0] * step, labels[1] * step):
            return step
    raise ErfSegError(
        f"the labels are {_size(labels)}, the {what} is {_size(source)}: set the segmentation "
        f"node's label_size to [{source[0]}, {source[1]}], or to a half, a third, … of both"
    )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape[1::-1])


def _metres(depth: np.ndarray) -> np.ndarray:
    """Float32 metres, NaN where unknown."""
    if depth.dtype == np.uint16:
        return _METRES[depth]
    return np.where((depth > 0) & (depth < np.inf), depth, np.float32(np.nan))
