"""The launch files under the real launch tools, where they are installed (they are not on PyPI)."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
# not "launch": without ROS 2's package, our folder of that name would be imported instead
pytest.importorskip("launch_ros", reason="launch_ros is not installed; a ROS 2 installation has it")

import numpy as np
import psutil
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from node_under_test import (
    PATIENCE_S,
    Client,
    bgr8,
    image_message,
    make_checkpoint,
    make_picture,
)
from replay_bags import make_bag
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from erf_seg_ros import dds_profile
from erf_seg_ros.parameters import SPECS

ROS2 = shutil.which("ros2")
PICTURE = make_picture()


def installed():
    try:
        return bool(get_package_prefix("erf_seg_ros"))
    except (PackageNotFoundError, LookupError):
        return False


pytestmark = [
    pytest.mark.skipif(ROS2 is None, reason="the command ros2 is not installed"),
    pytest.mark.skipif(not installed(), reason="erf_seg_ros is not built and sourced"),
]

LAUNCH = [ROS2, "launch", "erf_seg_ros"]

IN_A_FLEET = """
from pathlib import Path
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

FILE = Path(get_package_share_directory("erf_seg_ros")) / "launch" / "seg.launch.py"

def generate_launch_description():
    included = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FILE)))
    return LaunchDescription([PushRosNamespace("fleet"), included])
