"""The path of a frame through the node: newest message in, labels and timing out.

A pipeline exists while the node is configured; frames flow between `start` and `stop`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger

from erf_seg_core.errors import ErfSegError
from erf_seg_core.overlay import blend

from .camera import Camera, Frame
from .messages import image_to_bgr
from .newest_frames import NewestFrames
from .parameters import Settings
from .timing import FrameTiming, StageClock

if TYPE_CHECKING:  # its import costs seconds, which only `on_configure` is to spend
    from erf_seg_core.inference import Segmenter

LOG_INTERVAL_S = 5.0
"""A broken camera repeats its fault with every frame; the log needs it once in a while."""


class Pipeline:
    """Receives frames of several cameras and labels them on one worker thread."""

    def __init__(
        self,
        segmenter: Segmenter,
        cameras: Sequence[Camera],
        settings: Callable[[], Settings],
        logger: RcutilsLogger,
        name_timing: Callable[[str], str],
    ) -> None:
        """Take over `segmenter` and `cameras`; `settings` is asked anew for each frame."""
        self.cameras = tuple(cameras)
        self.segmenter = segmenter
        self._settings = settings
        self._logger = logger
        self._name_timing = name_timing
        self._by_name = {camera.name: camera for camera in cameras}
        self._frames: NewestFrames[Frame] = NewestFrames(self._by_name)
        self._worker: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether frames flow."""
        return self._worker is not None

    def start(self) -> None:
        """Subscribe and begin to label."""
        self._frames = NewestFrames(self._by_name)
        # A daemon, so that a network stuck in its device cannot keep the process from ending.
        self._worker = threading.Thread(target=self._work, name="labelling", daemon=True)
        self._worker.start()
        for camera in self.cameras:
            camera.open(self._settings(), self._receive)

    def stop(self, timeout: float | None = None) -> bool:
        """Unsubscribe, finish the frame in hand; False if that took longer than `timeout` s."""
        for camera in self.cameras:
            camera.close()
        for name in self._frames.close():
            self._by_name[name].counter.dropped()
        if self._worker is not None:
            self._worker.join(timeout)
            if self._worker.is_alive():
                return False
        self._worker = None
        return True

    def destroy(self) -> None:
        """Give topics and network back; the pipeline must have stopped."""
        for camera in self.cameras:
            camera.destroy()
        self.segmenter.close()

    def _receive(self, camera: Camera, frame: Frame) -> None:
        # Runs in the executor: anything slow here would age every later frame.
        if frame.is_older_than(self._settings().max_age):
            camera.counter.too_old()
            return
        camera.counter.received(displaced_another=self._frames.put(camera.name, frame))

    def _work(self) -> None:
        while not self._frames.closed:
            for name, frame in self._frames.take().items():
                self._label(self._by_name[name], frame)

    def _label(self, camera: Camera, frame: Frame) -> None:
        """Label one frame; whatever goes wrong concerns this frame only."""
        clock = StageClock()
        waiting_ms = (time.perf_counter() - frame.arrived) * 1e3
        try:
            image = image_to_bgr(frame.message)
        except Exception as error:  # a message must never end the node, however it is broken
            reason = _sentence(error)
            camera.counter.malformed(reason)
            self._logger.warning(
                f"malformed image on {camera.topic}: {reason}",
                throttle_duration_sec=LOG_INTERVAL_S,
            )
            return
        camera.checks.observe(image, time.monotonic())
        clock.lap("convert")
        try:
            self._segment_and_publish(camera, frame, image, clock, waiting_ms)
        except Exception as error:  # the next frame may fare better, and /diagnostics tells
            reason = _sentence(error)
            camera.counter.failed(reason)
            self._logger.error(
                f"could not label an image of {camera.topic}: {reason}",
                throttle_duration_sec=LOG_INTERVAL_S,
            )

    def _segment_and_publish(
        self,
        camera: Camera,
        frame: Frame,
        image: np.ndarray,
        clock: StageClock,
        waiting_ms: float,
    ) -> None:
        settings = self._settings()
        header = frame.message.header
        result = self.segmenter(
            image, confidence=camera.wants_confidence(), label_size=settings.label_size
        )
        clock.stages_ms.update(result.timing)
        clock.restart()
        camera.publish_label(header, result.labels)
        latency_ms = (time.perf_counter() - frame.arrived) * 1e3
        if result.confidence is not None:
            camera.publish_confidence(header, result.confidence)
        if camera.wants_overlay():
            overlay = blend(image, result.labels, self.segmenter.class_set, settings.overlay_alpha)
            camera.publish_overlay(header, overlay)
        clock.lap("publish")
        camera.counter.labelled(latency_ms, frame.age_ms)
        counts = camera.counter.now()
        timing = FrameTiming(
            stages_ms=clock.stages_ms,
            waiting_ms=waiting_ms,
            age_on_arrival_ms=frame.age_ms,
            end_to_end_ms=frame.age_ms + latency_ms,
            received=counts.received,
            labelled=counts.labelled,
            dropped=counts.dropped,
            malformed=counts.malformed,
            failed=counts.failed,
            too_old=counts.too_old,
            model=self.segmenter.info.model,
            engine=self.segmenter.engine_name,
        )
        name = self._name_timing(camera.name)
        camera.publish_timing(timing.to_message(header, name, camera.topic))


def _sentence(error: Exception) -> str:
    """Message of an error meant for users; with its type where it was not foreseen."""
    return str(error) if isinstance(error, ErfSegError) else f"{type(error).__name__}: {error}"
