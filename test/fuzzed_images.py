"""Images as broken drivers send them: fields that contradict each other, bytes that are noise."""

import cv2
from builtin_interfaces.msg import Time
from node_under_test import bgr8, image_message, make_picture
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

KNOWN = (
    "bgr8 rgb8 bgra8 rgba8 mono8 mono16 8UC1 8UC2 8UC3 16UC1 16UC3 32FC1 64FC2 bayer_rggb8 "
    "bayer_grbg16 yuv422 yuv422_yuy2 uyvy nv12 nv21 BGR8 h264"
)
ENCODINGS = [*KNOWN.split(), "", "x" * 500, "ü图像", "../../etc/passwd", "%s%n{0}", "bgr8\x00"]

SIZES = (0, 1, 2, 3, 7, 60, 80, 640, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
COMPRESSED = ("jpeg", "png", "bgr8; jpeg compressed bgr8", "16UC1; compressedDepth png", "", "h264")

PICTURE = make_picture()
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()


def fuzzed_image(rng):
    """`Image` that is broken in one to four of its fields, or in none that matters."""
    message = bgr8(PICTURE)
    for _ in range(rng.integers(1, 5)):
        _break(rng, message)
    return message


def _break(rng, message):
    field = rng.choice(["height", "width", "step", "encoding", "data", "header", "order", "shape"])
    if field in ("height", "width", "step"):
        setattr(message, field, int(rng.choice(SIZES)))
    elif field == "encoding":
        message.encoding = str(rng.choice(ENCODINGS))
    elif field == "data":
        message.data = rng.bytes(int(rng.choice([0, 1, 100, 4800, 14_399, 14_400, 14_401])))
    elif field == "header":
        message.header = _header(rng)
    elif field == "order":
        message.is_bigendian = int(rng.integers(256))
    else:  # consistent, but of an absurd shape
        height, width = (int(side) for side in rng.choice([1, 2, 3, 5, 9, 3000], 2))
        if height * width < 100_000:
            strip = image_message(rng.bytes(height * width * 3), height, width, width * 3, "bgr8")
            for name in ("height", "width", "step", "encoding", "data"):
                setattr(message, name, getattr(strip, name))


def _header(rng):
    seconds = int(rng.choice([-(2**31), -1, 0, 1, 2**31 - 1]))
    nanoseconds = int(rng.choice([0, 1, 999_999_999, 10**9, 2**32 - 1]))
    name = str(rng.choice(["", "camera", "/" * 300, "ü图", "a b\n\t"]))
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=name)


def fuzzed_compressed(rng):
    """`CompressedImage` of a JPEG or PNG with flipped, missing or foreign bytes."""
    packed = bytearray(JPEG if rng.random() < 0.7 else PNG)
    way = rng.integers(4)
    if way == 0:
        packed = packed[: rng.integers(len(packed))]
    elif way == 1:  # the head has sizes and tables, the rest is entropy
        for place in rng.integers(0, 700, rng.integers(1, 10)):
            packed[place] = rng.integers(256)
    elif way == 2:
        for place in rng.integers(0, len(packed), rng.integers(1, 50)):
            packed[place] = rng.integers(256)
    else:
        packed = bytearray(rng.bytes(int(rng.integers(0, 2000))))
    return CompressedImage(
        header=_header(rng), format=str(rng.choice(COMPRESSED)), data=bytes(packed)
    )
