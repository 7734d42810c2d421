"""The sky: gradient, clouds on a plane overhead, the glow around the sun; haze in front of all."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .camera import CameraIntrinsics, CameraPose, pixel_rays
from .style import Weather
from .textures import noise

_CLOUD_TILE = 512
_SUBSAMPLING = 2  # clouds are soft: every other pixel is enough


@lru_cache(maxsize=4)
def cloud_field(variant: int) -> np.ndarray:
    """Periodic cloud density, float32, mean 0 and deviation 1."""
    rng = np.random.default_rng([variant, 41])
    field = 0.8 * noise(rng, 1.75, _CLOUD_TILE) + 0.2 * noise(rng, 1.0, _CLOUD_TILE)
    return np.ascontiguousarray(field, np.float32)


def render_sky(
    weather: Weather,
    camera: CameraIntrinsics,
    pose: CameraPose,
    rows: int,
    variant: int,
    drift_m: float,
) -> np.ndarray:
    """Upper `rows` rows of the picture as if nothing stood in them, float32 rows×W×3 BGR."""
    x, y = pixel_rays(camera)
    x, y = x[:, ::_SUBSAMPLING], y[:rows:_SUBSAMPLING]
    r = pose.rotation.astype(np.float32)
    direction = [r[k, 0] * x + r[k, 1] * y + r[k, 2] for k in range(3)]
    length = np.sqrt(x * x + y * y + 1)
    elevation = np.maximum(direction[2] / length, 0)
    # clouds lie on a plane 1 (unit) above; they crowd together towards the horizon
    scale = np.float32(_CLOUD_TILE * 0.055) / (elevation + np.float32(0.06)) / length
    map_x = np.mod(direction[0] * scale + np.float32(drift_m % _CLOUD_TILE), _CLOUD_TILE)
    map_y = np.mod(direction[1] * scale, _CLOUD_TILE)
    density = cv2.remap(
        cloud_field(variant), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    threshold = np.float32(1.6 - 3.2 * weather.cloud_cover)
    cover = np.clip((density - threshold) * 0.8, 0, 1)[..., None]
    climb = np.sqrt(np.minimum(elevation * 1.7, 1))[..., None]
    sky = weather.horizon + climb * (weather.zenith - weather.horizon)
    thickness = np.clip(1.04 - 0.09 * density, 0.78, 1.2)[..., None]
    sky += cover * (weather.cloud_color * thickness - sky)
    sun = weather.sun_direction.astype(np.float32)
    toward = sum(direction[k] * sun[k] for k in range(3)) / length
    glow = np.clip((toward - 0.55) / 0.45, 0, 1) ** 6
    sky += glow[..., None] * (0.9 * weather.sun_color)
    return cv2.resize(sky, (camera.width, rows), interpolation=cv2.INTER_LINEAR)


def add_haze(color: np.ndarray, depth: np.ndarray, weather: Weather) -> None:
    """Blend towards the horizon's colour with distance, in place."""
    veil = 1 - np.exp(-np.float32(weather.haze_per_m) * np.minimum(depth, np.float32(600)))
    color += veil[..., None] * (weather.horizon - color)
