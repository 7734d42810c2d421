"""What the node tells `/diagnostics` about itself and each of its cameras."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from erf_seg_core.errors import ErfSegError

from . import dds_profile
from .camera import Camera
from .conditions import Level, Limits, Verdict
from .diagnostics import diagnostic_name, to_status
from .health import CameraHealth, Sight
from .parameters import Settings

if TYPE_CHECKING:
    from .pipeline import Pipeline


class NodeDiagnostics:
    """Publisher of one message a second; `heartbeat` in it counts them, for watchdogs."""

    def __init__(self, node: Node) -> None:
        """Create the publisher."""
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._heartbeat = 0
        self._health: dict[str, CameraHealth] = {}
        self._cure = _cure()

    def watch(self, cameras: Iterable[Camera]) -> None:
        """Expect images of `cameras` from now on."""
        now = time.monotonic()
        self._health = {
            camera.name: CameraHealth(camera.topic, now, camera.counter.now()) for camera in cameras
        }

    def publish(
        self,
        state: str,
        failure: str,
        pipeline: Pipeline | None,
        settings: Settings | None,
    ) -> None:
        """Say how things are; `failure` is why the node is not in the state that was asked for."""
        self._heartbeat += 1
        message = DiagnosticArray(status=[self._node_status(state, failure, pipeline)])
        watched = self._health  # deactivation, in another thread, puts an empty one in its place
        if pipeline is not None and settings is not None and pipeline.running:
            limits = Limits(settings.stale_after, settings.bad_image_after)
            for camera in pipeline.cameras:
                if camera.name in watched:  # or activation is not complete
                    health = watched[camera.name]
                    message.status.extend(self._camera_statuses(camera, health, limits))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _node_status(self, state: str, failure: str, pipeline: Pipeline | None) -> DiagnosticStatus:
        values = {"lifecycle_state": state, "heartbeat": str(self._heartbeat)}
        device, engine = "none", Verdict(Level.OK, "")
        if pipeline is not None:
            segmenter, engine = pipeline.host.segmenter, pipeline.host.verdict
            device = segmenter.device
            height, width = segmenter.input_size
            values.update(
                model=segmenter.info.model,
                class_set=segmenter.class_set.name,
                engine=segmenter.engine_name,
                precision=segmenter.precision,
                device=device,
                input_size=f"{height}x{width}",
                **engine.values,
            )
        level = Level.ERROR if failure else engine.level
        message = "; ".join(filter(None, (failure, engine.message))) or state
        return self._status("node", Verdict(level, message, values), device)

    def _camera_statuses(
        self, camera: Camera, health: CameraHealth, limits: Limits
    ) -> list[DiagnosticStatus]:
        """One status for the camera as a whole, then one for each condition."""
        cure, cure_values = self._cure
        sight = Sight(
            counts=camera.counter.now(),
            picture=camera.checks.state,
            unheard=tuple(camera.incompatible_publishers()),
            cure=cure,
            cure_values=cure_values,
        )
        report = health.judge(time.monotonic(), sight, limits)
        task = f"camera {camera.name}".rstrip()
        return [
            self._status(task, report.summary, camera.topic),
            *(
                self._status(f"{task}: {name}", verdict, camera.topic)
                for name, verdict in report.conditions.items()
            ),
        ]

    def _status(self, task: str, verdict: Verdict, hardware_id: str) -> DiagnosticStatus:
        name = diagnostic_name(self._node.get_namespace(), self._node.get_name(), task)
        return to_status(verdict, name, hardware_id)


def _cure() -> tuple[str, dict[str, str]]:
    """What saves images that get lost on the way: for people, and as keys and values."""
    reliable = "set input_reliability to reliable"
    if "fastrtps" not in get_rmw_implementation_identifier():
        return f"{reliable} or give the middleware larger buffers", {}
    try:
        file = str(dds_profile.path())
    except ErfSegError as error:
        return f"{reliable} ({error})", {}
    variable = dds_profile.variable()
    sentence = (
        f"start the publisher with {variable}={file} in its environment "
        "(its shared-memory segment is too small for such images; a container of Docker also "
        f"needs --shm-size=512m), or {reliable}"
    )
    return sentence, {"cure_variable": variable, "cure_file": file}
