"""Small drives and a small network for the tests of `erf_seg bag evaluate`."""

import cv2
import numpy as np
from inference_helpers import images, info_for, random_network

from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.messages import IMAGE, typestore
from erf_seg_core.checkpoint import save_checkpoint

CAMERA, TRUTH = "/camera/image_raw", "/ground_truth/label"
PACKED = f"{CAMERA}/compressed"
FRAME_ID = "camera_optical_frame"
FIRST_NS = 1_600_000_000_111_222_333
PERIOD_NS = 50_000_000
SIZE = (48, 64)


def save_network(path, seed=0, class_set="camvid11", classes=11):
    """Checkpoint of random weights whose labels depend on the image."""
    net = random_network("dg4_star_light", classes, seed)
    return save_checkpoint(path, net, info_for(net, class_set, input_size=SIZE))


def stamp_of(index):
    return FIRST_NS + index * PERIOD_NS


def truth_of(picture):
    """Ids 0 to 9, and some void, in blobs as the picture's."""
    ids = (picture[..., 0] // 25).astype(np.uint8)
    ids[:3] = 255
    return ids


def write_drive(path, frames=12, truth=truth_of, storage="sqlite3", png=False, seed=1):
    """A bag of `frames` pictures at 20 Hz, with truth unless that is None."""
    with BagWriter(path, storage) as bag:
        for index, picture in enumerate(images(frames, SIZE, seed)):
            place = (stamp_of(index), FRAME_ID)
            if png:
                packed = cv2.imencode(".png", picture)[1].tobytes()
                bag.write_compressed_image(PACKED, *place, packed, "bgr8; png compressed bgr8")
            else:
                bag.write_image(CAMERA, *place, picture, "bgr8")
            if truth is not None:
                bag.write_image(TRUTH, *place, truth(picture), "mono8")
    return path


def labelled_frames(bag):
    """(picture, truth) of a bag's frames."""
    with BagReader(bag) as reader:
        topic = next(t.name for t in reader.image_topics() if t.name != TRUTH)
        pictures = [picture.copy() for _, _, picture in reader.images(topic)]
        truths = [labels.copy() for _, _, labels in reader.images(TRUTH)]
    return list(zip(pictures, truths, strict=True))


def broken_image(stamp_ns):
    """Raw message of an image that announces more pixels than it has."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
    header = types["std_msgs/msg/Header"](stamp, FRAME_ID)
    image = types[IMAGE](header, *SIZE, "bgr8", 0, 3 * SIZE[1], np.zeros(10, np.uint8))
    return bytes(typestore().serialize_cdr(image, IMAGE))
