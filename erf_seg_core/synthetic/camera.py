"""The pinhole camera: intrinsics, pose and the ray of every pixel.

World frame: x, y on the ground, z up, metres. Camera frame: REP-103 optical (x right, y down,
z forward). Integer pixel coordinates are pixel centres, as in OpenCV and `sensor_msgs/CameraInfo`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class CameraIntrinsics:
    """Undistorted pinhole camera; all values in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_fov(cls, width: int, height: int, horizontal_fov_deg: float) -> CameraIntrinsics:
        """Square pixels, principal point in the middle."""
        focal = width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)
        return cls(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True)
class CameraPose:
    """Where the camera is and how it is turned, in the world frame."""

    position: np.ndarray  # float64 3
    rotation: np.ndarray  # float64 3×3, columns: the camera's right, down and forward axes

    @classmethod
    def looking(
        cls, position: np.ndarray, yaw: float, pitch: float = 0.0, roll: float = 0.0
    ) -> CameraPose:
        """Angles in radians: yaw from world x towards y, pitch upwards, roll clockwise."""
        forward = np.array(
            [math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)]
        )
        level_right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        level_down = np.cross(forward, level_right)
        right = math.cos(roll) * level_right + math.sin(roll) * level_down
        down = math.cos(roll) * level_down - math.sin(roll) * level_right
        return cls(np.asarray(position, float), np.stack([right, down, forward], axis=1))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (…×3) in the camera frame."""
        return (points - self.position) @ self.rotation

    def camera_to_world(self) -> np.ndarray:
        """Homogeneous 4×4 transform from the camera frame to the world."""
        transform = np.eye(4)
        transform[:3, :3] = self.rotation
        transform[:3, 3] = self.position
        return transform


@lru_cache(maxsize=8)
def pixel_rays(camera: CameraIntrinsics) -> tuple[np.ndarray, np.ndarray]:
    """x/z as float32 1×W and y/z as float32 H×1 of the ray through each pixel (z = 1)."""
    x = (np.arange(camera.width, dtype=np.float32) - np.float32(camera.cx)) / camera.fx
    y = (np.arange(camera.height, dtype=np.float32) - np.float32(camera.cy)) / camera.fy
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)
