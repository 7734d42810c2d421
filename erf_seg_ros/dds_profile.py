"""The Fast DDS profile that lets megapixel images through, for whatever starts processes.

The shared-memory segment belongs to the writer, so the profile must be in the environment of the
process that publishes the images, before it starts. Other middlewares ignore it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from erf_seg_core.errors import ErfSegError

VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# Its name in Fast DDS 2, which knows no other; Fast DDS 3 warns about it.
_OLD_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_FAST_DDS_2 = ("humble", "iron", "jazzy")
_RCLPY_WITH_FAST_DDS_3 = 9  # Kilted's
_FILE = Path("config") / "fastdds_large_images.xml"
# A profile's UDP is on every interface, which Humble's middleware does not take back.
_LOCALHOST_FILE = Path("config") / "fastdds_large_images_localhost.xml"


def path(given: Mapping[str, str] = os.environ) -> Path:
    """Return the profile: in the source tree, or in the share folder that the package installs.

    Another one where `given`, an environment, keeps ROS on this machine with ROS_LOCALHOST_ONLY.
    Raises `ErfSegError` where the file is not found.
    """
    file = _LOCALHOST_FILE if given.get("ROS_LOCALHOST_ONLY") == "1" else _FILE
    for parent in Path(__file__).resolve().parents:
        for folder in (parent, parent / "share" / "erf_seg_ros"):
            if (folder / file).is_file():
                return folder / file
    raise ErfSegError(f"{file} is not installed beside erf_seg_ros; build the package again")


def variable() -> str:
    """Return the name of the environment variable that this ROS distribution's Fast DDS reads."""
    return _OLD_VARIABLE if _has_fast_dds_2() else VARIABLE


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables to add to `given` for processes that send images; none if it names a profile."""
    if VARIABLE in given or _OLD_VARIABLE in given:
        return {}
    return {variable(): str(path(given))}


def _has_fast_dds_2() -> bool:
    if distribution := os.environ.get("ROS_DISTRO"):
        return distribution in _FAST_DDS_2
    try:  # nothing is sourced: ROS comes from wheels
        return int(metadata.version("ros-rclpy").partition(".")[0]) < _RCLPY_WITH_FAST_DDS_3
    except metadata.PackageNotFoundError:
        return False
