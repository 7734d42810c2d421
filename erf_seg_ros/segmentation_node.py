"""The node: a lifecycle and parameters around the pipeline.

    ros2 run erf_seg_ros segmentation_node --ros-args -p model:=dg4 -r image:=/camera/image_raw

Topics, parameters and what they mean are listed in the README.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter

from erf_seg_core.errors import in_words
from erf_seg_core.freed_memory import return_freed_memory

from .camera import Camera, make_cameras
from .diagnostics import diagnostic_name
from .executor import AsideExecutor
from .lifecycle import SteadyLifecycleNode, transition
from .nav2_bond import Nav2Bond
from .network_host import NetworkHost, Options
from .node_diagnostics import NodeDiagnostics
from .parameters import (
    NAMES,
    Applies,
    Settings,
    change_refusal,
    concerns_network,
    declare_class_parameters,
    declare_parameters,
    parameter_values,
    read_settings,
    undeclare_class_parameters,
)
from .pipeline import Pipeline
from .start import init_ros, warn_of_misspelled_parameters
from .stop_signal import StopSignal

if TYPE_CHECKING:  # its import costs seconds, which only `on_configure` is to spend
    from erf_seg_core.inference import Segmenter

NODE_NAME = "segmentation"

DIAGNOSTICS_PERIOD_S = 1.0
GOODBYE_S = 0.7
"""How long the frame in hand may take once the process is asked to end: people wait a second."""

SIGNAL_LATENCY_S = 0.1
"""How long a signal may wait for the executor to look up when nothing arrives."""

BAD_PARAMETER_STATUS = 2


class SegmentationNode(SteadyLifecycleNode):
    """Lifecycle node that labels camera images; see `Pipeline` for what happens to a frame."""

    def __init__(self, stop: StopSignal) -> None:
        """Declare parameters and begin to publish diagnostics; the network waits for configure."""
        super().__init__(NODE_NAME)
        self._stop = stop
        self._pipeline: Pipeline | None = None
        self._settings: Settings | None = None
        self._bond: Nav2Bond | None = None
        self._finalized = False
        declare_parameters(self)
        warn_of_misspelled_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = NodeDiagnostics(self)
        # Not ROS time: a paused /clock is no reason to fall silent.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(
            DIAGNOSTICS_PERIOD_S,
            self._publish_diagnostics,
            clock=self._steady,
        )
        # What may load a network, one at a time; rclpy has no other way to choose its group.
        self.control = MutuallyExclusiveCallbackGroup()
        for service in self.services:
            if service.srv_type in (ChangeState, SetParameters, SetParametersAtomically):
                service.callback_group = self.control
                self.control.add_entity(service)
        self._start = self.create_timer(
            0.0, self._autostart, callback_group=self.control, clock=self._steady
        )

    @property
    def state_label(self) -> str:
        """Lifecycle state, as `ros2 lifecycle get` names it."""
        if self._finalized:
            return "finalized"
        pipeline = self._pipeline
        if pipeline is None:
            return "unconfigured"
        return "active" if pipeline.running else "inactive"

    def _autostart(self) -> None:
        """Configure and activate, unless the parameter says not to.

        After a failure, which is logged, the node stays up so that it can be told better.
        """
        self._start.cancel()
        if not self.get_parameter("autostart").value:
            self.get_logger().info("waiting to be configured (autostart is false)")
        elif self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and warm it up, create the outputs."""
        started = time.perf_counter()
        try:
            self._settings = read_settings(self)
            self._pipeline = self._build_pipeline(self._settings)
        except Exception as error:  # out of memory, no driver, …: as an answer, not as the end
            self._settings = None
            undeclare_class_parameters(self)
            return self._fail("cannot configure", error)
        self.failure = ""
        self.get_logger().info(
            f"configured in {time.perf_counter() - started:.1f} s: {self._network_in_words()}"
        )
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to label."""
        try:
            self._pipeline.start()
        except Exception as error:
            self._pipeline.stop()
            return self._fail("cannot activate", error)
        self.failure = ""
        self._diagnostics.watch(self._pipeline.cameras)
        self._begin_bond()
        topics = ", ".join(camera.topic for camera in self._pipeline.cameras)
        self.get_logger().info(f"active, labelling {topics}")
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the frame in hand."""
        self._end_bond()
        self._pipeline.stop()
        self._diagnostics.watch(())
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the network's memory and the topics back."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End for good, from whatever state."""
        self._release()
        self._finalized = True
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start over, unconfigured."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def finish(self) -> None:
        """Stop before the process ends, but wait only so long for the frame in the network."""
        self._end_bond()
        pipeline = self._pipeline  # a transition, in its thread, may take it away
        if pipeline is not None:
            pipeline.stop(timeout=GOODBYE_S)

    def destroy_node(self) -> None:
        """Take the node off the network at once, without waiting for Python to collect it."""
        super().destroy_node()
        # rclpy leaves this one to the garbage collector, and with it the DDS participant.
        self._state_machine.destroy_when_not_in_use()

    def _build_pipeline(self, settings: Settings) -> Pipeline:
        host = NetworkHost(self._load_network, settings.network_options(), self.get_logger())
        cameras: list[Camera] = []
        try:
            declare_class_parameters(self, host.segmenter.class_set)
            cameras = make_cameras(self, settings.cameras)
            return Pipeline(
                host, cameras, lambda: self._settings, self.get_logger(), self._timing_name
            )
        except Exception:
            for camera in cameras:
                camera.destroy()
            host.close()
            raise

    def _load_network(self, options: Options) -> Segmenter:
        """Load a network and let it run, so that it is known to work and no frame pays for it."""
        from erf_seg_core import load_segmenter  # imports PyTorch, see parameter_specs

        segmenter = load_segmenter(**options)
        try:
            segmenter.warm_up(largest_batch=len(self._settings.cameras))
        except Exception:
            segmenter.close()
            raise
        return segmenter

    def _begin_bond(self) -> None:
        try:
            self._bond = Nav2Bond(self, self._settings.bond_heartbeat_period)
        except Exception as error:  # labels matter more
            self.get_logger().error(f"no bond with the lifecycle manager: {in_words(error)}")

    def _end_bond(self) -> None:
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.end()

    def _release(self) -> None:
        self._end_bond()
        if self._pipeline is not None:
            self._pipeline.stop()
            self._pipeline.destroy()
        self._pipeline = None
        self._settings = None
        undeclare_class_parameters(self)
        return_freed_memory()

    def _fail(self, what: str, error: Exception) -> TransitionCallbackReturn:
        self.failure = f"{what}: {in_words(error)}"
        if not self._stop.raised:  # at the end everything is taken away at once
            self.get_logger().error(self.failure)
        return TransitionCallbackReturn.FAILURE

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        in_use = set()
        if self._pipeline is not None:
            in_use.add(Applies.ON_CONFIGURE)
            if self._pipeline.running:
                in_use.add(Applies.ON_ACTIVATE)
        changes = {p.name: p.value for p in parameters if p.name in NAMES}
        try:
            for name, value in changes.items():
                old = self.get_parameter(name).value if self.has_parameter(name) else None
                if refusal := change_refusal(name, old, value, in_use):
                    return SetParametersResult(successful=False, reason=refusal)
            if changes and self._pipeline is not None:
                settings = Settings.from_values({**parameter_values(self), **changes})
                self._apply(settings, changes)
        except Exception as error:  # whatever loading a network comes up with
            reason = f"{' and '.join(changes)} cannot change: {in_words(error)}"
            self.get_logger().error(reason)
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _apply(self, settings: Settings, changed: Iterable[str]) -> None:
        """Work with `settings` from now on, with another network if that takes one."""
        old, threshold = self._pipeline.host.segmenter, self._settings.confidence_threshold
        started = time.perf_counter()
        if concerns_network(changed):
            self._pipeline.exchange(settings.network_options())
        self._settings = settings
        new = self._pipeline.host.segmenter
        if new is not old:
            undeclare_class_parameters(self)
            declare_class_parameters(self, new.class_set)
            seconds = time.perf_counter() - started
            self.get_logger().info(f"exchanged in {seconds:.1f} s: {self._network_in_words()}")
        if settings.confidence_threshold != threshold:
            self._pipeline.announce(new)

    def _publish_diagnostics(self) -> None:
        # A transition may take pipeline and topics away at this very moment.
        with suppress(InvalidHandle):
            self._diagnostics.publish(
                self.state_label, self.failure, self._pipeline, self._settings
            )

    def _timing_name(self, camera: str) -> str:
        task = f"timing {camera}".rstrip()
        return diagnostic_name(self.get_namespace(), self.get_name(), task)

    def _network_in_words(self) -> str:
        segmenter = self._pipeline.host.segmenter
        height, width = segmenter.input_size
        return (
            f"{segmenter.info.model} ({segmenter.class_set.name}) at {height}×{width} "
            f"with {segmenter.engine_name} in {segmenter.precision} on {segmenter.device}"
        )


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until Ctrl-C or SIGTERM, then end the process.

    The exit status is 0, or 2 for unusable arguments or start parameters.
    """
    stop = StopSignal()
    stop.install()
    if not init_ros(args, NODE_NAME):
        sys.exit(BAD_PARAMETER_STATUS)
    status = _run(stop)
    rclpy.try_shutdown()
    if status == 0:
        sys.stdout.flush()
        # What is left is to unload PyTorch, which takes Python up to a second on a busy machine,
        # and which crashes if a frame is still in the network.
        os._exit(0)
    sys.exit(status)


def _run(stop: StopSignal) -> int:
    """Spin the node until it is to stop, and leave no thread behind; returns the exit status."""
    try:
        node = SegmentationNode(stop)
    except ParameterException as error:
        get_logger(NODE_NAME).fatal(f"cannot start: {error}")
        return BAD_PARAMETER_STATUS
    executor = AsideExecutor(node.control)
    executor.add_node(node)
    while rclpy.ok() and not stop.raised:
        executor.spin_once(timeout_sec=SIGNAL_LATENCY_S)
    executor.shutdown(timeout_sec=0)  # a network may be loading: do not wait for it
    for farewell in (node.finish, node.destroy_node):
        with suppress(Exception):  # a transition may be taking away the same things
            farewell()
    return 0


if __name__ == "__main__":
    main()
