"""Message types that bags hold, as `rosbags` knows them, and how our writers offer them.

The type store is that of ROS 2 Humble, the oldest distribution we serve: a definition of Humble's
cannot name a field that Humble lacks, and the ones we write are unchanged (same hash) up to Kilted.
"""

from __future__ import annotations

from functools import lru_cache

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability
from rosbags.interfaces import QosTime as Duration
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
LABEL_INFO = "vision_msgs/msg/LabelInfo"

# vision_msgs is no part of a distribution's core, so `rosbags` does not bring it
_VISION_MSGS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    LABEL_INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}

_FOREVER = Duration(9223372036, 854775807)  # what rmw calls infinite, in recorded profiles


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The types of Humble, and vision_msgs' label info."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, definition in _VISION_MSGS.items():
        store.register(get_types_from_msg(definition, name))
    return store


OFFERED_QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
"""A profile that best-effort and reliable subscribers both match when the bag is played."""
