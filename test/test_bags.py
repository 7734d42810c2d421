"""Bags: what is written comes back, in both storages, from every kind of bag, also damaged ones."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_typestore

from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.messages import typestore
from erf_seg_core.errors import ErfSegError
from erf_seg_core.synthetic import CameraIntrinsics

STORAGES = ("sqlite3", "mcap")
CAMERA, LABEL, DEPTH = "/camera/image_raw", "/ground_truth/label", "/camera/depth/image_rect"
INFO, PACKED = "/camera/camera_info", "/camera/image_raw/compressed"
FRAME_ID = "camera_optical_frame"
START_NS = 1_700_000_000_123_456_789
ROOT = Path(__file__).resolve().parent.parent


def picture(index, height=24, width=32):
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def stamp(index):
    return START_NS + index * 66_666_667


def write_bag(path, storage="sqlite3", count=5, size=(24, 32)):
    with BagWriter(path, storage) as bag:
        for index in range(count):
            image = picture(index, *size)
            bag.write_image(CAMERA, stamp(index), FRAME_ID, image, "bgr8")
            bag.write_image(LABEL, stamp(index), FRAME_ID, image[..., 0], "mono8")
            depth = image[..., 1].astype(np.float32) / 7
            bag.write_image(DEPTH, stamp(index), FRAME_ID, depth, "32FC1")
    return path


@pytest.fixture(params=STORAGES)
def bag_path(request, tmp_path):
    return write_bag(tmp_path / "drive", request.param)


@pytest.fixture
def storage_file(bag_path):
    (file,) = [f for f in bag_path.iterdir() if f.suffix in (".db3", ".mcap")]
    return file


def assert_is_the_drive(path, count=5):
    with BagReader(path) as bag:
        images = list(bag.images(CAMERA))
    assert [s for s, _, _ in images] == [stamp(i) for i in range(count)]
    assert {frame_id for _, frame_id, _ in images} == {FRAME_ID}
    for index, (_, _, image) in enumerate(images):
        assert np.array_equal(image, picture(index))


def test_images_come_back_with_stamp_and_type(bag_path):
    assert_is_the_drive(bag_path)
    with BagReader(bag_path) as bag:
        for index, (_, _, label) in enumerate(bag.images(LABEL)):
            assert label.dtype == np.uint8
            assert np.array_equal(label, picture(index)[..., 0])
        for index, (_, _, depth) in enumerate(bag.images(DEPTH)):
            assert depth.dtype == np.float32
            assert np.array_equal(depth, picture(index)[..., 1].astype(np.float32) / 7)


def test_topics_and_times(bag_path):
    with BagReader(bag_path) as bag:
        assert {t.name: t.count for t in bag.topics} == {CAMERA: 5, LABEL: 5, DEPTH: 5}
        assert {t.msgtype for t in bag.topics} == {"sensor_msgs/msg/Image"}
        assert bag.start_ns == stamp(0)
        assert bag.duration_s == pytest.approx(4 * 0.066_666_667)


def test_several_iterations_at_once(bag_path):
    with BagReader(bag_path) as bag:
        both = list(zip(bag.images(CAMERA), bag.images(LABEL), strict=True))
    assert len(both) == 5
    for (stamp_a, _, image), (stamp_b, _, label) in both:
        assert stamp_a == stamp_b
        assert np.array_equal(image[..., 0], label)


def test_messages_of_some_of_all_and_of_no_topics(bag_path):
    with BagReader(bag_path) as bag:
        assert [m.topic for m in bag.messages([LABEL])] == [LABEL] * 5
        everything = list(bag.messages())
        assert len(everything) == 15
        assert [m.time_ns for m in everything] == sorted(m.time_ns for m in everything)
        assert list(bag.messages([])) == []


def test_raw_messages_survive_a_copy(bag_path, tmp_path):
    with BagReader(bag_path) as bag, BagWriter(tmp_path / "copy", "mcap") as copy:
        for message in bag.messages():
            copy.write_cdr(message.topic, message.msgtype, message.time_ns, message.raw)
    assert_is_the_drive(tmp_path / "copy")


@pytest.mark.parametrize("storage", STORAGES)
def test_compressed_bytes_are_kept(tmp_path, storage):
    packed = cv2.imencode(".png", picture(0))[1].tobytes()
    with BagWriter(tmp_path / "b", storage) as bag:
        bag.write_compressed_image(PACKED, stamp(0), FRAME_ID, packed, "png")
    with BagReader(tmp_path / "b") as bag:
        (message,) = bag.messages([PACKED])
        content = typestore().deserialize_cdr(message.raw, message.msgtype)
        assert content.data.tobytes() == packed
        assert content.format == "png"
        ((_, _, image),) = bag.images(PACKED)
    assert np.array_equal(image, picture(0))


def read_camera_info(path):
    with BagReader(path) as bag:
        (message,) = bag.messages([INFO])
    return typestore().deserialize_cdr(message.raw, message.msgtype)


def test_camera_info(tmp_path):
    camera = CameraIntrinsics(480, 360, 400.0, 410.0, 239.5, 179.5)
    with BagWriter(tmp_path / "b") as bag:
        bag.write_camera_info(INFO, stamp(3), FRAME_ID, camera)
    info = read_camera_info(tmp_path / "b")
    assert (info.width, info.height) == (480, 360)
    assert info.k.reshape(3, 3).tolist() == [[400, 0, 239.5], [0, 410, 179.5], [0, 0, 1]]
    assert info.p.reshape(3, 4).tolist() == [[400, 0, 239.5, 0], [0, 410, 179.5, 0], [0, 0, 1, 0]]
    assert info.r.reshape(3, 3).tolist() == np.eye(3).tolist()
    assert info.distortion_model == "plumb_bob"
    assert info.d.tolist() == [0] * 5
    assert info.header.stamp.sec * 10**9 + info.header.stamp.nanosec == stamp(3)


def test_camera_info_of_an_uncalibrated_camera(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        bag.write_camera_info(INFO, 0, FRAME_ID, CameraIntrinsics(480, 360, 0, 0, 0, 0))
    info = read_camera_info(tmp_path / "b")
    assert info.k.tolist() == [0] * 9
    assert len(info.d) == 0


@pytest.mark.parametrize("storage", STORAGES)
def test_metadata_is_what_humble_parses(tmp_path, storage):
    """Version 8 at most, and QoS profiles as a string of YAML with numbers."""
    write_bag(tmp_path / "b", storage)
    about = yaml.safe_load((tmp_path / "b" / "metadata.yaml").read_text())
    about = about["rosbag2_bagfile_information"]
    assert about["version"] == 8
    assert about["storage_identifier"] == storage
    for topic in about["topics_with_message_count"]:
        text = topic["topic_metadata"]["offered_qos_profiles"]
        assert isinstance(text, str)
        (profile,) = yaml.safe_load(text)
        assert (profile["reliability"], profile["durability"], profile["history"]) == (1, 2, 1)


def test_message_definitions_are_those_of_every_served_distribution():
    for store in (Stores.ROS2_JAZZY, Stores.ROS2_KILTED):
        for msgtype in ("Image", "CompressedImage", "CameraInfo"):
            name = f"sensor_msgs/msg/{msgtype}"
            assert typestore().hash_rihs01(name) == get_typestore(store).hash_rihs01(name)


def test_topics_are_offered_reliable_and_volatile(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        message = typestore().types["std_msgs/msg/String"](data="hello")
        raw = typestore().serialize_cdr(message, "std_msgs/msg/String")
        bag.write_cdr("/now", "std_msgs/msg/String", 1, raw)
    with Ros2Reader(tmp_path / "b") as reader:
        (qos,) = (c.ext.offered_qos_profiles[0] for c in reader.connections)
    assert qos.durability == QosDurability.VOLATILE
    assert qos.reliability == QosReliability.RELIABLE


def test_label_info_can_be_recorded(tmp_path):
    store = typestore()
    time = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = store.types["std_msgs/msg/Header"](stamp=time, frame_id="")
    road = store.types["vision_msgs/msg/VisionClass"](class_id=3, class_name="road")
    name = "vision_msgs/msg/LabelInfo"
    info = store.types[name](header=header, class_map=[road], threshold=0.5)
    with BagWriter(tmp_path / "b") as bag:
        bag.write_cdr("/label_info", name, 5, store.serialize_cdr(info, name))
    with BagReader(tmp_path / "b") as bag:
        (message,) = bag.messages()
    assert store.deserialize_cdr(message.raw, name).class_map[0].class_name == "road"


# Kinds of bags that others recorded


def test_single_storage_file(storage_file):
    assert_is_the_drive(storage_file)


def test_folder_without_metadata(bag_path):
    (bag_path / "metadata.yaml").unlink()
    assert_is_the_drive(bag_path)


def test_metadata_file_stands_for_its_bag(bag_path):
    assert_is_the_drive(bag_path / "metadata.yaml")


def test_split_bag(tmp_path):
    """Two files under one metadata.yaml, as `ros2 bag record --max-bag-size` leaves them."""
    whole = write_bag(tmp_path / "whole", count=5)
    about = yaml.safe_load((whole / "metadata.yaml").read_text())
    split = tmp_path / "split"
    split.mkdir()
    for part, indices in enumerate([(0, 1, 2), (3, 4)]):
        with BagWriter(tmp_path / f"split_{part}") as bag:
            for index in indices:
                bag.write_image(CAMERA, stamp(index), FRAME_ID, picture(index), "bgr8")
        shutil.move(tmp_path / f"split_{part}" / f"split_{part}.db3", split)
    inner = about["rosbag2_bagfile_information"]
    inner["relative_file_paths"] = ["split_0.db3", "split_1.db3"]
    (split / "metadata.yaml").write_text(yaml.safe_dump(about))
    assert_is_the_drive(split)


def test_files_without_metadata_are_read_by_time(tmp_path):
    """A recorder that crashed leaves no metadata.yaml; by name, 10 would come before 2."""
    split = tmp_path / "split"
    split.mkdir()
    for part in range(12):
        with BagWriter(tmp_path / f"split_{part}", "mcap") as bag:
            bag.write_image(CAMERA, stamp(part), FRAME_ID, picture(part), "bgr8")
        shutil.move(tmp_path / f"split_{part}" / f"split_{part}.mcap", split)
    with BagReader(split) as bag:
        assert [when for when, _, _ in bag.images(CAMERA)] == [stamp(i) for i in range(12)]


@pytest.mark.parametrize(
    ("mode", "plugin"),
    [
        (CompressionMode.FILE, StoragePlugin.SQLITE3),
        (CompressionMode.MESSAGE, StoragePlugin.SQLITE3),
        (CompressionMode.MESSAGE, StoragePlugin.MCAP),
        (CompressionMode.STORAGE, StoragePlugin.MCAP),
    ],
)
def test_compressed_bags(bag_path, tmp_path, mode, plugin):
    writer = Writer(tmp_path / "small", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer, BagReader(bag_path) as bag:
        connections = {
            t.name: writer.add_connection(t.name, t.msgtype, typestore=typestore())
            for t in bag.topics
        }
        for message in bag.messages():
            writer.write(connections[message.topic], message.time_ns, message.raw)
    assert_is_the_drive(tmp_path / "small")


@pytest.fixture
def ros1_bag(tmp_path):
    """Images, camera_info and a text, as ROS 1 records them (headers with `seq`)."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    path = tmp_path / "old.bag"

    def header(index):
        seconds, nanoseconds = divmod(stamp(index), 10**9)
        time = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
        return types["std_msgs/msg/Header"](seq=index, stamp=time, frame_id=FRAME_ID)

    def image(index):
        data = picture(index).reshape(-1)
        return types["sensor_msgs/msg/Image"](header(index), 24, 32, "bgr8", 0, 96, data)

    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    camera = np.arange(9.0), np.eye(3).reshape(-1), np.arange(12.0)
    with Ros1Writer(path) as writer:
        topics = {
            CAMERA: [image(i) for i in range(5)],
            INFO: [
                types["sensor_msgs/msg/CameraInfo"](
                    header(0), 24, 32, "plumb_bob", np.zeros(5), *camera, 0, 0, roi
                )
            ],
            "/chatter": [types["std_msgs/msg/String"]("hello")],
        }
        for topic, messages in topics.items():
            msgtype = messages[0].__msgtype__
            connection = writer.add_connection(topic, msgtype, typestore=store)
            for index, message in enumerate(messages):
                raw = store.serialize_ros1(message, msgtype)
                writer.write(connection, stamp(index), raw)
    return path


