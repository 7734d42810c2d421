"""A procedural street: pictures with exact labels, depth and camera, from nothing but a seed."""

from .camera import CameraIntrinsics
from .drive import SceneFrame, SyntheticDrive

__all__ = ["CameraIntrinsics", "SceneFrame", "SyntheticDrive"]
