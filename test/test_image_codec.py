"""Every encoding against a picture whose colours are known, and every way to be malformed."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from erf_seg_core.errors import ErfSegError
from erf_seg_core.image_codec import ENCODINGS, decode_compressed, decode_image, to_bgr
from erf_seg_core.picture_heads import PNG, claimed_pixels

HEIGHT, WIDTH = 6, 8
FLAT_BGR = (40, 90, 200)  # all three differ, so a swapped channel shows


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def flat_picture(height=HEIGHT, width=WIDTH):
    return np.full((height, width, 3), FLAT_BGR, np.uint8)


def fields(rows, encoding, padding=0, width=WIDTH, height=HEIGHT):
    """Message fields of an image whose memory rows are `rows`, each followed by `padding` bytes."""
    as_bytes = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(as_bytes, ((0, 0), (0, padding)), constant_values=77)
    return padded.tobytes(), height, width, padded.shape[1], encoding


def interleaved_yuv(order):
    """Rows of 4:2:2 YUV of the flat picture, samples in the order given (e.g. 'UYVY')."""
    # Cameras use studio range BT.601, unlike OpenCV's BGR2YUV
    b, g, r = FLAT_BGR
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    values = {"Y": round(y), "U": round(u), "V": round(v)}
    pair = [values[sample] for sample in order]
    return np.tile(np.array(pair, np.uint8), (HEIGHT, WIDTH // 2)), values


def mosaic(pattern, picture):
    """What a sensor with this colour filter sees: `pattern` is row 0's letters, then row 1's."""
    channel = {"b": 0, "g": 1, "r": 2}
    raw = np.empty(picture.shape[:2], np.uint8)
    for index, letter in enumerate(pattern):
        y, x = divmod(index, 2)
        raw[y::2, x::2] = picture[y::2, x::2, channel[letter]]
    return raw


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("bgr8", None),
        ("8UC3", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("8UC4", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
    ],
)
def test_colour(picture, encoding, code, padding):
    rows = picture if code is None else cv2.cvtColor(picture, code)
    message = fields(rows, encoding, padding)
    assert np.array_equal(decode_image(*message), picture)
    assert np.array_equal(to_bgr(*message), picture)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_mono8(picture, encoding, padding):
    grey = picture[..., 0]
    message = fields(grey, encoding, padding)
    assert np.array_equal(decode_image(*message), grey)
    assert np.array_equal(to_bgr(*message), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "dtype"), [("mono16", "u2"), ("16UC1", "u2"), ("32FC1", "f4")]
)
def test_wide_samples_in_both_byte_orders(encoding, dtype, big, padding):
    values = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 1000.5).astype(dtype)
    stored = values.astype(np.dtype(dtype).newbyteorder(">" if big else "<"))
    decoded = decode_image(*fields(stored, encoding, padding), is_bigendian=big)
    assert decoded.dtype == np.dtype(dtype)
    assert decoded.dtype.isnative
    assert np.array_equal(decoded, values)


def test_mono16_becomes_its_upper_byte():
    values = np.full((HEIGHT, WIDTH), 0xAB12, ">u2")
    assert (to_bgr(*fields(values, "mono16"), is_bigendian=True) == 0xAB).all()


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_order_is_that_of_ros(pattern, padding):
    """A flat colour comes back exactly only if the pattern's phase is right."""
    raw = mosaic(pattern, flat_picture())
    decoded = decode_image(*fields(raw, f"bayer_{pattern}8", padding))
    assert np.array_equal(decoded, flat_picture())


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV"), ("yuyv", "YUYV")],
)
@pytest.mark.parametrize("padding", [0, 4])
def test_interleaved_yuv(encoding, order, padding):
    rows, _ = interleaved_yuv(order)
    decoded = decode_image(*fields(rows, encoding, padding))
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded.astype(int) - FLAT_BGR).max() <= 3


