"""From faces to a picture of face numbers: projection, clipping, culling and painting in order.

Painting numbers instead of colours keeps label, depth and colour of a pixel in agreement by
construction: all three are looked up from the one face that won the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import CameraIntrinsics, CameraPose
from .mesh import LAYER_MARKING, LAYER_STANDING, Mesh

NEAR_M = 0.25
_SHIFT = 4  # fractional bits of the vertices handed to OpenCV
_SMALLEST_PX = 0.35  # thinner faces would be drawn a whole pixel wide
_FARTHEST_PX = 5e6  # keeps fixed-point vertices within 32 bits


@dataclass(frozen=True)
class Painted:
    """Which face each pixel shows, with the faces' planes and texture axes in the camera frame."""

    numbers: np.ndarray  # int32 H×W, 0 = sky, k = face k − 1 of the arrays below
    faces: np.ndarray  # int64 K, index into the mesh
    normal: np.ndarray  # float32 K×3, towards the camera
    offset: np.ndarray  # float32 K, normal · (any point of the face)
    u_axis: np.ndarray  # float32 K×3
    v_axis: np.ndarray  # float32 K×3
    uv_offset: np.ndarray  # float32 K×2, texture coordinates of the camera's own position
    depth_range: np.ndarray  # float32 K×2, nearest and farthest vertex; ground has no limits


def paint(mesh: Mesh, camera: CameraIntrinsics, pose: CameraPose) -> Painted:
    """Paint all visible faces of `mesh` far to near."""
    points = pose.to_camera(mesh.vertices)
    normal = mesh.normal @ pose.rotation
    origin = pose.to_camera(mesh.origin)
    offset = np.einsum("ij,ij->i", normal, origin)
    facing = (offset < 0) | mesh.two_sided

    screen, contour_box, contour_near = _project(mesh, points, camera)
    drawable = _drawable(mesh, contour_box, contour_near, camera) & facing[mesh.contour_face]
    order, by_face = _painting_order(mesh, points, drawable)

    numbers = np.zeros((camera.height, camera.width), np.int32)
    fixed = np.clip(screen * (1 << _SHIFT), -2e9, 2e9).round().astype(np.int32)
    ends = np.append(mesh.contour_start[1:], len(points)).tolist()
    starts = mesh.contour_start.tolist()
    crossing = contour_near.tolist()
    for number, face in enumerate(order, 1):
        contours = []
        for contour in by_face[face]:
            a, b = starts[contour], ends[contour]
            part = _clip_and_project(points[a:b], camera) if crossing[contour] else fixed[a:b]
            if len(part) >= 3:
                contours.append(part)
        if contours:
            cv2.fillPoly(numbers, contours, number, cv2.LINE_8, _SHIFT)
    return _planes(mesh, np.array(order, np.int64), numbers, points, normal, origin, pose)


