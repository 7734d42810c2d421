"""What a camera does to light: exposure, tone, edges, motion blur, rain, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_NOISE_TILE = 768


@dataclass(frozen=True)
class Sensor:
    """One camera's habits."""

    brightness: float  # mean that the automatic exposure aims at, 0…1
    contrast: float
    white_balance: tuple[float, float, float]
    vignette: float  # share of light lost in the corners
    noise: float  # grey levels
    blur_px: float  # deviation of the lens blur, relative to 480 pixels of width
    motion_px: int  # length of the motion blur, 1 = none
    jpeg_quality: int  # 0 = none


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a camera, from crisp to cheap."""
    balance = rng.normal(1, 0.035, 3)
    return Sensor(
        brightness=float(rng.uniform(0.30, 0.50)),
        contrast=float(rng.uniform(0.85, 1.35)),
        white_balance=tuple((balance / balance.mean()).tolist()),
        vignette=float(rng.uniform(0, 0.35)),
        noise=float(rng.uniform(0.8, 5.0)),
        blur_px=float(rng.choice([0.0, 0.4, 0.7])),
        motion_px=int(rng.choice([1, 1, 1, 3])),
        jpeg_quality=int(rng.choice([0, 0, 90, 75, 50])),
    )


def expose(
    color: np.ndarray, numbers: np.ndarray, sensor: Sensor, rng: np.random.Generator
) -> np.ndarray:
    """Turn light (float32 H×W×3, around 0…1) into the uint8 picture.

    `numbers` are the painted faces: 0 is the sky, and where they change there is an edge.
    """
    height, width = numbers.shape
    exposure = _automatic_exposure(color, numbers, sensor.brightness)
    gain = np.array(sensor.white_balance, np.float32) * np.float32(exposure * 255)
    color *= _vignette(height, width, sensor.vignette)[..., None]
    color *= gain
    picture = np.clip(color, 0, 255, out=color).astype(np.uint8)
    picture = cv2.LUT(picture, _tone_curve(round(sensor.contrast, 3)))
    picture = _smooth_edges(picture, numbers)
    if sensor.blur_px:
        picture = cv2.GaussianBlur(picture, (0, 0), sensor.blur_px * width / 480)
    if sensor.motion_px > 1:
        picture = cv2.blur(picture, (sensor.motion_px * max(1, width // 480), 1))
    _add_noise(picture, sensor.noise, rng)
    if sensor.jpeg_quality:
        _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])
        picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return picture


def add_rain(
    color: np.ndarray, depth: np.ndarray, ground: np.ndarray, horizon: float, wet: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Wet ground mirrors what stands above it; drops fall through the picture. In place."""
    height, width = depth.shape
    rows = np.clip(2 * horizon - np.arange(height), 0, height - 1).astype(np.int64)
    mirror = cv2.blur(color[rows], (3, max(3, height // 14) | 1))
    share = np.float32(wet * 0.55) * ground[..., None]
    color *= 1 - share * 0.55
    color += share * 0.6 * mirror
    streaks = np.zeros((height, width), np.uint8)
    count = int(250 * wet)
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    length = rng.uniform(0.02, 0.07, count) * height
    for x0, y0, run in zip(x.tolist(), y.tolist(), length.tolist(), strict=True):
        start, end = (int(x0), int(y0)), (int(x0 + 0.1 * run), int(y0 + run))
        cv2.line(streaks, start, end, 255, 1)
    color += cv2.blur(streaks, (1, 5)).astype(np.float32)[..., None] * np.float32(0.14 / 255)


def _automatic_exposure(color: np.ndarray, numbers: np.ndarray, aim: float) -> float:
    """Gain that brings the street (the sky counts a quarter) to the brightness aimed at.

    Only part of the way, so that a dark evening stays darker than noon.
    """
    sample, sky = color[4::8, 4::8].mean(axis=2), numbers[4::8, 4::8] == 0
    mean = float(np.average(np.minimum(sample, 1.2), weights=np.where(sky, 0.25, 1.0)))
    return float(np.clip((aim / max(mean, 1e-3)) ** 0.75, 0.5, 3.5))


@lru_cache(maxsize=32)
def _tone_curve(contrast: float) -> np.ndarray:
    """Contrast around mid-grey with a soft shoulder, as camera JPEGs have."""
    x = np.arange(256) / 255
    curved = np.minimum(0.4 * (x / 0.4) ** contrast, 1)
    shoulder = curved + 0.10 * np.sin(2 * np.pi * (curved - 0.5)) / np.pi
    return np.clip(shoulder * 255, 0, 255).round().astype(np.uint8)


@lru_cache(maxsize=8)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - strength * ((x * x + y * y) / 2) ** 1.5).astype(np.float32)


def _smooth_edges(picture: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Soften outlines only: faces are drawn without antialiasing, textures need none."""
    edge = np.zeros(numbers.shape, np.uint8)
    across = numbers[:, 1:] != numbers[:, :-1]
    down = numbers[1:] != numbers[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    soft = cv2.GaussianBlur(picture, (3, 3), 0.7)
    return cv2.copyTo(soft, edge, picture)


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    """Normal noise with some correlation between neighbours, as demosaicing leaves it."""
    field = np.random.default_rng(5).standard_normal((_NOISE_TILE, 2 * _NOISE_TILE, 3))
    field = cv2.GaussianBlur(field.astype(np.float32), (3, 3), 0.5)
    return (field / field.std() * 32).clip(-127, 127).astype(np.int8)


def _add_noise(picture: np.ndarray, level: float, rng: np.random.Generator) -> None:
    bank = _noise_bank()
    height, width = picture.shape[:2]
    dy, dx = rng.integers(_NOISE_TILE, size=2)
    rows = (np.arange(height) + dy) % bank.shape[0]
    columns = (np.arange(width) + dx) % bank.shape[1]
    field = np.take(np.take(bank, rows, axis=0), columns, axis=1)
    noisy = picture.astype(np.float32)
    noisy += field * np.float32(level / 32)
    np.clip(noisy, 0, 255, out=noisy)
    picture[:] = noisy.astype(np.uint8)
