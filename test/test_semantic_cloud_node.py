"""semantic_cloud_node across processes: the synthetic street's depth and labels, as points."""

import signal

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from cloud_truth import expected_xyz
from node_under_test import (
    PATIENCE_S,
    Client,
    CloudNodeProcess,
    NodeProcess,
    bgr8,
    image_message,
    make_checkpoint,
)
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from erf_seg_core.class_sets import load_class_set
from erf_seg_core.semantic_cloud import POINT, pack_bgr
from erf_seg_core.synthetic import SyntheticDrive
from erf_seg_ros.cloud_messages import FIELDS, projection_of

SIZE = (96, 128)
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope="module")
def scenes():
    drive = SyntheticDrive(seed=5, size=SIZE)
    return [drive.frame(index) for index in range(3)]


def info_of(camera):
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(height=camera.height, width=camera.width, k=k, p=p)


def mono8(values):
    return image_message(values.tobytes(), *values.shape, values.shape[1], "mono8")


def organised_cloud(scene):
    """`PointCloud2` of where the scene's pixels are, with a field that only fills."""
    located = np.zeros(SIZE, np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("pad", "<f4")]))
    for axis, values in zip("xyz", np.moveaxis(expected_xyz(scene), -1, 0), strict=True):
        located[axis] = values
    cloud = PointCloud2(height=SIZE[0], width=SIZE[1], point_step=16, row_step=16 * SIZE[1])
    cloud.fields = [
        PointField(name=axis, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, axis in enumerate("xyz")
    ]
    cloud.data = located.tobytes()
    return cloud


def depth_message(values):
    encoding = {"float32": "32FC1", "uint16": "16UC1"}[values.dtype.name]
    height, width = values.shape
    return image_message(values.tobytes(), height, width, values.strides[0], encoding)


def confidence_of(scene):
    return (np.arange(scene.labels.size) % 251).astype(np.uint8).reshape(scene.labels.shape)


def points_of(cloud):
    """Points of a message by what its own fields say, as any reader would."""
    kinds = {PointField.FLOAT32: "<f4", PointField.UINT32: "<u4"}
    layout = {
        "names": [field.name for field in cloud.fields],
        "formats": [kinds[field.datatype] for field in cloud.fields],
        "offsets": [field.offset for field in cloud.fields],
        "itemsize": cloud.point_step,
    }
    assert len(cloud.data) == cloud.row_step * cloud.height
    return np.frombuffer(cloud.data, np.dtype(layout)).reshape(cloud.height, cloud.width)


def xyz(points):
    return np.stack([points["x"], points["y"], points["z"]], axis=-1)


class CloudClient(Client):
    """A camera with depth, and the node that labels it."""

    def __init__(self):
        super().__init__("semantic_cloud")
        self.outlets = {
            "label": self.node.create_publisher(Image, "/segmentation/label", 10),
            "confidence": self.node.create_publisher(Image, "/segmentation/confidence", 10),
            "depth": self.node.create_publisher(Image, "/camera/depth", CAMERA_QOS),
            "points": self.node.create_publisher(PointCloud2, "/camera/points", CAMERA_QOS),
            "image": self.node.create_publisher(Image, "/camera/image_raw", CAMERA_QOS),
            "camera_info": self.node.create_publisher(CameraInfo, "/camera/camera_info", 10),
        }
        self.listen(PointCloud2, "points")

    def send(self, *streams, **messages):
        """Publish messages of one moment; returns their header."""
        header = self.stamp(next(iter(messages.values()))).header
        for stream, message in messages.items():
            message.header = header
            if stream not in streams:
                self.outlets[stream].publish(message)
        return header

    def unlisten(self, topic):
        """Destroy the subscriptions of an output."""
        for known in list(self.node.subscriptions):
            if known.topic_name == f"/semantic_cloud/{topic}":
                self.node.destroy_subscription(known)

    def latest_counts(self):
        """Values of the newest status of the node."""
        return {v.key: v.value for v in self.diagnostics[-1].status[0].values}

    def cloud_of(self, **messages):
        """Publish until the cloud of a set arrives (the first ones may find nobody listening)."""
        headers = []

        def find():
            headers.append(self.send(**messages))
            self.spin_for(0.1)
            return [c for c in self.received["points"] if c.header in headers]

        return self.wait_until(find, "a cloud")[0]

    def wait_for_colors_of(self, node):
        def told(status, values):
            return values["colors_of"] == node

        self.wait_for_status("cloud", told, f"the colours of {node}")


@pytest.fixture
def client(ros_domain_id):
    result = CloudClient()
    yield result
    result.close()


def start(tmp_path, **parameters):
    remaps = [
        part
        for name, topic in (
            ("depth", "/camera/depth"),
            ("points", "/camera/points"),
            ("image", "/camera/image_raw"),
        )
        for part in ("-r", f"{name}:={topic}")
    ]
    return CloudNodeProcess(tmp_path / "node.log", *remaps, **parameters)


def test_cloud_is_the_street(client, tmp_path, scenes):
    palette = pack_bgr(load_class_set("camvid11").palette_bgr()[None])[0]
    client.node.declare_parameter(
        "class_colors", [f"#{value:06x}" for value in palette[:11]]
    )  # as the segmentation node has it
    with start(tmp_path) as node:
        first = scenes[0]
        info = info_of(first.camera)
        client.cloud_of(
            camera_info=info,
            depth=depth_message(first.depth_m),
            confidence=mono8(confidence_of(first)),
            label=mono8(first.labels),
        )
        client.wait_for_status("cloud", lambda s, v: s.level == b"\x00", "a healthy status")
        client.wait_for_colors_of("/test_client")
        for scene in scenes:
            confidence = confidence_of(scene)
            cloud = client.cloud_of(
                label=mono8(scene.labels),
                depth=depth_message(scene.depth_m),
                confidence=mono8(confidence),
            )
            assert (cloud.height, cloud.width) == SIZE
            assert not cloud.is_dense
            assert not cloud.is_bigendian
            assert cloud.header.frame_id.startswith("optical_frame_")
            points = points_of(cloud)
            np.testing.assert_allclose(
                xyz(points), expected_xyz(scene), rtol=2e-6, atol=1e-6, equal_nan=True
            )
            np.testing.assert_array_equal(points["label"], scene.labels)
            np.testing.assert_allclose(points["confidence"], confidence / 255, atol=1e-6)
            colors = points["rgb"].copy().view(np.uint32)
            np.testing.assert_array_equal(colors, palette[scene.labels])
        assert node.end(signal.SIGTERM)[0] == 0
        assert "Traceback" not in node.log


def test_layout_is_what_pcl_calls_xyzrgbl():
    layout = [(field.name, field.offset, field.datatype) for field in FIELDS]
    assert layout == [
        ("x", 0, PointField.FLOAT32),
        ("y", 4, PointField.FLOAT32),
        ("z", 8, PointField.FLOAT32),
        ("rgb", 12, PointField.FLOAT32),
        ("label", 16, PointField.UINT32),
        ("confidence", 20, PointField.FLOAT32),
    ]
    assert POINT.itemsize == 24


def test_cloud_of_points_in_the_cameras_colours(client, tmp_path, scenes):
    scene = scenes[0]
    cloud = organised_cloud(scene)
    with start(tmp_path, geometry="points", color="image", confidence=False):
        labelled = client.cloud_of(
            image=bgr8(scene.image_bgr), points=cloud, label=mono8(scene.labels)
        )
        points = points_of(labelled)
        np.testing.assert_array_equal(xyz(points), expected_xyz(scene).astype(np.float32))
        np.testing.assert_array_equal(
            points["rgb"].copy().view(np.uint32), pack_bgr(scene.image_bgr)
        )
        np.testing.assert_array_equal(points["label"], scene.labels)
        assert (points["confidence"] == 1.0).all()


def test_every_fault_is_named_and_survived(client, tmp_path, scenes):
    scene = scenes[0]
    depth, labels = depth_message(scene.depth_m), mono8(scene.labels)
    confidence = mono8(confidence_of(scene))
    info = info_of(scene.camera)

    def told(sentence, **messages):
        """Keep sending until /diagnostics says it."""
        seen = []

        def said():
            client.send(**messages)
            client.spin_for(0.1)
            seen.extend(s.message for m in client.diagnostics for s in m.status)
            client.diagnostics.clear()
            return [message for message in seen if sentence in message]

        client.wait_until(said, f"'{sentence}' in /diagnostics")

    good = {"label": labels, "depth": depth, "confidence": confidence}
    with start(tmp_path, stale_after=0.3) as node:
        told("nothing arrives on /segmentation/label, /segmentation/confidence", depth=depth)
        told("nothing arrives on /camera/depth", label=labels, confidence=confidence)
        told("no camera_info has come beside /camera/depth", **good)
        told("camera_info has focal lengths of 0, 0", camera_info=CameraInfo(), **good)
        told(
            "camera_info is of 100×100 pixels",
            camera_info=CameraInfo(height=100, width=100, k=info.k),
            **good,
        )
        client.cloud_of(camera_info=info, **good)
        small = {"label": mono8(scene.labels[:90]), "confidence": mono8(scene.labels[:90])}
        told("set the segmentation node's label_size to [96, 128]", **{**good, **small})
        told(
            "the label image is bgr8, it must be mono8", **{**good, "label": bgr8(scene.image_bgr)}
        )
        told("it must be 16UC1 (mm) or 32FC1 (m)", **{**good, "depth": labels})
        cut = image_message(b"123", *SIZE, SIZE[1], "mono8")
        told("needs 12288 bytes of data, it has 3", **{**good, "label": cut})
        client.cloud_of(**good)

        def apart():
            client.send(depth=depth)
            client.send(label=labels, confidence=confidence)
            client.spin_for(0.1)
            texts = [s.message for m in client.diagnostics for s in m.status]
            return [text for text in texts if "has a label's stamp, the closest is" in text]

        client.wait_until(apart, "the distance of the stamps")
        client.cloud_of(**good)
        assert "Traceback" not in node.log


def test_stamps_within_slop_are_joined_under_the_labels(client, tmp_path, scenes):
    scene = scenes[0]
    with start(tmp_path, slop=0.02, confidence=False):
        client.cloud_of(
            camera_info=info_of(scene.camera),
            label=mono8(scene.labels),
            depth=depth_message(scene.depth_m),
        )
        depth, label = depth_message(scene.depth_m), mono8(scene.labels)
        depth.header = client.stamp(label).header
        header = depth.header
        late = depth_message(scene.depth_m)
        late.header.stamp.sec = header.stamp.sec
        late.header.stamp.nanosec = header.stamp.nanosec - 15_000_000
        late.header.frame_id = "depth_optical_frame"
        client.outlets["depth"].publish(late)
        client.outlets["label"].publish(label)

        def find():
            return [c for c in client.received["points"] if c.header.stamp == header.stamp]

        assert client.wait_until(find, "the cloud")[0].header.frame_id == "depth_optical_frame"


def test_a_request_that_rclpy_cannot_read_is_answered_and_survived(client, tmp_path):
    no_type = Parameter(name="slop", value=ParameterValue(type=99))
    with start(tmp_path) as node:
        request = SetParameters.Request(parameters=[no_type])
        (result,) = client.call("set_parameters", request).results
        assert not result.successful
        assert client.get_parameter("slop") == 0.0
        assert node.end()[0] == 0


def test_nobody_subscribes_and_the_node_hears_nothing_and_keeps_nothing(client, tmp_path, scenes):
    scene = scenes[0]
    labels, confidence = mono8(scene.labels), mono8(confidence_of(scene))
    good = {"depth": depth_message(scene.depth_m), "label": labels, "confidence": confidence}
    inputs = [client.outlets[stream] for stream in good]
    with start(tmp_path, stale_after=0.3) as node:
        client.cloud_of(camera_info=info_of(scene.camera), **good)
        half = depth_message(scene.depth_m)
        before = client.wait_for_status("cloud", lambda s, v: True, "the counts")[1]
        left = client.send(depth=half)
        client.wait_for_status(
            "cloud",
            lambda _, v: int(v["received_depth"]) > int(before["received_depth"]),
            "a depth that waits for its label",
        )
        client.unlisten("points")
        client.wait_until(
            lambda: not any(outlet.get_subscription_count() for outlet in inputs),
            "the end of all subscriptions",
        )
        idle = client.wait_for_status(
            "cloud", lambda s, _: s.message == "nobody subscribes", "a node that rests"
        )[1]
        for _ in range(20):
            client.send(**good)
            client.spin_for(0.1)
        status, values = client.wait_for_status("cloud", lambda s, v: True, "a status")
        assert (status.level, status.message) == (b"\x00", "nobody subscribes")
        assert {k: values[k] for k in idle if k.startswith("received")} == {
            k: idle[k] for k in idle if k.startswith("received")
        }
        client.listen(PointCloud2, "points")
        client.wait_until(
            lambda: all(outlet.get_subscription_count() for outlet in inputs), "subscriptions"
        )

        def completed():
            for stream, message in (("label", labels), ("confidence", confidence)):
                message.header = left
                client.outlets[stream].publish(message)
            client.spin_for(0.1)
            counts = client.latest_counts()
            streams = ("received_label", "received_confidence")
            return all(int(counts[stream]) > int(idle[stream]) for stream in streams)

        client.wait_until(completed, "the rest of a set from before the rest")
        client.cloud_of(**good)  # the calibration was not sent again
        assert left.stamp not in [cloud.header.stamp for cloud in client.received["points"]]
        assert "Traceback" not in node.log


LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def test_overrides_hear_a_latched_calibration_and_stay(client, tmp_path, scenes):
    scene = scenes[0]
    client.node.destroy_publisher(client.outlets.pop("camera_info"))
    calibration = client.node.create_publisher(CameraInfo, "/camera/camera_info", LATCHED)
    calibration.publish(info_of(scene.camera))
    overrides = {
        "/camera/camera_info.subscription.durability": "transient_local",
        "/camera/camera_info.subscription.reliability": "reliable",
        "/camera/depth.subscription.depth": 3,
        "/segmentation/label.subscription.reliability": "best_effort",
        "/semantic_cloud/points.publisher.depth": 7,
    }

    def reliability(topic):
        infos = client.node.get_subscriptions_info_by_topic(topic)
        return [info.qos_profile.reliability for info in infos]

    good = {"label": mono8(scene.labels), "depth": depth_message(scene.depth_m)}
    parameters = {f"qos_overrides.{name}": value for name, value in overrides.items()}
    with start(tmp_path, confidence=False, **parameters) as node:
        for _ in range(2):
            client.cloud_of(**good)
            assert reliability("/segmentation/label") == [ReliabilityPolicy.BEST_EFFORT]
            for name, value in parameters.items():
                assert client.get_parameter(name) == value
            client.unlisten("points")
            client.wait_until(lambda: not reliability("/segmentation/label"), "a node that rests")
            client.listen(PointCloud2, "points")
        assert "there is no parameter" not in node.log


def test_large_clouds_are_not_kept_by_the_dozen(client, tmp_path, scenes):
    """A cloud of 196 kB: five of them are a megabyte."""
    scene = scenes[0]
    cloud, labels = organised_cloud(scene), mono8(scene.labels)
    with start(tmp_path, geometry="points", confidence=False, queue_mb=1):
        client.cloud_of(points=cloud, label=labels)
        headers = []

        def find():
            sent = []
            for _ in range(8):
                sent.append(client.send(points=cloud))
                client.spin_for(0.1)
            headers.append((sent[0], sent[-1]))
            for labels.header in headers[-1]:
                client.outlets["label"].publish(labels)
                client.spin_for(0.2)
            arrived = [message.header for message in client.received["points"]]
            return any(newest in arrived for _, newest in headers) and arrived

        arrived = client.wait_until(find, "the cloud of the newest")
        assert not any(oldest in arrived for oldest, _ in headers)


@pytest.mark.parametrize(
    ("parameter", "value", "reason"),
    [
        ("geometry", "lidar", "not one of depth, points"),
        ("slop", -1.0, "slop"),
        ("qos_overrides./depth.subscription.reliability", "perhaps", "perhaps"),
        ("qos_overrides./camera_info.subscription.durability", "perhaps", "perhaps"),
        ("qos_overrides./depth.subscription.depth", -1, "depth"),
    ],
)
def test_bad_parameter_is_a_sentence_and_status_2(
    tmp_path, ros_domain_id, parameter, value, reason
):
    with CloudNodeProcess(tmp_path / "node.log", **{parameter: value}) as node:
        assert node.process.wait(PATIENCE_S) == 2
        assert reason in node.log
        assert "Traceback" not in node.log


def test_projection_prefers_the_rectified_one_and_follows_binning():
    info = CameraInfo(height=480, width=640)
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    assert projection_of(info, (480, 640)).fx == 500
    info.p = [400.0, 0.0, 310.0, -40.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    half = projection_of(info, (240, 320))
    assert (half.fx, half.fy, half.cx, half.cy) == (200, 205, 155, 115)


def test_labels_of_the_segmentation_node_become_points(client, tmp_path, scenes):
    """Three processes: camera, segmentation, cloud; half the size, as a costmap would take it."""
    scene = scenes[0]
    checkpoint = make_checkpoint(tmp_path / "small.safetensors")
    parameters = {"model": checkpoint, "engine": "torch", "threads": 1, "label_size": "[48, 64]"}
    remap = ("-r", "image:=/camera/image_raw")
    client.node.destroy_publisher(client.outlets.pop("label"))
    client.node.destroy_publisher(client.outlets.pop("confidence"))
    labels, confidences = [], []
    client.node.create_subscription(Image, "/segmentation/label", labels.append, 10)
    client.node.create_subscription(Image, "/segmentation/confidence", confidences.append, 10)
    with (
        NodeProcess(tmp_path / "segmentation.log", *remap, **parameters),
        start(tmp_path),
    ):
        messages = {
            "camera_info": info_of(scene.camera),
            "depth": depth_message(scene.depth_m),
            "image": bgr8(scene.image_bgr),
        }
        client.cloud_of(**messages)
        client.wait_for_colors_of("/segmentation")
        cloud = client.cloud_of(**messages)
        label, confidence = (
            next(m for m in kept if m.header == cloud.header) for kept in (labels, confidences)
        )
    # what semantic_segmentation_layer asks of the three before it looks at a pixel
    assert label.width * label.height == cloud.width * cloud.height == len(label.data)
    assert label.step == label.width == confidence.step
    assert len(confidence.data) == len(label.data)
    points = points_of(cloud)
    assert bytes(points["label"].astype(np.uint8)) == bytes(label.data)
    shown = np.frombuffer(confidence.data, np.uint8).reshape(points.shape)
    np.testing.assert_allclose(points["confidence"], shown / 255, atol=1e-6)
    np.testing.assert_allclose(
        xyz(points), expected_xyz(scene)[1::2, 1::2], rtol=2e-6, atol=1e-6, equal_nan=True
    )
    classes = load_class_set("camvid11")
    palette = pack_bgr(classes.palette_bgr()[None])[0]
    colors = points["rgb"].copy().view(np.uint32)
    np.testing.assert_array_equal(colors, palette[points["label"]])
