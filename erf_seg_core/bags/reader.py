"""Reads bags of ROS 2 (folders, single files, split, compressed) and of ROS 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader

from ..errors import ErfSegError, refuse_undecodable
from ..image_codec import decode_message
from .messages import COMPRESSED_IMAGE, IMAGE, typestore
from .ros1 import ros1_to_cdr

STORAGE_SUFFIXES = (".db3", ".mcap")
SUFFIXES = (*STORAGE_SUFFIXES, ".bag")
_RECOVERY = {
    ".mcap": "mcap recover FILE -o NEW",
    ".db3": "sqlite3 FILE .recover",
    ".bag": "rosbag reindex FILE",
}


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag."""

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """One message: `time_ns` is when it was recorded, `raw` its ROS 2 serialisation (CDR)."""

    topic: str
    msgtype: str
    time_ns: int
    raw: bytes


class BagReader:
    """An open bag; a context manager.

    `path` is a rosbag2 folder (with or without its metadata.yaml), a single .db3 or .mcap file, or
    a ROS 1 .bag, of which images and camera_info can be read. Raises `ErfSegError` for what is
    missing, empty, truncated or no bag, also while reading, and for a name that is not UTF-8.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the bag and read what topics it has."""
        self.path = Path(path)
        refuse_undecodable(self.path.resolve())
        self._stack = ExitStack()
        files = _storage_files(self.path)
        _refuse_unfinished(self.path)
        self._is_ros1 = files[0].suffix == ".bag"
        with self._explained():
            self._readers = [Ros1Reader(f) if self._is_ros1 else Ros2Reader(f) for f in files]
            for reader in self._readers:
                self._stack.enter_context(reader)
        # By time, not by name: drive_10 comes after drive_9.
        self._readers.sort(key=lambda r: r.start_time if r.message_count else math.inf)
        self.topics: list[TopicInfo] = self._list_topics()

    def __enter__(self) -> BagReader:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the files; reading is over."""
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """Recording time of the first message, 0 in a bag without messages."""
        return min((r.start_time for r in self._readers if r.message_count), default=0)

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        ends = [r.end_time - 1 for r in self._readers if r.message_count]
        return (max(ends) - self.start_ns) / 1e9 if ends else 0.0

    def image_topics(self) -> list[TopicInfo]:
        """Topics of Image and CompressedImage that hold messages."""
        return [t for t in self.topics if t.msgtype in (IMAGE, COMPRESSED_IMAGE) and t.count]

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[BagMessage]:
        """Messages of these topics (None: all) in the order of recording.

        Several iterations may run at once. Raises `ErfSegError` for a topic that the bag lacks.
        """
        names = None if topics is None else set(topics)
        known = {topic.name for topic in self.topics}
        for name in sorted((names or set()) - known):
            raise ErfSegError(f"{self.path} has no topic {name}; it has {', '.join(sorted(known))}")
        return self._messages(known if names is None else names)

    def images(self, topic: str | None = None) -> Iterator[tuple[int, str, np.ndarray]]:
        """Header stamp in nanoseconds, frame_id and picture of each message of an image topic.

        Pictures are those of `image_codec.decode_image`: uint8 BGR H×W×3 of colour encodings,
        uint8, uint16 or float32 H×W of the others; they may be read-only. Without a topic, the
        bag's only image topic. Raises `ErfSegError` where there is no such topic and for a
        malformed image, saying which.
        """
        return self._images(self.image_topic(topic))

    def image_topic(self, topic: str | None = None) -> TopicInfo:
        """The image topic of that name, or the only one; otherwise `ErfSegError` lists them."""
        candidates = self.image_topics()
        chosen = [t for t in candidates if topic in (None, t.name)]
        if len(chosen) == 1:
            return chosen[0]
        listing = ", ".join(t.name for t in candidates) or "none"
        if topic is None and candidates:
            raise ErfSegError(f"{self.path} has several image topics, choose one: {listing}")
        what = f"no images on {topic}" if topic else "no images"
        raise ErfSegError(f"{self.path} has {what}; topics with images: {listing}")

    def _messages(self, names: set[str]) -> Iterator[BagMessage]:
        for reader in self._readers:
            connections = [c for c in reader.connections if c.topic in names]
            if not connections:  # rosbags would take none for all
                continue
            with self._explained():
                for connection, time_ns, raw in reader.messages(connections):
                    yield BagMessage(
                        connection.topic, connection.msgtype, time_ns, self._cdr(connection, raw)
                    )

    def _cdr(self, connection: Connection, raw: bytes) -> bytes:
        return ros1_to_cdr(raw, connection.msgtype) if self._is_ros1 else raw

    def _images(self, topic: TopicInfo) -> Iterator[tuple[int, str, np.ndarray]]:
        for number, message in enumerate(self.messages([topic.name])):
            with self._explained(f"message {number} of {topic.name} in {self.path}"):
                content = typestore().deserialize_cdr(message.raw, message.msgtype)
                picture = decode_message(content)
            stamp = content.header.stamp
            yield stamp.sec * 1_000_000_000 + stamp.nanosec, content.header.frame_id, picture

    def _list_topics(self) -> list[TopicInfo]:
        counts: dict[tuple[str, str], int] = {}
        for reader in self._readers:
            for connection in reader.connections:
                key = (connection.topic, connection.msgtype)
                counts[key] = counts.get(key, 0) + connection.msgcount
        return [TopicInfo(name, msgtype, n) for (name, msgtype), n in sorted(counts.items())]

    @contextmanager
    def _explained(self, what: str = "") -> Iterator[None]:
        """Turn whatever the parsers of damaged files raise into one sentence."""
        try:
            yield
        except ErfSegError as error:
            raise ErfSegError(f"{what}: {error}") if what else error from None
        except Exception as error:  # rosbags, sqlite, zstd and struct all have their own
            self.close()
            reason = str(error) or type(error).__name__
            raise ErfSegError(
                f"cannot read {what or f'the bag {self.path}'}, it may be truncated or damaged: "
                f"{reason}{'' if what else self._remedy()}"
            ) from error

    def _remedy(self) -> str:
        """What may save a bag whose recording was cut off."""
        inside = self.path.iterdir() if self.path.is_dir() else [self.path]
        kinds = {file.suffix for file in inside}
        commands = [command for suffix, command in _RECOVERY.items() if suffix in kinds]
        return f"; `{commands[0]}` may save what was written" if commands else ""


def _storage_files(path: Path) -> list[Path]:
    """What rosbags shall open: the folder, the file, or the files of a folder without metadata."""
    if not path.exists():
        raise ErfSegError(f"there is no bag {path}")
    if path.is_file():
        if path.name == "metadata.yaml":
            return _storage_files(path.parent)
        if path.suffix not in SUFFIXES:
            raise ErfSegError(f"{path} is no bag: its name ends in none of {', '.join(SUFFIXES)}")
        if not path.stat().st_size:
            raise ErfSegError(f"the bag {path} is empty")
        return [path]
    if (path / "metadata.yaml").is_file():
        return [path]
    files = sorted(f for f in path.iterdir() if f.suffix in STORAGE_SUFFIXES)
    if not files:
        raise ErfSegError(
            f"{path} is no rosbag2 folder: it has neither metadata.yaml nor .db3 or .mcap files"
        )
    return [f for file in files for f in _storage_files(file)]


def _refuse_unfinished(path: Path) -> None:
    """SQLite keeps the latest changes in a file beside, which rosbags does not look at.

    Such a bag would be read as a shorter one, without a word.
    """
    folder, pattern = (path, "*.db3") if path.is_dir() else (path.parent, path.name)
    for file in folder.glob(pattern):
        for aside in (Path(f"{file}-wal"), Path(f"{file}-journal")):
            if _begins(aside):
                raise ErfSegError(
                    f"{file} was not closed: a part of it is still in {aside.name}. If its "
                    f"recording has ended, `sqlite3 {file} 'PRAGMA wal_checkpoint; SELECT count(*) "
                    "FROM messages'` finishes it"
                )


def _begins(aside: Path) -> bool:
    """Whether SQLite left something in a file: one that it is done with is empty or zeroed."""
    if not aside.is_file():
        return False
    with aside.open("rb") as file:
        return file.read(1) not in (b"", b"\0")