def test_ros1_bag(ros1_bag):
    assert_is_the_drive(ros1_bag)
    info = read_camera_info(ros1_bag)
    assert info.k.tolist() == list(range(9))
    assert info.header.frame_id == FRAME_ID


def test_other_types_of_a_ros1_bag_are_refused(ros1_bag):
    with BagReader(ros1_bag) as bag, pytest.raises(ErfSegError, match="rosbags-convert"):
        list(bag.messages(["/chatter"]))


# What can be wrong


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent", None, "there is no bag"),
        ("notes.txt", b"hello", "is no bag"),
        ("nothing.mcap", b"", "is empty"),
        ("nothing.db3", b"", "is empty"),
        ("nothing.bag", b"", "is empty"),
        ("foreign.mcap", b"not an mcap file" * 20, "truncated or damaged"),
        ("foreign.db3", b"not a database" * 90, "truncated or damaged"),
        ("foreign.bag", b"not a bag" * 90, "truncated or damaged"),
    ],
)
def test_what_is_no_bag(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ErfSegError, match=reason):
        BagReader(tmp_path / name)


def test_folder_that_is_no_bag(tmp_path):
    with pytest.raises(ErfSegError, match=r"neither metadata\.yaml"):
        BagReader(tmp_path)


@pytest.mark.parametrize("text", ["", "hello: [", "rosbag2_bagfile_information: 7", "- 1"])
def test_damaged_metadata(bag_path, text):
    (bag_path / "metadata.yaml").write_text(text)
    with pytest.raises(ErfSegError, match="truncated or damaged"):
        BagReader(bag_path)


