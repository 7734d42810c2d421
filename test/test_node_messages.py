"""Arrays to messages and back, calibration of the label, timing."""

import math

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from erf_seg_core.errors import ErfSegError
from erf_seg_ros.camera_info import scaled_camera_info
from erf_seg_ros.conditions import Level, Verdict
from erf_seg_ros.diagnostics import diagnostic_name, to_status
from erf_seg_ros.messages import bgr8_message, image_to_bgr, mono8_message
from erf_seg_ros.timing import STAGES, FrameTiming, StageClock


@pytest.fixture
def header():
    result = Header(frame_id="camera_optical_frame")
    result.stamp.sec, result.stamp.nanosec = 1_700_000_000, 123_456_789
    return result


@pytest.fixture
def picture():
    return np.random.default_rng(5).integers(0, 256, (24, 36, 3), np.uint8)


def test_bgr8_message_holds_the_pixels_and_the_header(header, picture):
    message = bgr8_message(header, picture)
    assert (message.height, message.width, message.step) == (24, 36, 108)
    assert message.header == header
    assert np.array_equal(image_to_bgr(message), picture)


def test_mono8_message_has_no_padding_whatever_the_array_looks_like(header, picture):
    strided = picture[:, ::2, 1]
    message = mono8_message(header, strided)
    assert (message.encoding, message.step, len(message.data)) == ("mono8", 18, 24 * 18)
    assert bytes(message.data) == strided.tobytes()


def test_padded_rows_are_read_without_their_padding(header, picture):
    padded = np.pad(picture.reshape(24, 108), ((0, 0), (0, 20)), constant_values=99)
    message = bgr8_message(header, picture)
    message.step, message.data = 128, padded.tobytes()
    assert np.array_equal(image_to_bgr(message), picture)


def test_rgb8_is_read_as_bgr(header, picture):
    message = bgr8_message(header, picture)
    message.encoding = "rgb8"
    assert np.array_equal(image_to_bgr(message), picture[..., ::-1])


def test_compressed_image_is_decoded(header, picture):
    packed = cv2.imencode(".png", picture)[1].tobytes()
    message = CompressedImage(header=header, format="bgr8; png compressed bgr8", data=packed)
    assert np.array_equal(image_to_bgr(message), picture)
    message.data = cv2.imencode(".jpg", picture)[1].tobytes()[:-20]
    with pytest.raises(ErfSegError, match="truncated"):
        image_to_bgr(message)


@pytest.mark.parametrize(
    "damage",
    [
        {"height": 25},
        {"step": 100},
        {"encoding": "no_such"},
        {"height": 0, "width": 0, "step": 0, "data": b""},
        {"data": b""},
        {"encoding": "32FC1"},
    ],
)
def test_malformed_image_is_refused_with_a_sentence(header, picture, damage):
    message = bgr8_message(header, picture)
    for name, value in damage.items():
        setattr(message, name, value)
    with pytest.raises(ErfSegError) as caught:
        image_to_bgr(message)
    assert str(caught.value)


def test_empty_message_is_refused():
    for message in (Image(), CompressedImage()):
        with pytest.raises(ErfSegError):
            image_to_bgr(message)


def camera_info(**changes):
    info = CameraInfo(
        height=480,
        width=640,
        distortion_model="plumb_bob",
        d=[0.1, -0.2, 0.001, 0.002, 0.0],
        k=[500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[500.0, 0.0, 320.0, -60.0, 0.0, 510.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def project(info, point):
    """Pixel of a 3-D point by K and by P (whose fourth column is a stereo baseline)."""
    by_k = np.reshape(info.k, (3, 3)) @ point
    by_p = np.reshape(info.p, (3, 4)) @ [*point, 1.0]
    return by_k[:2] / by_k[2], by_p[:2] / by_p[2]


POINT = np.array([0.3, -0.4, 2.5])


def test_camera_info_scales_with_the_label(header):
    info = camera_info()
    scaled = scaled_camera_info(info, header, (240, 160))
    assert (scaled.height, scaled.width, scaled.header) == (240, 160, header)
    for before, after in zip(project(info, POINT), project(scaled, POINT), strict=True):
        assert np.allclose(after, before * [160 / 640, 240 / 480])
    assert scaled.p[3] == pytest.approx(-60.0 / 4)
    assert list(scaled.d) == list(info.d)
    assert scaled.distortion_model == "plumb_bob"


def test_camera_info_of_the_image_size_is_unchanged(header):
    info = camera_info()
    same = scaled_camera_info(info, header, (480, 640))
    assert np.array_equal(same.k, info.k)
    assert np.array_equal(same.p, info.p)


def test_camera_info_honours_region_of_interest_and_binning(header):
    """The image is the region binned 2×2, 160×100; the label is that, halved again."""
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=200, do_rectify=True)
    info = camera_info(binning_x=2, binning_y=2, roi=roi)
    scaled = scaled_camera_info(info, header, (50, 80))
    for before, after in zip(project(info, POINT), project(scaled, POINT), strict=True):
        assert np.allclose(after, (before - [100, 40]) / 4)
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)
    assert (scaled.roi.x_offset, scaled.roi.width, scaled.roi.do_rectify) == (0, 0, True)
    assert info.binning_x == 2


def test_uncalibrated_camera_info_stays_uncalibrated(header):
    scaled = scaled_camera_info(CameraInfo(), header, (50, 80))
    assert (scaled.height, scaled.width) == (50, 80)
    assert not np.any(scaled.k)
    assert not np.any(scaled.p)


def test_timing_survives_its_message(header):
    timing = FrameTiming(
        stages_ms={stage: 1.5 * number for number, stage in enumerate(STAGES)},
        waiting_ms=0.25,
        age_on_arrival_ms=3.0,
        end_to_end_ms=33.125,
        received=12,
        labelled=9,
        dropped=2,
        malformed=1,
        failed=0,
        too_old=3,
        model="dg4",
        engine="torch",
    )
    message = timing.to_message(header, "segmentation: timing", "/camera/image")
    assert message.header == header
    assert message.status[0].message == "33.1 ms from stamp to label"
    assert FrameTiming.from_message(message) == timing


def test_timing_without_a_stamp_has_no_age(header):
    timing = FrameTiming(
        dict.fromkeys(STAGES, 1.0), 0.0, math.nan, math.nan, 1, 1, 0, 0, 0, 0, "dg4", "torch"
    )
    again = FrameTiming.from_message(timing.to_message(header, "x", "y"))
    assert math.isnan(again.age_on_arrival_ms)
    assert again.stages_ms == timing.stages_ms


def test_stage_clock_measures_consecutive_stages():
    clock = StageClock()
    clock.lap("first")
    clock.lap("second")
    assert list(clock.stages_ms) == ["first", "second"]
    assert all(0.0 <= ms < 1000.0 for ms in clock.stages_ms.values())


def test_status_follows_diagnostic_updater():
    assert diagnostic_name("/", "segmentation", "node") == "segmentation: node"
    assert diagnostic_name("/car", "segmentation", "node") == "car/segmentation: node"
    status = to_status(Verdict(Level.WARN, "slow", {"rate": "1"}), "segmentation: node", "cpu")
    assert status.level == DiagnosticStatus.WARN
    assert (status.name, status.hardware_id, status.message) == (
        "segmentation: node",
        "cpu",
        "slow",
    )
    assert [(v.key, v.value) for v in status.values] == [("rate", "1")]
