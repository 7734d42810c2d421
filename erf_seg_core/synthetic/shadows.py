"""Shadows on the ground: cast by the sun, and the darkness where something touches it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .camera import CameraIntrinsics, CameraPose

_NEAR_M = 0.3
_REACH_M = 70.0  # farther shadows are too thin to see
_LONGEST_M = 60.0
_SHIFT = 3


def sun_shadow(
    casters: Sequence[np.ndarray],
    direction: np.ndarray,
    camera: CameraIntrinsics,
    pose: CameraPose,
) -> np.ndarray:
    """Share of sunlight on the ground, float32 H×W: 0 in the shadow of any caster's hull."""
    mask = np.full((camera.height, camera.width), 255, np.uint8)
    slide = -direction[:2] / max(direction[2], 0.05)
    for points in casters:
        if np.abs(points[0, :2] - pose.position[:2]).max() > _REACH_M + _LONGEST_M:
            continue
        ground = points.copy()
        ground[:, :2] += np.clip(points[:, 2:] * slide, -_LONGEST_M, _LONGEST_M)
        ground[:, 2] = 0
        _fill(mask, ground, camera, pose, 0)
    # the sun is a disc: shadow edges are soft
    width = max(3, camera.width // 160) | 1
    return cv2.GaussianBlur(mask, (width, width), 0).astype(np.float32) * np.float32(1 / 255)


def contact_shade(
    footprints: Sequence[np.ndarray], camera: CameraIntrinsics, pose: CameraPose
) -> np.ndarray:
    """Share of skylight on the ground, float32 H×W: dark under cars and feet."""
    mask = np.full((camera.height, camera.width), 255, np.uint8)
    for corners in footprints:
        if np.abs(corners[0, :2] - pose.position[:2]).max() < _REACH_M:
            grown = corners + (corners - corners.mean(axis=0)) * 0.12
            _fill(mask, grown, camera, pose, 70)
    width = max(3, camera.width // 60) | 1
    return cv2.blur(mask, (width, max(3, width // 2) | 1)).astype(np.float32) * np.float32(1 / 255)


def _fill(
    mask: np.ndarray, ground: np.ndarray, camera: CameraIntrinsics, pose: CameraPose, value: int
) -> None:
    """Fill the convex hull of ground points, cut at the near plane."""
    points = pose.to_camera(ground)
    z = points[:, 2]
    if z.max() < _NEAR_M:
        return
    if z.min() < _NEAR_M:
        points = _cut(points)
    screen = points[:, :2] / points[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    fixed = (np.clip(screen, -3e4, 3e4) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), value, cv2.LINE_8, _SHIFT)


def _cut(points: np.ndarray) -> np.ndarray:
    """Points in front of the near plane, and where lines to those behind it cross it."""
    front, back = points[points[:, 2] >= _NEAR_M], points[points[:, 2] < _NEAR_M]
    a, b = front[:, None], back[None]
    t = (_NEAR_M - a[..., 2:]) / (b[..., 2:] - a[..., 2:])
    return np.concatenate([front, (a + t * (b - a)).reshape(-1, 3)])
