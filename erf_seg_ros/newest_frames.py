"""Mailbox that keeps only the newest frame of each camera; knows no ROS."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

FrameT = TypeVar("FrameT")


class NewestFrames(Generic[FrameT]):
    """One place per camera: a newer frame replaces the one that nobody has taken yet.

    Writers never block for longer than it takes to store a reference. One reader takes all
    waiting frames at once, so that frames of several cameras can share a batch, or some, those
    of the cameras that were served longest ago. A silent camera delays nobody.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        """Make an empty place for each of `cameras`."""
        # in the order in which the cameras are served next
        self._places: dict[str, FrameT | None] = dict.fromkeys(cameras)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, camera: str, frame: FrameT) -> bool:
        """Store a frame; True if one is lost by that.

        That is an older one, which it displaces, or itself, where it comes after `close`.
        """
        with self._changed:
            if self._closed:
                return True
            displaced = self._places[camera] is not None
            self._places[camera] = frame
            self._changed.notify()
            return displaced

    def take(self, timeout: float | None = None, most: int | None = None) -> dict[str, FrameT]:
        """Wait for at least one frame and take all, or `most`; the others stay.

        Returns nothing on timeout (seconds) or once closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting(), timeout)
            if self._closed:
                return {}
            frames = dict(list(self._waiting().items())[:most])
            for camera in frames:
                del self._places[camera]
                self._places[camera] = None  # at the end of the order
            return frames

    def close(self) -> dict[str, FrameT]:
        """Release the reader for good; returns the frames that nobody took."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = self._waiting()
            self._places = dict.fromkeys(self._places)
            return left

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        with self._changed:
            return self._closed

    def _waiting(self) -> dict[str, FrameT]:
        return {name: frame for name, frame in self._places.items() if frame is not None}