def test_metadata_without_its_file(bag_path, storage_file):
    storage_file.unlink()
    with pytest.raises(ErfSegError, match="missing"):
        BagReader(bag_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_storage(bag_path, storage_file, share):
    content = storage_file.read_bytes()
    storage_file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ErfSegError, match="truncated or damaged"), BagReader(bag_path) as bag:
        list(bag.images(CAMERA))


def test_missing_topic_lists_those_with_images(bag_path):
    with BagReader(bag_path) as bag:
        with pytest.raises(ErfSegError, match=f"no images on /front.*{CAMERA}"):
            bag.images("/front")
        with pytest.raises(ErfSegError, match=f"no topic /front.*{CAMERA}"):
            bag.messages(["/front"])
        with pytest.raises(ErfSegError, match=f"several image topics.*{CAMERA}"):
            bag.images()


def test_only_image_topic_needs_no_name(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        bag.write_image(CAMERA, stamp(0), FRAME_ID, picture(0), "bgr8")
    with BagReader(tmp_path / "b") as bag:
        assert len(list(bag.images())) == 1


def test_malformed_image_is_named(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        bag.write_image(CAMERA, stamp(0), FRAME_ID, picture(0), "bgr8")
        bag.write_image(CAMERA, stamp(1), FRAME_ID, picture(0)[..., 0], "bgr8")
    with BagReader(tmp_path / "b") as bag:
        images = bag.images(CAMERA)
        next(images)
        with pytest.raises(ErfSegError, match=f"message 1 of {CAMERA} .*32×24 .*'bgr8'"):
            next(images)


# What the writer leaves behind


def test_existing_path_is_refused(bag_path):
    with pytest.raises(ErfSegError, match="exists already"):
        BagWriter(bag_path)
    assert_is_the_drive(bag_path)


def test_unknown_storage_and_type_are_refused(tmp_path):
    with pytest.raises(ErfSegError, match="no bag storage 'tape'"):
        BagWriter(tmp_path / "b", "tape")
    with (
        BagWriter(tmp_path / "b") as bag,
        pytest.raises(ErfSegError, match="my_msgs/msg/Secret is not known"),
    ):
        bag.write_cdr("/secret", "my_msgs/msg/Secret", 0, b"")


def test_topic_keeps_its_type(tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        bag.write_image(CAMERA, 0, FRAME_ID, picture(0), "bgr8")
        with pytest.raises(ErfSegError, match="holds sensor_msgs/msg/Image"):
            bag.write_compressed_image(CAMERA, 0, FRAME_ID, b"x", "jpeg")


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_without_messages_is_valid(tmp_path, storage):
    with BagWriter(tmp_path / "b", storage):
        pass
    with BagReader(tmp_path / "b") as bag:
        assert (bag.topics, bag.duration_s, list(bag.messages())) == ([], 0.0, [])
        with pytest.raises(ErfSegError, match="no images; topics with images: none"):
            bag.images()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_exception_between_messages_costs_none(tmp_path, storage, error):
    def interrupted():
        with BagWriter(tmp_path / "b", storage) as bag:
            for index in range(3):
                bag.write_image(CAMERA, stamp(index), FRAME_ID, picture(index), "bgr8")
            raise error

    with pytest.raises(error):
        interrupted()
    assert_is_the_drive(tmp_path / "b", count=3)


@pytest.mark.parametrize("storage", STORAGES)
def test_exception_before_the_first_message_leaves_nothing(tmp_path, storage):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "b", storage):
        raise RuntimeError
    assert not (tmp_path / "b").exists()


FILL_THE_DISK = """
import resource, sys
import numpy as np
from erf_seg_core.bags import BagWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000_000, 40_000_000))
with BagWriter(sys.argv[1], sys.argv[2]) as bag:
    for index in range(200):
        picture = np.random.default_rng(index).integers(0, 256, (500, 700, 3), np.uint8)
        bag.write_image("/camera/image_raw", index + 1, "camera", picture, "bgr8")
        print(index, flush=True)
"""


@pytest.mark.parametrize("storage", STORAGES)
def test_full_disk_leaves_a_readable_bag(tmp_path, storage):
    """A file size limit makes writes fail half-way, as a full disk does."""
    path = tmp_path / "b"
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, path, storage],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    written = len(done.stdout.split())
    assert 20 < written < 60
    with BagReader(path) as bag:
        (topic,) = bag.topics
        images = list(bag.images(CAMERA))
    assert topic.count == len(images)
    assert len(images) >= written - 16_000_000 // 1_050_000 - 2
    for index, (stamp_ns, _, image) in enumerate(images):
        assert stamp_ns == index + 1
        expected = np.random.default_rng(index).integers(0, 256, (500, 700, 3), np.uint8)
        assert np.array_equal(image, expected)


def test_a_bag_that_its_recorder_did_not_close_is_not_read_as_a_shorter_one(tmp_path):
    drive = write_bag(tmp_path / "drive")
    (file,) = drive.glob("*.db3")
    with closing(sqlite3.connect(file)) as recorder:
        recorder.execute("PRAGMA journal_mode=WAL")
        recorder.execute(
            "INSERT INTO messages SELECT NULL, topic_id, timestamp, data FROM messages"
        )
        recorder.commit()
        shutil.copytree(drive, tmp_path / "torn")
    (file,) = (tmp_path / "torn").glob("*.db3")
    for bag in (tmp_path / "torn", file):
        with pytest.raises(ErfSegError, match=r"was not closed.*wal_checkpoint"):
            BagReader(bag)
    with closing(sqlite3.connect(file)) as rescuer:  # what the message advises
        rescuer.execute("PRAGMA wal_checkpoint")
        rescuer.execute("SELECT count(*) FROM messages").fetchall()
    with BagReader(file) as bag:
        assert len(list(bag.images(CAMERA))) == 2 * 5
