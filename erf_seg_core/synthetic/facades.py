"""Facade tiles: two bays × two floors of windows, ground floors with shops or doors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from .textures import TILE, brick, stone, stucco

HALF = TILE // 2
TRIMS = ((225, 230, 232), (200, 208, 212), (70, 74, 80), (52, 58, 66), (150, 168, 182))
SHOP_COLORS = (
    (40, 40, 150), (110, 60, 20), (40, 90, 30), (30, 30, 34), (30, 110, 190), (150, 120, 30),
    (190, 190, 195), (60, 30, 90), (25, 150, 200), (90, 80, 75),
)  # fmt: skip
WORDS = (
    "CAFE",
    "Bakery",
    "BOOKS",
    "Pharmacy",
    "Flowers",
    "BANK",
    "Tailor",
    "NEWS",
    "Deli",
    "Optics",
)


@dataclass(frozen=True)
class WindowStyle:
    """Proportions of one window inside its bay, as fractions of the bay."""

    width: float
    height: float
    sill: float
    panes_x: int
    panes_y: int
    frame: tuple[int, int, int]
    surround: float  # brightness of the stone around it; 0 for none
    arched: bool


def upper_floors(rng: np.random.Generator) -> np.ndarray:
    """Two storeys, two bays."""
    canvas = _wall(rng)
    style = _window_style(rng)
    for floor in range(2):
        for bay in range(2):
            _window(canvas, rng, style, bay * HALF, floor * HALF)
    if rng.random() < 0.5:  # string course between the floors
        shade = rng.uniform(0.75, 1.2)
        for y in (0, HALF):
            _scale(canvas[y : y + 4], shade)
    return canvas


def office_floors(rng: np.random.Generator) -> np.ndarray:
    """Ribbon windows or a curtain wall."""
    canvas = _wall(rng)
    top, bottom = rng.uniform(0.05, 0.25), rng.uniform(0.70, 0.97)
    mullions = int(rng.integers(2, 7))
    frame = TRIMS[rng.integers(len(TRIMS))]
    for floor in range(2):
        y0, y1 = (int(HALF * (floor + f)) for f in (top, bottom))
        for pane in range(mullions * 2):
            x0, x1 = (int(TILE * (pane + k) / (mullions * 2)) for k in (0, 1))
            _pane(canvas, rng, x0, y0, x1, y1)
            cv2.rectangle(canvas, (x0, y0), (x1, y1), (*frame, 0), 1 + int(mullions < 4))
    return canvas


def shop_front(rng: np.random.Generator) -> np.ndarray:
    """One shop: fascia with lettering, display windows, door, stall riser."""
    canvas = _wall(rng)
    color = SHOP_COLORS[rng.integers(len(SHOP_COLORS))]
    fascia = int(TILE * rng.uniform(0.14, 0.24))
    riser = int(TILE * rng.uniform(0.78, 0.92))
    canvas[: fascia + 6] = (*color, 0)
    canvas[fascia:] = (*(int(c * 0.8) for c in color), 0)
    if rng.random() < 0.8:
        _lettering(canvas, rng, fascia, bright=sum(color) < 330)
    edges = np.linspace(10, TILE - 10, int(rng.integers(3, 6))).astype(int)
    door = int(rng.integers(len(edges) - 1))
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        bottom = TILE - 8 if index == door else riser
        _pane(canvas, rng, x0 + 4, fascia + 12, x1 - 4, bottom, display=rng.random() < 0.75)
    return canvas


def house_front(rng: np.random.Generator) -> np.ndarray:
    """Ground floor with a door in one bay and a window in the other."""
    canvas = _wall(rng)
    style = _window_style(rng)
    big = WindowStyle(style.width, style.height * 0.9, 0.74, *list(vars(style).values())[3:])
    left = np.zeros((TILE, HALF, 4), np.uint8)
    left[:] = canvas[:, :HALF]
    _window(left, rng, big, 0, 0, HALF, TILE)
    canvas[:, :HALF] = left
    x0, x1 = HALF + int(HALF * 0.28), HALF + int(HALF * 0.72)
    top = int(TILE * rng.uniform(0.18, 0.30))
    cv2.rectangle(canvas, (x0 - 6, top - 6), (x1 + 6, TILE), (*TRIMS[rng.integers(3)], 0), -1)
    door = SHOP_COLORS[rng.integers(len(SHOP_COLORS))]
    cv2.rectangle(canvas, (x0, top + 26), (x1, TILE), (*door, 0), -1)
    _pane(canvas, rng, x0, top, x1, top + 22)
    for y in (0.5, 0.75):
        corner = (x0 + 8, int(TILE * y))
        cv2.rectangle(canvas, corner, (x1 - 8, int(TILE * (y + 0.17))), (20, 20, 20, 0), 1)
    return canvas


def blind_wall(rng: np.random.Generator) -> np.ndarray:
    """A side wall with at most a small window."""
    canvas = _wall(rng)
    if rng.random() < 0.5:
        _window(canvas, rng, _window_style(rng), int(rng.integers(HALF)), HALF // 2)
    return canvas


def _wall(rng: np.random.Generator) -> np.ndarray:
    return (brick, brick, stone, stucco, stucco)[rng.integers(5)](rng).copy()


def _window_style(rng: np.random.Generator) -> WindowStyle:
    tall = rng.random() < 0.6
    return WindowStyle(
        width=rng.uniform(0.28, 0.5) if tall else rng.uniform(0.45, 0.78),
        height=rng.uniform(0.52, 0.7) if tall else rng.uniform(0.36, 0.52),
        sill=rng.uniform(0.78, 0.9),
        panes_x=int(rng.integers(1, 4)),
        panes_y=int(rng.integers(1, 4)),
        frame=TRIMS[rng.integers(len(TRIMS))],
        surround=rng.choice([0.0, 0.7, 1.15, 1.25]),
        arched=bool(rng.random() < 0.12),
    )


def _window(
    canvas: np.ndarray,
    rng: np.random.Generator,
    style: WindowStyle,
    x: int,
    y: int,
    bay_width: int = HALF,
    bay_height: int = HALF,
) -> None:
    """Draw one window into the bay whose upper left corner is (x, y)."""
    half = int(bay_width * style.width / 2)
    x0, x1 = x + bay_width // 2 - half, x + bay_width // 2 + half
    y1 = y + int(bay_height * style.sill)
    y0 = y1 - int(bay_height * style.height)
    if style.surround:
        _scale(canvas[max(y0 - 6, 0) : y1 + 5, max(x0 - 5, 0) : x1 + 6], style.surround)
    if style.arched:
        cv2.ellipse(
            canvas, ((x0 + x1) // 2, y0), (half, half // 2), 0, 180, 360, (40, 36, 34, 0), -1
        )
    width, height = (x1 - x0) / style.panes_x, (y1 - y0) / style.panes_y
    curtain = rng.random() < 0.35
    for row in range(style.panes_y):
        for column in range(style.panes_x):
            left, top = int(x0 + column * width), int(y0 + row * height)
            right, bottom = int(left + width), int(top + height)
            _pane(canvas, rng, left, top, right, bottom, curtain=curtain and row == 0)
            cv2.rectangle(canvas, (left, top), (right, bottom), (*style.frame, 0), 2)
    cv2.rectangle(canvas, (x0 - 6, y1), (x1 + 6, y1 + 4), (185, 190, 192, 0), -1)
    canvas[y1 + 5 : y1 + 8, x0 - 6 : x1 + 6, :3] //= 2  # the sill's shadow


def _pane(
    canvas: np.ndarray,
    rng: np.random.Generator,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    curtain: bool = False,
    display: bool = False,
) -> None:
    """Glass: dark inside below, the sky's reflection above; goods behind a display window."""
    height, width = y1 - y0, x1 - x0
    if height < 2 or width < 2:
        return
    ramp = np.linspace(rng.uniform(60, 190), rng.uniform(25, 85), height)[:, None, None]
    area = ramp * np.array([1.08, 1.02, 0.95]) * np.ones((1, width, 1))
    if display:
        for _ in range(6):
            gx, gy = rng.integers(width), int(height * rng.uniform(0.35, 1))
            size = int(rng.integers(4, 18))
            cv2.rectangle(
                area, (gx, gy - size), (gx + size, gy), rng.uniform(30, 190, 3).tolist(), -1
            )
        if rng.random() < 0.4:
            area += np.array([10, 45, 70]) * rng.uniform(0.4, 1.3)  # lit inside
    elif curtain:
        area[: int(height * rng.uniform(0.3, 1))] = rng.uniform(130, 215)
    canvas[y0:y1, x0:x1, :3] = np.clip(area, 0, 255)[: canvas.shape[0] - y0, : canvas.shape[1] - x0]
    canvas[y0:y1, x0:x1, 3] = 0


def _lettering(canvas: np.ndarray, rng: np.random.Generator, fascia: int, bright: bool) -> None:
    color = (225, 230, 235, 0) if bright else (30, 25, 25, 0)
    word = WORDS[rng.integers(len(WORDS))]
    font = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)[rng.integers(2)]
    (width, height), _ = cv2.getTextSize(word, font, 1.0, 2)
    scale = min(0.5 * fascia / height, 0.8 * TILE / width)
    place = (int(rng.integers(8, 20)), int(fascia / 2 + height * scale / 2))
    cv2.putText(canvas, word, place, font, scale, color, 2, cv2.LINE_AA)


def _scale(area: np.ndarray, factor: float) -> None:
    area[..., :3] = np.clip(area[..., :3] * factor, 0, 255)