def _project(
    mesh: Mesh, points: np.ndarray, camera: CameraIntrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Screen positions V×2, boxes C×4 (x0, y0, x1, y1), and which contours cross the near plane."""
    z = np.maximum(points[:, 2:], NEAR_M)
    scale = np.array([camera.fx, camera.fy])
    screen = points[:, :2] / z * scale + np.array([camera.cx, camera.cy])
    starts = mesh.contour_start
    low = np.minimum.reduceat(screen, starts, axis=0)
    high = np.maximum.reduceat(screen, starts, axis=0)
    nearest = np.minimum.reduceat(points[:, 2], starts)
    farthest = np.maximum.reduceat(points[:, 2], starts)
    crossing = (nearest < NEAR_M) & (farthest > NEAR_M)
    low[farthest <= NEAR_M] = np.inf  # entirely behind the camera: never on the screen
    # a crossing contour's box is not that of its clipped shape: take it as the whole screen
    low[crossing], high[crossing] = 0, (camera.width, camera.height)
    return screen, np.concatenate([low, high], axis=1), crossing


def _drawable(
    mesh: Mesh, box: np.ndarray, crossing: np.ndarray, camera: CameraIntrinsics
) -> np.ndarray:
    inside = (
        (box[:, 0] < camera.width)
        & (box[:, 1] < camera.height)
        & (box[:, 2] > -1)
        & (box[:, 3] > -1)
    )
    size = box[:, 2:] - box[:, :2]
    # the road itself must close up to the horizon, however thin it gets
    large = (size.min(axis=1) > _SMALLEST_PX) | (mesh.layer[mesh.contour_face] < LAYER_MARKING)
    return inside & (large | crossing)


def _painting_order(
    mesh: Mesh, points: np.ndarray, drawable: np.ndarray
) -> tuple[list[int], dict[int, list[int]]]:
    """Faces from first to last painted, and the drawable contours of each."""
    z = points[:, 2]
    counts = np.diff(np.append(mesh.group_start, len(z)))
    distance = np.add.reduceat(z, mesh.group_start) / counts
    farthest = np.maximum.reduceat(z, mesh.group_start)
    distance = np.where(mesh.group_far, farthest, distance) + mesh.group_bias

    by_face: dict[int, list[int]] = {}
    contours = np.flatnonzero(drawable)
    for contour, face in zip(contours.tolist(), mesh.contour_face[contours].tolist(), strict=True):
        by_face.setdefault(face, []).append(contour)
    faces = np.array(list(by_face), np.int64)
    layer = mesh.layer[faces]
    far_first = np.where(layer >= LAYER_STANDING, -distance[mesh.face_group[faces]], 0.0)
    order = np.lexsort((faces, far_first, layer))
    return faces[order].tolist(), by_face


def _clip_and_project(points: np.ndarray, camera: CameraIntrinsics) -> np.ndarray:
    """Cut a contour at the near plane (Sutherland–Hodgman) and project what is left."""
    kept = []
    previous = points[-1]
    for point in points:
        if (point[2] > NEAR_M) != (previous[2] > NEAR_M):
            t = (NEAR_M - previous[2]) / (point[2] - previous[2])
            kept.append(previous + t * (point - previous))
        if point[2] > NEAR_M:
            kept.append(point)
        previous = point
    if not kept:
        return np.zeros((0, 2), np.int32)
    cut = np.array(kept)
    screen = cut[:, :2] / cut[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    screen = np.clip(screen, -_FARTHEST_PX, _FARTHEST_PX)
    return (screen * (1 << _SHIFT)).round().astype(np.int32)


def _planes(
    mesh: Mesh,
    faces: np.ndarray,
    numbers: np.ndarray,
    points: np.ndarray,
    normal: np.ndarray,
    origin: np.ndarray,
    pose: CameraPose,
) -> Painted:
    u_axis, v_axis = mesh.u_axis[faces] @ pose.rotation, mesh.v_axis[faces] @ pose.rotation
    start = origin[faces]
    uv_offset = -np.stack(
        [np.einsum("ij,ij->i", u_axis, start), np.einsum("ij,ij->i", v_axis, start)], axis=1
    )
    low, high = _face_depths(mesh, points[:, 2])
    ground = mesh.layer < LAYER_STANDING
    low, high = np.where(ground, NEAR_M, low), np.where(ground, np.inf, high)
    offset = np.einsum("ij,ij->i", normal[faces], start)
    towards = np.where(offset > 0, -1.0, 1.0)
    return Painted(
        numbers,
        faces,
        (normal[faces] * towards[:, None]).astype(np.float32),
        (offset * towards).astype(np.float32),
        u_axis.astype(np.float32),
        v_axis.astype(np.float32),
        uv_offset.astype(np.float32),
        np.stack([np.maximum(low[faces], NEAR_M), high[faces]], axis=1).astype(np.float32),
    )


def _face_depths(mesh: Mesh, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest and farthest vertex of each face; its contours are adjacent."""
    first_contour = np.searchsorted(mesh.contour_face, np.arange(mesh.num_faces))
    starts = mesh.contour_start[first_contour]
    return np.minimum.reduceat(z, starts), np.maximum.reduceat(z, starts)
