"""seg.launch.py under the real launch tools, where they are installed (they are not on PyPI)."""

import shutil
import signal
import subprocess

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
# not "launch": without ROS 2's package, our folder of that name would be imported instead
pytest.importorskip("launch_ros", reason="launch_ros is not installed; a ROS 2 installation has it")

import psutil
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from node_under_test import PATIENCE_S, Client, bgr8, make_checkpoint, make_picture
from sensor_msgs.msg import CameraInfo, Image

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

LAUNCH = [ROS2, "launch", "erf_seg_ros", "seg.launch.py"]


@pytest.fixture
def launched(tmp_path, ros_domain_id):
    """Start the launch file with arguments; ends what is left of it after the test."""
    processes = []

    def start(**arguments):
        command = LAUNCH + [f"{name}:={value}" for name, value in arguments.items()]
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


@pytest.fixture
def client(ros_domain_id):
    result = Client("car/segmentation")
    yield result
    result.close()


def test_arguments_are_documented():
    output = subprocess.run(
        [*LAUNCH, "--show-args"], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout
    for spec in SPECS:
        assert f"'{spec.name}':\n        {spec.description}" in output
    for name in ("image", "camera_info", "namespace", "params_file", "log_level", "respawn"):
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
    for name, value in dds_profile.environment().items():
        assert node.environ()[name] == value
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    log = (tmp_path / "launch.log").read_text()
    assert "process has finished cleanly" in log
    assert "Traceback" not in log


def test_lifecycle_is_left_to_others_with_autostart_false(launched, client, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    launched(model=checkpoint, engine="torch", threads="1", namespace="/car", autostart="false")
    assert client.state() == "unconfigured"
    for verb, state in (("configure", "inactive"), ("activate", "active")):
        subprocess.run(
            [ROS2, "lifecycle", "set", "/car/segmentation", verb], check=True, timeout=PATIENCE_S
        )
        assert client.state() == state


def test_wrong_argument_is_named(launched, tmp_path):
    assert launched(threads="many").wait(PATIENCE_S) != 0
    assert "threads:=many is not of type int" in (tmp_path / "launch.log").read_text()
