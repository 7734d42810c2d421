"""From face numbers to colour, label and depth, all pixels at once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from . import atlas as tiles
from .atlas import Atlas
from .camera import CameraIntrinsics, CameraPose, pixel_rays
from .labels import SKY
from .mesh import LAYER_STANDING, Mesh
from .rasterizer import Painted
from .sky import add_haze
from .style import Weather

_LOD_BIAS = -0.35  # towards the sharper mip level; a little aliasing looks like camera sharpness


_BAND_PIXELS = 1 << 16  # worked on at a time, to stay in the processor's cache


@dataclass(frozen=True)
class Surfaces:
    """Per-pixel results."""

    depth: np.ndarray  # float32 H×W metres along the optical axis, inf for sky
    labels: np.ndarray  # uint8 H×W
    color: np.ndarray  # float32 H×W×3 BGR as light reaches the camera, around 0…1; sky undefined
    ground: np.ndarray  # bool H×W, where shadows and puddles are
    sky: np.ndarray  # bool H×W


def shade(
    mesh: Mesh,
    painted: Painted,
    atlas: Atlas,
    weather: Weather,
    camera: CameraIntrinsics,
    pose: CameraPose,
    shadow: np.ndarray,
) -> Surfaces:
    """Look up depth, label, texture and light of each pixel's face.

    `shadow` is float32 H×W, the share of sunlight that reaches the ground there.
    """
    faces, numbers = painted.faces, painted.numbers
    shape = numbers.shape
    result = Surfaces(
        depth=np.empty(shape, np.float32),
        labels=np.append(np.uint8(SKY), mesh.label[faces])[numbers],
        color=np.empty((*shape, 3), np.float32),
        ground=np.append(False, mesh.layer[faces] < LAYER_STANDING)[numbers],
        sky=numbers == 0,
    )
    ambient, sun = _face_light(mesh, painted, weather, pose)
    x, y = pixel_rays(camera)
    rows = max(1, _BAND_PIXELS // shape[1])
    for band in (slice(top, top + rows) for top in range(0, shape[0], rows)):
        part = numbers[band]
        slope, depth = _depth(painted, part, x, y[band])
        color = _texture(mesh, painted, atlas, part, x, y[band], slope, depth, camera)
        light = sun[part]
        light *= np.where(result.ground[band], shadow[band], np.float32(1.0))[..., None]
        light += ambient[part]
        color *= light
        add_haze(color, depth, weather)
        depth[result.sky[band]] = np.inf
        result.depth[band], result.color[band] = depth, color
    return result


def _depth(
    painted: Painted, numbers: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope (normal · ray, negative) and depth of each pixel's plane."""
    normal = np.concatenate([[[0, 0, -1]], painted.normal]).astype(np.float32)
    offset = np.append(np.float32(-1), painted.offset)
    near, far = np.concatenate([[[1, 1]], painted.depth_range]).astype(np.float32).T
    nx, ny, nz = (np.take(normal[:, k], numbers) for k in range(3))
    slope = nx * x
    slope += ny * y
    slope += nz
    # a face seen edge-on colours its outline's pixels although their rays miss its plane
    np.minimum(slope, np.float32(-1e-6), out=slope)
    depth = np.take(offset, numbers)
    depth /= slope
    np.clip(depth, np.take(near, numbers), np.take(far, numbers), out=depth)
    return slope, depth


def _texture(
    mesh: Mesh,
    painted: Painted,
    atlas: Atlas,
    numbers: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    slope: np.ndarray,
    depth: np.ndarray,
    camera: CameraIntrinsics,
) -> np.ndarray:
    """Sample each pixel's tile at the mip level that fits its distance; H×W×3 in 0…1."""
    coordinates = []
    for axis, offset in (
        (painted.u_axis, painted.uv_offset[:, 0]),
        (painted.v_axis, painted.uv_offset[:, 1]),
    ):
        ax, ay, az = (np.take(np.append(np.float32(0), axis[:, k]), numbers) for k in range(3))
        value = ax * x
        value += ay * y
        value += az
        value *= depth
        value += np.take(np.append(np.float32(0), offset), numbers)
        value -= np.floor(value)
        coordinates.append(value)
    scale = np.append(np.float32(1), np.linalg.norm(painted.u_axis, axis=1).astype(np.float32))
    texels_per_pixel = np.take(scale * (tiles.TILE / camera.fx), numbers)
    texels_per_pixel *= depth
    # halfway between the footprint's short side (1) and its long one (1 / |slope|)
    texels_per_pixel /= np.sqrt(-slope)
    level = np.log2(texels_per_pixel, out=texels_per_pixel)
    level = np.clip(level + (0.5 + _LOD_BIAS), 0, tiles.LEVELS - 1).astype(np.int8)
    size = np.take(tiles.LEVEL_SIZES, level)
    row = np.append(0, mesh.tile[painted.faces]).astype(np.float32) * tiles.ROW_HEIGHT
    map_x = coordinates[0] * size + np.take(tiles.LEVEL_X, level)
    map_y = coordinates[1] * size + np.take(row + tiles.ROW_Y, numbers)
    texel = cv2.remap(atlas.picture, map_x, map_y, cv2.INTER_LINEAR)
    return _tinted(texel, np.concatenate([[[1, 1, 1]], mesh.tint[painted.faces]]), numbers)


def _tinted(texel: np.ndarray, tint: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    factor = (tint.astype(np.float32) - 1)[numbers]
    factor *= texel[..., 3:].astype(np.float32) * np.float32(1 / 255)
    factor += 1
    factor *= texel[..., :3]
    factor *= np.float32(1 / 255)
    return factor


def _face_light(
    mesh: Mesh, painted: Painted, weather: Weather, pose: CameraPose
) -> tuple[np.ndarray, np.ndarray]:
    """Skylight and direct sunlight of each painted face, float32 (K+1)×3 each."""
    normal = painted.normal @ pose.rotation.T.astype(np.float32)
    up = normal[:, 2]
    facing = np.clip(normal @ weather.sun_direction, 0, 1)
    # half of the sky and some light from the ground reaches a wall
    openness = 0.84 + 0.16 * up
    glow = mesh.glow[painted.faces]
    ambient = openness[:, None] * weather.sky_light
    ambient = np.where(glow[:, None] > 0, glow[:, None], ambient)
    sun = np.where(glow > 0, 0, facing * 1.15)[:, None] * weather.sun_color
    none = np.zeros((1, 3))
    return (
        np.concatenate([none, ambient]).astype(np.float32),
        np.concatenate([none, sun]).astype(np.float32),
    )
