"""Camera messages of ROS 1 bags in ROS 2's serialisation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ..errors import ErfSegError
from .messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, typestore

_CONVERTED = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO)


def ros1_to_cdr(raw: bytes, msgtype: str) -> bytes:
    """Convert one serialised Image, CompressedImage or CameraInfo; others raise `ErfSegError`."""
    if msgtype not in _CONVERTED:
        raise ErfSegError(
            f"{msgtype} of a ROS 1 bag cannot be read here: convert the bag with rosbags-convert"
        )
    old = _ros1_store().deserialize_ros1(raw, msgtype)
    return bytes(typestore().serialize_cdr(_renewed(old, msgtype), msgtype))


@lru_cache(maxsize=1)
def _ros1_store() -> Typestore:
    return get_typestore(Stores.ROS1_NOETIC)


def _renewed(old: object, msgtype: str) -> object:
    """The same content as a ROS 2 message: no `seq`, field names in lower case."""
    store = typestore()
    values = {}
    for name, _ in store.fielddefs[msgtype][1]:
        value = getattr(old, name) if hasattr(old, name) else getattr(old, name.upper())
        kind = type(value).__name__
        if name == "header":
            value = _renewed(value, "std_msgs/msg/Header")
        elif name == "stamp":
            value = _renewed(value, "builtin_interfaces/msg/Time")
        elif name == "roi":
            value = _renewed(value, "sensor_msgs/msg/RegionOfInterest")
        elif kind == "ndarray":
            value = np.ascontiguousarray(value)
        values[name] = value
    return store.types[msgtype](**values)