"""


@pytest.fixture
def launched(tmp_path, ros_domain_id):
    """Start a launch file with arguments; ends what is left of it after the test."""
    processes = []

    def start(file="seg.launch.py", **arguments):
        launch = LAUNCH if isinstance(file, str) else LAUNCH[:-1]  # ours, or a file of the test's
        command = [*launch, str(file)] + [f"{name}:={value}" for name, value in arguments.items()]
        with (tmp_path / "launch.log").open("w") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        return processes[-1]

    yield start
    for process in processes:
        family = [process.pid, *(child.pid for child in children(process))]
        for pid in family:
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()
        process.wait(PATIENCE_S)


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def client(ros_domain_id):
    result = Client("car/segmentation")
    yield result
    result.close()


def shown_arguments(file):
    command = [*LAUNCH, file, "--show-args"]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout


def test_arguments_are_documented():
    output = shown_arguments("seg.launch.py")
    for spec in SPECS:
        assert f"'{spec.name}':\n        {spec.description}" in output
    for name in ("image", "cloud", "depth", "namespace", "params_file", "log_level", "respawn"):
        assert f"'{name}':\n        " in output
    output = shown_arguments("replay.launch.py")
    for name in ("bag", "model", "rate", "output", "truth_topic"):
        assert f"'{name}':\n        " in output


def test_launched_node_labels_the_camera_and_ends_on_ctrl_c(launched, client, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    given = {"model": str(checkpoint), "overlay_alpha": 0.25, "stale_after": 2.0, "device": "cpu"}
    parameters = tmp_path / "mine.yaml"
    parameters.write_text(yaml.safe_dump({"/car/segmentation": {"ros__parameters": given}}))
    process = launched(
        params_file=parameters,
        namespace="car",
        image="/camera/image_raw",
        stale_after="3",
        engine="torch",
        threads="1",
        label_size="[30, 40]",
    )
    client.wait_for_state("active")
    # the launch arguments win over the file, the file over the defaults
    assert client.get_parameter("stale_after") == 3.0
    assert client.get_parameter("overlay_alpha") == 0.25
    assert list(client.get_parameter("label_size")) == [30, 40]
    client.listen(Image, "label")
    client.listen(CameraInfo, "camera_info")
    images = client.node.create_publisher(Image, "/camera/image_raw", 10)
    infos = client.node.create_publisher(CameraInfo, "/camera/camera_info", 10)

    def answered():
        infos.publish(CameraInfo(height=60, width=80))
        images.publish(bgr8(PICTURE))
        client.spin_for(0.1)
        return client.received["label"] and client.received["camera_info"]

    client.wait_until(answered, "a label and its camera_info")
    assert (client.received["label"][0].height, client.received["label"][0].width) == (30, 40)
    node = next(child for child in children(process) if "segmentation_node" in str(child.cmdline()))
    profile = Path(node.environ()[dds_profile.variable()])
    # the same file, though perhaps the installed copy of the one that this test imports
    assert profile.read_bytes() == dds_profile.path().read_bytes()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    log = (tmp_path / "launch.log").read_text()
    assert "process has finished cleanly" in log
    assert "Traceback" not in log


def test_log_level_holds_in_a_pushed_namespace(launched, tmp_path):
    included = tmp_path / "fleet.launch.py"
    included.write_text(IN_A_FLEET)
    parameters = tmp_path / "mine.yaml"
    parameters.write_text("/**: {ros__parameters: {modle: none}}")  # a warning, of before the error
    arguments = {"params_file": parameters, "model": tmp_path / "none.safetensors"}
    launched(included, log_level="error", namespace="car", **arguments)
    log = tmp_path / "launch.log"
    wait_for(lambda: "[fleet.car.segmentation]: cannot configure" in log.read_text(), "the error")
    assert "modle" not in log.read_text()


def test_lifecycle_is_left_to_others_with_autostart_false(launched, client, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    launched(model=checkpoint, engine="torch", threads="1", namespace="/car", autostart="false")
    assert client.state() == "unconfigured"
    for verb, state in (("configure", "inactive"), ("activate", "active")):
        subprocess.run(
            [
                ROS2,
                "lifecycle",
                "set",
                "--no-daemon",
                "--spin-time",
                "5",
                "/car/segmentation",
                verb,
            ],
            check=True,
            timeout=PATIENCE_S,
        )
        assert client.state() == state


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"threads": "many"}, "threads:=many is not of type int"),
        ({"cloud": "true"}, "cloud:=true needs depth:=/topic"),
        ({"cameras": "front,left", "image": "/image"}, "image:=/image would serve every camera"),
    ],
)
def test_wrong_argument_is_named(launched, tmp_path, arguments, reason):
    assert launched(**arguments).wait(PATIENCE_S) != 0
    assert reason in (tmp_path / "launch.log").read_text()


@pytest.mark.parametrize("named_in", ["argument", "params_file"])
def test_two_cameras_each_with_its_cloud(launched, client, tmp_path, named_in):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    named = {"cameras": "front,left"}
    if named_in == "params_file":
        named = {"params_file": tmp_path / "mine.yaml"}
        content = {"/**": {"ros__parameters": {"cameras": ["front", "left"]}}}
        named["params_file"].write_text(yaml.safe_dump(content))
    launched(
        **named,
        model=checkpoint,
        engine="torch",
        threads="1",
        namespace="car",
        image="/{camera}/image_raw",
        left_image="/odd/picture",
        cloud="true",
        depth="/{camera}/depth",
    )
    client.wait_for_state("active")
    depth_of = np.full(PICTURE.shape[:2], 2.0, np.float32)
    received = {}
    cameras = {"front": "/front/image_raw", "left": "/odd/picture"}
    outlets = {}
    for camera, topic in cameras.items():
        received[camera] = []
        client.node.create_subscription(
            PointCloud2, f"/car/{camera}_semantic_cloud/points", received[camera].append, 10
        )
        for kind, name in ((Image, topic), (Image, f"/{camera}/depth")):
            outlets[name] = client.node.create_publisher(kind, name, 10)
        outlets[f"/{camera}/camera_info"] = client.node.create_publisher(
            CameraInfo, f"/{camera}/camera_info", 10
        )
    info = CameraInfo(height=60, width=80)
    info.k = [50.0, 0.0, 40.0, 0.0, 50.0, 30.0, 0.0, 0.0, 1.0]

    def both_arrived():
        for camera, topic in cameras.items():
            image = client.stamp(bgr8(PICTURE))
            depth = image_message(depth_of.tobytes(), 60, 80, 320, "32FC1")
            depth.header = image.header
            outlets[f"/{camera}/camera_info"].publish(info)
            outlets[f"/{camera}/depth"].publish(depth)
            outlets[topic].publish(image)
        client.spin_for(0.2)
        return all(received.values())

    client.wait_until(both_arrived, "the clouds of both cameras")
    for clouds in received.values():
        assert (clouds[0].height, clouds[0].width) == (60, 80)


def test_replay_ends_by_itself_with_its_report(launched, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    bag = make_bag(tmp_path / "drive", 12, truth=lambda picture: picture[..., 0] // 26)
    output = tmp_path / "out"
    process = launched(
        "replay.launch.py", bag=bag, model=checkpoint, output=output, engine="torch", video="false"
    )
    assert process.wait(2 * PATIENCE_S) == 0, (tmp_path / "launch.log").read_text()
    summary = json.loads((output / "summary.json").read_text())
    assert summary["frames"]["recorded"] == 12
    assert (output / "report.html").is_file()


def test_replay_that_cannot_be_fails_with_the_reason(launched, tmp_path):
    assert launched("replay.launch.py", bag=tmp_path / "nothing").wait(PATIENCE_S) != 0
    assert f"there is no bag {tmp_path / 'nothing'}" in (tmp_path / "launch.log").read_text()


def test_interrupted_replay_reports_what_it_has(launched, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    bag = make_bag(tmp_path / "drive", 600)  # 30 seconds
    output = tmp_path / "out"
    process = launched("replay.launch.py", bag=bag, model=checkpoint, output=output, video="false")
    played = output / "logs" / "played_frames.csv"

    def frames():
        return len(played.read_text().splitlines()) if played.is_file() else 0

    wait_for(lambda: frames() > 10, "the first frames")
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE_S)
    assert (output / "report.html").is_file()
    assert frames() < 600
    assert not children(process)
