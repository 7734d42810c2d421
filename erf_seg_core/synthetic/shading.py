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
from .style import Weather

_LOD_BIAS = -0.35  # towards the sharper mip level; a little aliasing looks like camera sharpness


@dataclass(frozen=True)
class Surfaces:
    """Per-pixel geometry."""

    depth: np.ndarray  # float32 H×W metres along the optical axis, inf for sky
    labels: np.ndarray  # uint8 H×W
    light: np.ndarray  # float32 H×W×3 of the sun and the sky, or of the face itself
    color: np.ndarray  # float32 H×W×3 BGR texture × tint, 0…1
    ground: np.ndarray  # bool H×W, where shadows are drawn
    sky: np.ndarray  # bool H×W


def shade(
    mesh: Mesh,
    painted: Painted,
    atlas: Atlas,
    weather: Weather,
    camera: CameraIntrinsics,
    pose: CameraPose,
    shadow: np.ndarray | None,
) -> Surfaces:
    """Look up depth, label, texture and light of each pixel's face.

    `shadow` is float32 H×W, the share of sunlight that reaches the ground there, or None.
    """
    numbers = painted.numbers
    sky = numbers == 0
    x, y = pixel_rays(camera)
    slope, depth = _depth(painted, numbers, x, y)
    color = _texture(mesh, painted, atlas, numbers, x, y, slope, depth, camera)
    faces = painted.faces
    ground = np.append(False, mesh.layer[faces] < LAYER_STANDING)[numbers]
    ambient, sun = _face_light(mesh, painted, weather, pose)
    sunlight = sun[numbers]
    if shadow is not None:
        sunlight *= np.where(ground, shadow, np.float32(1.0))[..., None]
    light = ambient[numbers]
    light += sunlight
    depth[sky] = np.inf
    labels = np.append(np.uint8(SKY), mesh.label[faces])[numbers]
    return Surfaces(depth, labels, light, color, ground, sky)


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
