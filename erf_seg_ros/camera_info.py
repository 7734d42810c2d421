"""The camera's calibration, scaled to the label's size.

Source: sensor_msgs/CameraInfo.msg and image_geometry's PinholeCameraModel, whose scaling (without
half-pixel shifts) is kept so that consumers get what they would compute themselves.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header


def scaled_camera_info(info: CameraInfo, header: Header, size: tuple[int, int]) -> CameraInfo:
    """Calibration for a picture of `size` (height, width) that shows what `info`'s image shows.

    K and P are moved by the region of interest and scaled from it, or from the whole sensor where
    it is empty, to `size`; binning is part of that scale, so the result has none. Distortion is
    in normalised coordinates and stays. An uncalibrated camera (K all zero) stays uncalibrated.
    """
    height, width = size
    region_width = info.roi.width or info.width or width
    region_height = info.roi.height or info.height or height
    scale_x, scale_y = width / region_width, height / region_height
    to_label = np.array(
        [
            [scale_x, 0.0, -scale_x * info.roi.x_offset],
            [0.0, scale_y, -scale_y * info.roi.y_offset],
            [0.0, 0.0, 1.0],
        ]
    )
    scaled = deepcopy(info)
    scaled.header = header
    scaled.height, scaled.width = height, width
    scaled.k = _transformed(to_label, info.k, columns=3)
    scaled.p = _transformed(to_label, info.p, columns=4)
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi = RegionOfInterest(do_rectify=info.roi.do_rectify)
    return scaled


def _transformed(to_label: np.ndarray, matrix: np.ndarray, columns: int) -> np.ndarray:
    return (to_label @ np.reshape(matrix, (3, columns))).ravel()
