"""Procedural surface textures: periodic BGRA tiles whose alpha says how much a tint colours them.

Each function takes a random generator and returns uint8 TILE×TILE×4. Alpha 255 means "multiply by
the surface's tint" (a wall), 0 "keep my own colour" (the glass of its windows).
"""

from __future__ import annotations

import cv2
import numpy as np

TILE = 256
Color = tuple[float, float, float]


def noise(rng: np.random.Generator, roughness: float = 1.0, size: int = TILE) -> np.ndarray:
    """Periodic noise with spectrum 1/f^roughness, mean 0, deviation 1, float32 size×size."""
    fx, fy = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    frequency = np.hypot(fx[None, :], fy[:, None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**roughness
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (size, size)).astype(np.float32)
    return field / field.std()


def tile(luminance: np.ndarray, color: Color = (1, 1, 1), tinted: bool = True) -> np.ndarray:
    """BGRA tile from luminance (1.0 is the tint's own brightness at value 200 of 255)."""
    bgr = luminance[..., None] * np.array(color, np.float32) * 200.0
    alpha = np.full((*luminance.shape, 1), 255.0 if tinted else 0.0)
    return np.clip(np.concatenate([bgr, alpha], axis=2), 0, 255).astype(np.uint8)


def plain(rng: np.random.Generator) -> np.ndarray:
    """Painted metal or plaster: almost even."""
    return tile(1 + 0.025 * noise(rng, 1.0))


def asphalt(rng: np.random.Generator) -> np.ndarray:
    """Grain, stains, sealed cracks and a patch or two."""
    field = 1 + rng.uniform(0.03, 0.08) * noise(rng, 0.15) + 0.05 * noise(rng, 1.6)
    for _ in range(rng.integers(0, 3)):
        points = rng.integers(0, TILE, 2) + np.cumsum(rng.normal(0, 9, (14, 2)), axis=0)
        cv2.polylines(field, [points.astype(np.int32)], False, float(rng.uniform(0.6, 0.85)), 1)
    if rng.random() < 0.5:
        x, y, w, h = rng.integers([0, 0, 30, 30], [200, 200, 110, 110])
        field[y : y + h, x : x + w] *= rng.uniform(0.8, 1.12)
    return tile(field)


def _grid(
    rng: np.random.Generator, rows: int, columns: int, joint: int, spread: float
) -> np.ndarray:
    """Running-bond courses: rows×columns blocks of varied brightness with darker joints."""
    field = np.zeros((TILE, TILE), np.float32)
    heights = np.linspace(0, TILE, rows + 1).round().astype(int)
    widths = np.linspace(0, TILE, columns + 1).round().astype(int)
    for row in range(rows):
        shades = rng.normal(1, spread, columns).astype(np.float32)
        line = np.repeat(shades, np.diff(widths))
        line[widths[:-1]] = 0.72 if joint else line[widths[:-1]]
        shift = (row % 2) * (TILE // columns // 2)
        field[heights[row] : heights[row + 1]] = np.roll(line, shift)
        field[heights[row] : heights[row] + joint] = 0.74
    return field


def brick(rng: np.random.Generator) -> np.ndarray:
    """Courses of brick."""
    return tile(_grid(rng, 32, 10, 1, 0.12) + 0.05 * noise(rng, 0.6) + 0.05 * noise(rng, 1.8))


def stone(rng: np.random.Generator) -> np.ndarray:
    """Ashlar blocks, weathered."""
    rows, columns = int(rng.integers(7, 13)), int(rng.integers(3, 6))
    return tile(_grid(rng, rows, columns, 1, 0.07) + 0.07 * noise(rng, 0.8) + 0.05 * noise(rng, 2))


def stucco(rng: np.random.Generator) -> np.ndarray:
    """Rendered or concrete wall with rain streaks."""
    streaks = cv2.blur(noise(rng, 0.5), (1, 61), borderType=cv2.BORDER_REFLECT)
    return tile(1 + 0.03 * noise(rng, 0.4) + 0.05 * noise(rng, 1.9) + 0.10 * streaks)


def slabs(rng: np.random.Generator) -> np.ndarray:
    """Paving slabs."""
    rows, columns = int(rng.integers(5, 13)), int(rng.integers(4, 9))
    return tile(_grid(rng, rows, columns, 2, 0.06) + 0.06 * noise(rng, 0.3) + 0.05 * noise(rng, 2))


def roof(rng: np.random.Generator) -> np.ndarray:
    """Rows of tiles or slates, each row darker at its lower edge."""
    field = _grid(rng, 16, 16, 0, 0.09) + 0.06 * noise(rng, 1.4)
    ramp = np.tile(np.linspace(1.08, 0.78, TILE // 16, dtype=np.float32), 16)
    return tile(field * ramp[:, None])


def planks(rng: np.random.Generator) -> np.ndarray:
    """Upright boards with gaps."""
    boards = np.repeat(rng.normal(1, 0.1, 16).astype(np.float32), TILE // 16)
    boards[:: TILE // 16] = 0.4
    grain = cv2.blur(noise(rng, 0.4), (1, 41), borderType=cv2.BORDER_REFLECT)
    return tile(boards[None, :] + 0.25 * grain)


def grass(rng: np.random.Generator) -> np.ndarray:
    """Lawn with worn places."""
    return tile(1 + 0.16 * noise(rng, 0.2) + 0.10 * noise(rng, 1.7))


def leaves(rng: np.random.Generator) -> np.ndarray:
    """Clumps of foliage: bright leaves over dark gaps."""
    clumps = noise(rng, 1.2)
    speckle = noise(rng, 0.25)
    field = 0.80 + 0.26 * clumps + 0.26 * speckle
    field[(clumps + 0.8 * speckle) < -1.0] *= 0.5
    return tile(np.clip(field, 0.18, 1.27))


def bark(rng: np.random.Generator) -> np.ndarray:
    """Furrows running up the trunk."""
    furrows = cv2.blur(noise(rng, 0.3), (1, 31), borderType=cv2.BORDER_REFLECT)
    return tile(1 + 0.6 * furrows + 0.1 * noise(rng, 1.0))


def cloth(rng: np.random.Generator) -> np.ndarray:
    """Folds of clothing."""
    return tile(1 + 0.13 * noise(rng, 1.5) + 0.03 * noise(rng, 0.0))


def road_paint(rng: np.random.Generator) -> np.ndarray:
    """Marking paint, worn through in places."""
    worn = np.clip(noise(rng, 1.0) - 1.1, 0, 1)
    return tile(1.0 - 0.45 * worn + 0.05 * noise(rng, 0.2))


def car_paint(rng: np.random.Generator) -> np.ndarray:
    """Lacquer: the sky above, the horizon's dark line, the road below (v = height)."""
    height = np.linspace(1, 0, TILE, dtype=np.float32)
    shade = (
        0.74
        + 0.34 * np.clip((height - 0.35) / 0.3, 0, 1)
        - 0.22 * np.exp(-(((height - 0.27) / 0.07) ** 2))
    )
    field = np.repeat(shade[:, None], TILE, axis=1) + 0.02 * noise(rng, 1.4)
    return tile(field)


def glass(rng: np.random.Generator) -> np.ndarray:
    """Car windows: dark, with the pale reflection of the sky and of what stands around."""
    height = np.linspace(1, 0, TILE, dtype=np.float32)[:, None]
    reflection = np.clip(noise(rng, 2.2) * 0.35 + 1.6 * (height - 0.35), 0, 1)
    return tile(0.18 + 0.5 * reflection, (1.08, 1.02, 0.95), tinted=False)
