"""Writes rosbag2 folders that every ROS 2 from Humble to Kilted plays."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)
from rosbags.rosbag2.storage_mcap import McapWriter

from ..errors import ErfSegError
from ..synthetic.camera import CameraIntrinsics
from .messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, OFFERED_QOS, typestore
from .storage_guard import StorageGuard

STORAGES = ("sqlite3", "mcap")

# Metadata version 8 is the newest that Humble parses: from 9 on the QoS profiles are nested YAML
# where Humble expects a string (https://github.com/ros2/rosbag2/issues/2013). Later ones read 8.
METADATA_VERSION = 8


class BagWriter:
    """Context manager that writes one rosbag2 folder.

    Leaving it closes the bag in any case: after an exception it holds what was written before,
    except that a failed write may cost the last few megabytes; a bag that would hold nothing
    because of an exception is removed. Topics appear with their first message and offer a
    reliable, volatile QoS profile. Raises `ErfSegError` for an existing path, an unknown storage or
    type, and for arrays that their encoding cannot hold; `OSError` or `sqlite3.Error` where the
    disk refuses.
    """

    def __init__(self, path: str | Path, storage: str = "sqlite3", compress: bool = False) -> None:
        """Create the folder `path`; `storage` is one of STORAGES.

        `compress` packs an MCAP's chunks with zstd; every reader of MCAP unpacks them.
        """
        self.path = Path(path)
        if storage not in STORAGES:
            raise ErfSegError(f"no bag storage '{storage}': there are {' and '.join(STORAGES)}")
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        try:
            self._writer = Writer(self.path, version=METADATA_VERSION, storage_plugin=plugin)
            if compress and plugin is StoragePlugin.MCAP:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
            if compress and plugin is StoragePlugin.MCAP:
                _pack_lightly(self._writer.storage)
        except WriterError:
            raise ErfSegError(f"{path} exists already: give another path or remove it") from None
        except OSError as error:
            raise ErfSegError(f"cannot create the bag {path}: {error.strerror or error}") from None
        self._connections: dict[str, Connection] = {}
        self._guard = StorageGuard(self._writer)
        self._writing = False

    def __enter__(self) -> BagWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an exception keep what is whole."""
        self._undo_torn_write()
        if kind is not None and not self.message_count:
            self._writer.abort()
            shutil.rmtree(self.path, ignore_errors=True)
            return
        self.close()

    @property
    def message_count(self) -> int:
        """How many messages have been written."""
        return sum(self._writer.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Messages written by topic."""
        found = {t: self._writer.counts.get(c.id, 0) for t, c in self._connections.items()}
        return {topic: count for topic, count in found.items() if count}

    def _undo_torn_write(self) -> None:
        if self._writing:
            self._guard.rewind()
            self._writing = False

    def close(self) -> None:
        """Write index and metadata; leaving the context does it too."""
        if self._writer.storage is None:
            return
        self._undo_torn_write()
        if not self.message_count:
            self._writer.min_timestamp = 0  # its default, the largest integer, is no time
        self._writer.close()

    def write_image(
        self, topic: str, stamp_ns: int, frame_id: str, array: np.ndarray, encoding: str
    ) -> None:
        """Write H×W or H×W×C samples as `sensor_msgs/Image` of that encoding, rows unpadded."""
        pixels = np.ascontiguousarray(array)
        if pixels.ndim not in (2, 3) or not pixels.size:
            raise ErfSegError(f"an array of shape {array.shape} is no image of '{encoding}'")
        height, width = pixels.shape[:2]
        types = typestore().types
        message = types[IMAGE](
            header=_header(stamp_ns, frame_id),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=int(sys.byteorder == "big"),
            step=pixels.nbytes // height,
            data=pixels.reshape(-1).view(np.uint8),
        )
        self._write(topic, IMAGE, stamp_ns, message)

    def write_compressed_image(
        self, topic: str, stamp_ns: int, frame_id: str, data: bytes, format: str
    ) -> None:
        """Write JPEG or PNG bytes as they are as `sensor_msgs/CompressedImage`."""
        message = typestore().types[COMPRESSED_IMAGE](
            header=_header(stamp_ns, frame_id), format=format, data=np.frombuffer(data, np.uint8)
        )
        self._write(topic, COMPRESSED_IMAGE, stamp_ns, message)

    def write_camera_info(
        self, topic: str, stamp_ns: int, frame_id: str, intrinsics: CameraIntrinsics
    ) -> None:
        """Write a pinhole `sensor_msgs/CameraInfo`; fx = 0 means uncalibrated."""
        c = intrinsics
        calibrated = c.fx != 0
        matrix = np.array([c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, 1], np.float64) * calibrated
        types = typestore().types
        message = types[CAMERA_INFO](
            header=_header(stamp_ns, frame_id),
            height=c.height,
            width=c.width,
            distortion_model="plumb_bob" if calibrated else "",
            d=np.zeros(5 if calibrated else 0),
            k=matrix,
            r=np.eye(3).reshape(-1) * calibrated,
            p=np.insert(matrix, (3, 6, 9), 0.0),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )
        self._write(topic, CAMERA_INFO, stamp_ns, message)

    def write_cdr(self, topic: str, msgtype: str, stamp_ns: int, raw: bytes) -> None:
        """Write a message that is serialised already, at bag time `stamp_ns`."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connections[topic] = self._connect(topic, msgtype)
            self._guard.after_topic()
        elif connection.msgtype != msgtype:
            raise ErfSegError(f"topic {topic} holds {connection.msgtype}, not {msgtype}")
        self._writing = True  # stays so if the write fails
        self._writer.write(connection, stamp_ns, raw)
        self._guard.after_write(len(raw))
        self._writing = False

    def _write(self, topic: str, msgtype: str, stamp_ns: int, message: object) -> None:
        self.write_cdr(topic, msgtype, stamp_ns, typestore().serialize_cdr(message, msgtype))

    def _connect(self, topic: str, msgtype: str) -> Connection:
        if msgtype not in typestore().fielddefs:
            raise ErfSegError(f"cannot record {topic}: its type {msgtype} is not known here")
        return self._writer.add_connection(
            topic, msgtype, typestore=typestore(), offered_qos_profiles=[OFFERED_QOS]
        )


_ZSTD_OPTIONS = {100: 1, 201: 1}
"""Compression level 1, checksum: ZSTD_c_compressionLevel and ZSTD_c_checksumFlag of `zstd.h`."""


def _pack_lightly(storage: McapWriter) -> None:
    """Let zstd work at its first level: half the time of its third for 7 % more bytes.

    The checksum tells readers of damage, which rosbags leaves to luck.
    """
    packer = partial(storage.compressor, options=_ZSTD_OPTIONS)
    with suppress(TypeError):  # an older rosbags packs with a library that takes no options
        packer(b"")
        storage.compressor = packer


DISK_ERRORS = (OSError, sqlite3.OperationalError)
"""What a full or failing disk raises out of the writer's methods."""


def _header(stamp_ns: int, frame_id: str) -> object:
    types = typestore().types
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
