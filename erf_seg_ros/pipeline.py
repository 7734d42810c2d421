"""The path of a frame through the node: newest message in, labels and timing out.

A pipeline exists while the node is configured; frames flow between `start` and `stop`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.impl.rcutils_logger import RcutilsLogger

from erf_seg_core.errors import EngineError, in_words
from erf_seg_core.overlay import blend

from .camera import Camera, Frame
from .messages import image_to_bgr
from .network_host import NetworkHost, Options
from .newest_frames import NewestFrames
from .parameters import Settings
from .timing import FrameTiming, StageClock

if TYPE_CHECKING:  # its import costs seconds, which only `on_configure` is to spend
    from erf_seg_core.inference import Segmentation, Segmenter

LOG_INTERVAL_S = 5.0
"""A broken camera repeats its fault with every frame; the log needs it once in a while."""


@dataclass(frozen=True)
class _Job:
    """A frame whose message could be read; `image` is H×W×3 uint8 BGR."""

    camera: Camera
    frame: Frame
    image: np.ndarray
    clock: StageClock
    waiting_ms: float


class Pipeline:
    """Receives frames of several cameras and labels them on one worker thread.

    Frames that wait at the same time share a batch where the device gains from that. Elsewhere
    they are labelled one by one, the camera that was served longest ago first: each label goes
    out as soon as it is there, and the next camera's frame may still be replaced by a newer one.
    """

    def __init__(
        self,
        host: NetworkHost,
        cameras: Sequence[Camera],
        settings: Callable[[], Settings],
        logger: RcutilsLogger,
        name_timing: Callable[[str], str],
    ) -> None:
        """Take over `host` and `cameras`; `settings` is asked anew for each batch."""
        self.cameras = tuple(cameras)
        self.host = host
        self._settings = settings
        self._logger = logger
        self._name_timing = name_timing
        self._by_name = {camera.name: camera for camera in cameras}
        self._frames: NewestFrames[Frame] = NewestFrames(self._by_name)
        self._stopping = threading.Event()
        self._worker: threading.Thread | None = None
        self.announce(host.segmenter)

    @property
    def running(self) -> bool:
        """Whether frames flow."""
        return self._worker is not None

    def start(self) -> None:
        """Subscribe and begin to label."""
        self._frames = NewestFrames(self._by_name)
        self._stopping.clear()
        self.host.revive()
        # A daemon, so that a network stuck in its device cannot keep the process from ending.
        self._worker = threading.Thread(target=self._work, name="labelling", daemon=True)
        self._worker.start()
        # One group, so that frames are stored in the order of their arrival. A new one each time:
        # Humble's rclpy never frees the group of a subscription that ends while it is served.
        group = MutuallyExclusiveCallbackGroup()
        for camera in self.cameras:
            camera.open(self._settings(), self._receive, group)

    def stop(self, timeout: float | None = None) -> bool:
        """Unsubscribe, finish the batch in hand; False if that took longer than `timeout` s."""
        self._stopping.set()
        for camera in self.cameras:
            camera.close()
        for name in self._frames.close():
            self._by_name[name].counter.dropped()
        worker = self._worker  # at the end of the process two threads may stop, and one forgets it
        if worker is not None:
            worker.join(timeout)
            if worker.is_alive():
                return False
        self._worker = None
        return True

    def exchange(self, options: Options) -> None:
        """Go on with another network, see `NetworkHost.exchange`; raises if it does not load."""
        self.host.exchange(options, self.announce)

    def announce(self, segmenter: Segmenter) -> None:
        """Tell what the labels of all cameras mean from now on."""
        for camera in self.cameras:
            camera.announce(segmenter.class_set, self._settings().confidence_threshold)

    def destroy(self) -> None:
        """Give topics and network back; the pipeline must have stopped."""
        for camera in self.cameras:
            camera.destroy()
        self.host.close()

    def _receive(self, camera: Camera, frame: Frame) -> None:
        # Runs in the executor: anything slow here would age every later frame.
        if frame.is_older_than(self._settings().max_age):
            camera.counter.too_old()
            return
        camera.counter.received(one_lost=self._frames.put(camera.name, frame))

    def _work(self) -> None:
        while not self._frames.closed:
            most = None if self.host.segmenter.gains_from_batches else 1
            taken = self._frames.take(most=most)
            jobs = [self._read(self._by_name[name], frame) for name, frame in taken.items()]
            self._label([job for job in jobs if job is not None])

    def _read(self, camera: Camera, frame: Frame) -> _Job | None:
        """Bring a message into the form that is labelled; None for a malformed one."""
        clock = StageClock()
        waiting_ms = (time.perf_counter() - frame.arrived) * 1e3
        try:
            image = image_to_bgr(frame.message)
            camera.checks.observe(image, time.monotonic())
        except Exception as error:  # a message must never end the node, however it is broken
            reason = in_words(error)
            camera.counter.malformed(reason)
            self._logger.warning(
                f"malformed image on {camera.topic}: {reason}",
                throttle_duration_sec=LOG_INTERVAL_S,
            )
            return None
        clock.lap("convert")
        return _Job(camera, frame, image, clock, waiting_ms)

    def _label(self, jobs: Sequence[_Job]) -> None:
        """Label a batch; what goes wrong costs these frames and no others."""
        if not jobs:
            return
        settings = self._settings()
        try:
            with self.host.turn() as segmenter:
                labelled = self._segment(segmenter, jobs, settings)
                for job, result in labelled:
                    self._publish(segmenter, job, result, settings, len(labelled))
        except EngineError as error:
            for job in jobs:
                self._count_failure(job, error)
            self.host.recover(error, settings.fallback == "cpu", self._stopping)
        except Exception as error:  # there is no network any more, and /diagnostics tells
            for job in jobs:
                self._count_failure(job, error)

    def _segment(
        self, segmenter: Segmenter, jobs: Sequence[_Job], settings: Settings
    ) -> list[tuple[_Job, Segmentation]]:
        """Label all in one batch; one by one if some image spoils that, to find out which."""
        try:
            results = segmenter.batch(
                [job.image for job in jobs],
                confidence=any(job.camera.wants_confidence() for job in jobs),
                label_size=settings.label_size,
                min_confidence=settings.confidence_threshold,
            )
            return list(zip(jobs, results, strict=True))
        except EngineError:
            raise
        except Exception as error:  # the next image may fare better
            if len(jobs) > 1:
                return [pair for job in jobs for pair in self._segment(segmenter, [job], settings)]
            self._count_failure(jobs[0], error)
            return []

    def _publish(
        self,
        segmenter: Segmenter,
        job: _Job,
        result: Segmentation,
        settings: Settings,
        batch: int,
    ) -> None:
        job.clock.stages_ms.update(result.timing)
        job.clock.restart()
        try:
            job.camera.publish_label(job.frame.message.header, result.labels)
        except Exception as error:
            self._count_failure(job, error)
            return
        latency_ms = (time.perf_counter() - job.frame.arrived) * 1e3
        with self._beside_the_label(job.camera):
            self._publish_rest(segmenter, job, result, settings)
        job.clock.lap("publish")
        job.camera.counter.labelled(latency_ms, job.frame.age_ms)
        with self._beside_the_label(job.camera):
            self._publish_timing(segmenter, job, latency_ms, batch)

    @contextmanager
    def _beside_the_label(self, camera: Camera) -> Iterator[None]:
        """What goes wrong here is logged: the label is out, and that is what counts."""
        try:
            yield
        except Exception as error:
            self._logger.error(
                f"a label of {camera.topic} goes without its other outputs: {in_words(error)}",
                throttle_duration_sec=LOG_INTERVAL_S,
            )

    def _publish_rest(
        self, segmenter: Segmenter, job: _Job, result: Segmentation, settings: Settings
    ) -> None:
        camera, header = job.camera, job.frame.message.header
        camera.publish_camera_info(header, result.labels.shape)
        if result.confidence is not None and camera.wants_confidence():
            camera.publish_confidence(header, result.confidence)
        if camera.wants_overlay():
            overlay = blend(job.image, result.labels, segmenter.class_set, settings.overlay_alpha)
            camera.publish_overlay(header, overlay)

    def _publish_timing(
        self, segmenter: Segmenter, job: _Job, latency_ms: float, batch: int
    ) -> None:
        camera = job.camera
        counts = camera.counter.now()
        timing = FrameTiming(
            stages_ms=job.clock.stages_ms,
            waiting_ms=job.waiting_ms,
            age_on_arrival_ms=job.frame.age_ms,
            end_to_end_ms=job.frame.age_ms + latency_ms,
            received=counts.received,
            labelled=counts.labelled,
            dropped=counts.dropped,
            malformed=counts.malformed,
            failed=counts.failed,
            too_old=counts.too_old,
            model=segmenter.info.model,
            engine=segmenter.engine_name,
            batch=batch,
        )
        name = self._name_timing(camera.name)
        camera.publish_timing(timing.to_message(job.frame.message.header, name, camera.topic))

    def _count_failure(self, job: _Job, error: Exception) -> None:
        reason = in_words(error)
        job.camera.counter.failed(reason)
        self._logger.error(
            f"could not label an image of {job.camera.topic}: {reason}",
            throttle_duration_sec=LOG_INTERVAL_S,
        )