@pytest.mark.parametrize(("encoding", "order"), [("nv12", "UV"), ("nv21", "VU")])
@pytest.mark.parametrize("padding", [0, 4])
def test_planar_yuv(encoding, order, padding):
    _, values = interleaved_yuv("UYVY")
    luma = np.full((HEIGHT, WIDTH), values["Y"], np.uint8)
    chroma = np.tile(np.array([values[c] for c in order], np.uint8), (HEIGHT // 2, WIDTH // 2))
    decoded = decode_image(*fields(np.vstack([luma, chroma]), encoding, padding))
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded.astype(int) - FLAT_BGR).max() <= 3


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "32FC1"])
def test_no_copy_where_none_is_needed(encoding):
    buffer = bytearray(HEIGHT * WIDTH * 4)
    step = len(buffer) // HEIGHT
    decoded = decode_image(buffer, HEIGHT, WIDTH, step, encoding)
    assert np.shares_memory(decoded, np.frombuffer(buffer, np.uint8))


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_is_not_a_picture(encoding):
    samples = np.zeros((HEIGHT, WIDTH), "f4" if encoding == "32FC1" else "u2")
    with pytest.raises(ErfSegError, match="depth"):
        to_bgr(*fields(samples, encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("height", "width", "step", "length"),
    [
        (0, WIDTH, 64, 0),
        (HEIGHT, 0, 64, 64 * HEIGHT),
        (HEIGHT, WIDTH, 0, 0),
        (HEIGHT, WIDTH, WIDTH - 1, (WIDTH - 1) * HEIGHT),
        (HEIGHT, WIDTH, 64, 64 * HEIGHT - 1),
        (HEIGHT, WIDTH, 64, 64 * HEIGHT + 64 * HEIGHT),
        (HEIGHT, WIDTH, 64, 0),
        (2**32 - 1, 2**32 - 1, 2**32 - 1, 12),
        (2**32 - 2, 2**32 - 2, 2**32 - 1, 12),
    ],
)
def test_fields_that_contradict_each_other(encoding, height, width, step, length):
    with pytest.raises(ErfSegError, match=rf"{width}×{height} .*'{encoding}'"):
        decode_image(bytes(length), height, width, step, encoding)


@pytest.mark.parametrize("encoding", ["yuv422", "nv12"])
def test_shared_chroma_needs_an_even_size(encoding):
    with pytest.raises(ErfSegError, match="even"):
        decode_image(bytes(7 * 14), 7, 7, 14, encoding)


@pytest.mark.parametrize("encoding", ["", "bgr7", "bayer_rggb16"])
def test_unknown_encoding_lists_the_known(encoding):
    with pytest.raises(ErfSegError, match=f"'{encoding}' is not supported.*bgr8"):
        decode_image(bytes(64), 4, 4, 16, encoding)


def packed(extension, picture):
    ok, data = cv2.imencode(extension, picture)
    assert ok
    return data.tobytes()


def test_compressed_png_is_exact(picture):
    assert np.array_equal(decode_compressed(packed(".png", picture), "png"), picture)


def test_compressed_jpeg_and_its_zero_padding():
    data = packed(".jpg", flat_picture(64, 64))
    decoded = decode_compressed(data, "bgr8; jpeg compressed bgr8")
    assert np.abs(decoded.astype(int) - FLAT_BGR).max() <= 4
    assert np.array_equal(decode_compressed(data + bytes(500), "jpeg"), decoded)


def test_compressed_grey_becomes_bgr(picture):
    decoded = decode_compressed(packed(".png", picture[..., 0]), "png")
    assert np.array_equal(decoded, np.repeat(picture[..., :1], 3, 2))


def long_png_chunk():
    """PNG whose first IDAT chunk says it is 3.6 GB long; OpenCV alone believes that for 15 s."""
    data = bytearray(packed(".png", flat_picture(64, 64)))
    place = data.index(b"IDAT")
    data[place - 4] = 0xDB
    return bytes(data)


def huge_jpeg(side=30_000):
    """Small JPEG whose head says 30 000×30 000; OpenCV alone fills 2.7 GB with grey."""
    data = bytearray(packed(".jpg", flat_picture(64, 64)))
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def png_bomb(side=12_000):
    """PNG of one bit a pixel: some 17 kB that OpenCV alone makes 432 MB of."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + side // 8) * side), 9)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def padded_jpeg():
    """Huge JPEG with a fill byte before its size, as the standard allows."""
    data = huge_jpeg()
    place = data.index(b"\xff\xc0")
    return data[:place] + b"\xff" + data[place:]


HEAD_FORMATS = (".jpg", ".png", ".webp", ".tiff", ".bmp")


@pytest.mark.parametrize("extension", HEAD_FORMATS)
def test_heads_tell_the_size(extension):
    assert claimed_pixels(packed(extension, flat_picture(18, 34))) == 18 * 34


@pytest.mark.parametrize("extension", HEAD_FORMATS)
def test_cut_heads_tell_nothing(extension):
    data = packed(extension, flat_picture(18, 34))
    for length in range(200):
        assert claimed_pixels(data[:length]) in (None, 18 * 34)


def test_lossless_and_extended_webp_tell_the_size():
    ok, lossless = cv2.imencode(".webp", flat_picture(18, 34), [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert ok
    assert claimed_pixels(lossless.tobytes()) == 18 * 34
    head = b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<IIHBHB", 10, 0, 16_383, 0, 16_382, 0)
    assert claimed_pixels(head) == 16_384 * 16_383


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        (b"", "jpeg", "empty"),
        (b"not a picture at all", "jpeg", "not a picture"),
        (packed(".jpg", flat_picture(64, 64))[:-40], "jpeg", "truncated"),
        (packed(".png", flat_picture(64, 64))[:20], "png", "truncated"),
        (long_png_chunk(), "png", "truncated"),
        (huge_jpeg(), "jpeg", "claims 900000000 pixels"),
        (padded_jpeg(), "jpeg", "claims 900000000 pixels"),
        (huge_jpeg(6000), "jpeg", "claims more pixels than it can hold"),
        (png_bomb(), "png", "claims 144000000 pixels"),
        (b"P1 20000 20000 " + bytes(100), "pbm", "not a picture"),
        (bytes(64), "16UC1; compressedDepth png", "depth"),
    ],
)
def test_broken_compressed_images(data, format, reason):
    with pytest.raises(ErfSegError, match=reason):
        decode_compressed(data, format)
