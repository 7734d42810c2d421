"""A tiny recorded drive for the tests of replay."""

import numpy as np
from node_under_test import make_picture
from rosbags.typesys import Stores, get_typestore

from erf_seg_core.bags import BagWriter
from erf_seg_core.synthetic import CameraIntrinsics

CAMERA = "/camera/image_raw"
INFO = "/camera/camera_info"
TRUTH = "/ground_truth/label"
FRAME_ID = "camera_optical_frame"
FIRST_NS = 1_600_000_000_111_222_333
PERIOD_NS = 50_000_000
HEIGHT, WIDTH = 60, 80


def make_bag(path, frames, truth=None, bad_frame=None):
    """Frames at 20 Hz with camera_info; `truth(picture)` gives the label image, if any.

    The frame number `bad_frame` announces more pixels than it has.
    """
    camera = CameraIntrinsics(WIDTH, HEIGHT, 70.0, 70.0, WIDTH / 2, HEIGHT / 2)
    with BagWriter(path) as bag:
        for index in range(frames):
            stamp_ns = FIRST_NS + index * PERIOD_NS
            picture = make_picture(index, HEIGHT, WIDTH)
            if index == bad_frame:
                bag.write_cdr(CAMERA, "sensor_msgs/msg/Image", stamp_ns, _malformed(stamp_ns))
            else:
                bag.write_image(CAMERA, stamp_ns, FRAME_ID, picture, "bgr8")
            bag.write_camera_info(INFO, stamp_ns, FRAME_ID, camera)
            if truth is not None:
                bag.write_image(TRUTH, stamp_ns, FRAME_ID, truth(picture), "mono8")
    return path


def _malformed(stamp_ns):
    store = get_typestore(Stores.LATEST)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
    header = types["std_msgs/msg/Header"](stamp, FRAME_ID)
    data = np.zeros(10, np.uint8)
    image = types["sensor_msgs/msg/Image"](header, HEIGHT, WIDTH, "bgr8", 0, 3 * WIDTH, data)
    return bytes(store.serialize_cdr(image, image.__msgtype__))
