"""A tiny recorded drive for the tests of replay."""

from node_under_test import make_picture

from erf_seg_core.bags import BagWriter
from erf_seg_core.synthetic import CameraIntrinsics

CAMERA = "/camera/image_raw"
INFO = "/camera/camera_info"
TRUTH = "/ground_truth/label"
FIRST_NS = 1_600_000_000_111_222_333
PERIOD_NS = 50_000_000
HEIGHT, WIDTH = 60, 80


def make_bag(path, frames, truth=None, **writer_options):
    """Frames at 20 Hz with camera_info; `truth(picture)` gives the label image, if any."""
    camera = CameraIntrinsics(WIDTH, HEIGHT, 70.0, 70.0, WIDTH / 2, HEIGHT / 2)
    with BagWriter(path, **writer_options) as bag:
        for index in range(frames):
            stamp_ns = FIRST_NS + index * PERIOD_NS
            picture = make_picture(index, HEIGHT, WIDTH)
            bag.write_image(CAMERA, stamp_ns, "camera_optical_frame", picture, "bgr8")
            bag.write_camera_info(INFO, stamp_ns, "camera_optical_frame", camera)
            if truth is not None:
                labels = truth(picture)
                bag.write_image(TRUTH, stamp_ns, "camera_optical_frame", labels, "mono8")
    return path
