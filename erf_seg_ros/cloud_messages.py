"""`CameraInfo` and `PointCloud2` as the geometry wants them, and back."""

from __future__ import annotations

import math
from array import array

import numpy as np
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from erf_seg_core.errors import ErfSegError
from erf_seg_core.semantic_cloud import POINT, Projection, organised_points

from .camera_info import scaled_camera_info

_DATATYPES = {"<f4": PointField.FLOAT32, "<u4": PointField.UINT32}


def _field(name: str) -> PointField:
    kind, offset = POINT.fields[name][:2]
    # a convention as old as PCL: the colour's bits are declared as a float
    datatype = PointField.FLOAT32 if name == "rgb" else _DATATYPES[kind.str]
    return PointField(name=name, offset=offset, datatype=datatype, count=1)


FIELDS = [_field(name) for name in POINT.names]


def cloud_message(header: Header, size: tuple[int, int], data: array[int]) -> PointCloud2:
    """Organised cloud of `size` (height, width); `data` holds its `POINT`s."""
    height, width = size
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=FIELDS,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * width,
        data=data,
        is_dense=False,
    )


def located_points(message: PointCloud2) -> np.ndarray:
    """H×W view with the floats x, y, z; `ErfSegError` says what is wrong with a bad cloud."""
    return organised_points(
        message.data,
        message.height,
        message.width,
        message.point_step,
        message.row_step,
        {field.name: (field.offset, field.datatype) for field in message.fields},
        message.is_bigendian,
    )


def projection_of(info: CameraInfo, size: tuple[int, int]) -> Projection:
    """Projection of a depth image of `size` (height, width) that shows what `info`'s image shows.

    P is used where it is filled in, else K, as image_geometry's PinholeCameraModel does for
    rectified images. Raises `ErfSegError` for an uncalibrated camera and for another picture's
    calibration.
    """
    height, width = size
    seen = (info.roi.height or info.height, info.roi.width or info.width)
    if all(seen) and not math.isclose(width / seen[1], height / seen[0], rel_tol=0.01):
        raise ErfSegError(
            f"camera_info is of {seen[1]}×{seen[0]} pixels, the depth image has {width}×{height}: "
            "remap camera_info to the depth image's own"
        )
    scaled = scaled_camera_info(info, Header(), size)
    p, k = scaled.p, scaled.k
    numbers = (p[0], p[5], p[2], p[6]) if p[0] else (k[0], k[4], k[2], k[5])
    if not (all(map(math.isfinite, numbers)) and numbers[0] > 0 and numbers[1] > 0):
        raise ErfSegError(
            f"camera_info has focal lengths of {numbers[0]:g}, {numbers[1]:g}: calibrate the camera"
        )
    return Projection(*map(float, numbers))
