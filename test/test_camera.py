"""One camera's side of the segmentation node, in this process."""

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from erf_seg_ros.camera import Camera
from erf_seg_ros.parameters import SPECS, Settings

VALUES = {spec.name: spec.default for spec in SPECS}
SIZE = (48, 64)
PATIENCE_S = 30.0


@pytest.fixture
def segmentation(context):
    arguments = ["--ros-args", "-r", "image:=/camera/image/compressed"]
    return rclpy.create_node("segmentation", context=context, cli_args=arguments)


@pytest.fixture
def spin(context, segmentation):
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(segmentation)

    def until(condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.05)

    yield until
    executor.shutdown()


def open_camera(camera, transport="compressed"):
    settings = Settings.from_values({**VALUES, "transport": transport})
    camera.open(settings, on_frame=lambda *_: None)


def test_calibration_that_is_sent_once_outlives_a_deactivation(segmentation, spin):
    """Until the topic is another one: its calibration belongs to other images."""
    camera, published = Camera(segmentation, ""), []
    segmentation.create_subscription(CameraInfo, "segmentation/camera_info", published.append, 10)
    driver = segmentation.create_publisher(CameraInfo, "/camera/camera_info", 1)

    def models(moment):
        """Names of the calibrations that went out with the labels of a moment."""
        camera.publish_camera_info(Header(frame_id=moment), SIZE)
        return {info.distortion_model for info in published if info.header.frame_id == moment}

    open_camera(camera)
    spin(lambda: driver.get_subscription_count() == 1)
    driver.publish(CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="once"))
    spin(lambda: models("first"))
    camera.close()
    open_camera(camera)
    spin(lambda: models("again"))
    assert models("again") == {"once"}
    camera.close()
    other = segmentation.create_publisher(CameraInfo, "/camera/image/camera_info", 1)
    open_camera(camera, transport="raw")

    def moved():
        other.publish(CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="other"))
        return models("moved")

    spin(moved)
    assert models("moved") == {"other"}
    camera.destroy()
