"""The node: a lifecycle and parameters around the pipeline.

    ros2 run erf_seg_ros segmentation_node --ros-args -p model:=dg4 -r image:=/camera/image_raw

Topics, parameters and what they mean are listed in the README.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from erf_seg_core.errors import ErfSegError

from .camera import make_cameras
from .diagnostics import diagnostic_name
from .node_diagnostics import NodeDiagnostics
from .parameters import (
    Applies,
    Settings,
    change_refusal,
    declare_class_parameters,
    declare_parameters,
    parameter_values,
    read_settings,
    undeclare_class_parameters,
)
from .pipeline import Pipeline
from .stop_signal import StopSignal

NODE_NAME = "segmentation"

DIAGNOSTICS_PERIOD_S = 1.0
GOODBYE_S = 0.7
"""How long the frame in hand may take once the process is asked to end: people wait a second."""

SIGNAL_LATENCY_S = 0.1
"""How long a signal may wait for the executor to look up when nothing arrives."""

BAD_PARAMETER_STATUS = 2


class SegmentationNode(LifecycleNode):
    """Lifecycle node that labels camera images; see `Pipeline` for what happens to a frame."""

    def __init__(self, stop: StopSignal) -> None:
        """Declare parameters and begin to publish diagnostics; the network waits for configure.

        `stop` may interrupt the loading of the network.
        """
        super().__init__(NODE_NAME)
        self._stop = stop
        self._pipeline: Pipeline | None = None
        self._settings: Settings | None = None
        self._failure = ""
        self._finalized = False
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = NodeDiagnostics(self)
        # Not ROS time: a paused /clock is no reason to fall silent.
        self.create_timer(
            DIAGNOSTICS_PERIOD_S,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    @property
    def state_label(self) -> str:
        """Lifecycle state, as `ros2 lifecycle get` names it."""
        if self._finalized:
            return "finalized"
        if self._pipeline is None:
            return "unconfigured"
        return "active" if self._pipeline.running else "inactive"

    def autostart(self) -> None:
        """Configure and activate, unless the parameter says not to.

        After a failure, which is logged, the node stays up so that it can be told better.
        """
        if not self.get_parameter("autostart").value:
            self.get_logger().info("waiting to be configured (autostart is false)")
        elif self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and warm it up, create the outputs."""
        started = time.perf_counter()
        try:
            with self._stop.interruptible():
                self._settings = read_settings(self)
                self._pipeline = self._build_pipeline(self._settings)
        except KeyboardInterrupt:
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # out of memory, no driver, …: as an answer, not as the end
            self._settings = None
            undeclare_class_parameters(self)
            return self._fail("cannot configure", error)
        self._failure = ""
        self.get_logger().info(
            f"configured in {time.perf_counter() - started:.1f} s: {self._network_in_words()}"
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to label."""
        try:
            self._pipeline.start()
        except Exception as error:
            self._pipeline.stop()
            return self._fail("cannot activate", error)
        self._failure = ""
        self._diagnostics.watch(self._pipeline.cameras)
        topics = ", ".join(camera.topic for camera in self._pipeline.cameras)
        self.get_logger().info(f"active, labelling {topics}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the frame in hand."""
        self._pipeline.stop()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the network's memory and the topics back."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End for good, from whatever state."""
        self._release()
        self._finalized = True
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start over, unconfigured."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def finish(self) -> None:
        """Stop before the process ends, but wait only so long for the frame in the network."""
        if self._pipeline is not None:
            self._pipeline.stop(timeout=GOODBYE_S)

    def destroy_node(self) -> None:
        """Take the node off the network at once, without waiting for Python to collect it."""
        super().destroy_node()
        # rclpy leaves this one to the garbage collector, and with it the DDS participant.
        self._state_machine.destroy_when_not_in_use()

    def _build_pipeline(self, settings: Settings) -> Pipeline:
        from erf_seg_core import load_segmenter  # imports PyTorch, see parameters._model_refusal

        segmenter = load_segmenter(
            settings.model,
            device=settings.device,
            engine=settings.engine,
            input_size=settings.input_size,
            threads=settings.threads,
        )
        segmenter.warm_up()
        declare_class_parameters(self, segmenter.class_set)
        cameras = make_cameras(self, settings.cameras, segmenter.class_set)
        return Pipeline(
            segmenter, cameras, lambda: self._settings, self.get_logger(), self._timing_name
        )

    def _release(self) -> None:
        if self._pipeline is not None:
            self._pipeline.stop()
            self._pipeline.destroy()
        self._pipeline = None
        self._settings = None
        undeclare_class_parameters(self)

    def _fail(self, what: str, error: Exception) -> TransitionCallbackReturn:
        reason = (
            str(error) if isinstance(error, ErfSegError) else f"{type(error).__name__}: {error}"
        )
        self._failure = f"{what}: {reason}"
        self.get_logger().error(self._failure)
        return TransitionCallbackReturn.FAILURE

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        in_use = set()
        if self._pipeline is not None:
            in_use.add(Applies.ON_CONFIGURE)
            if self._pipeline.running:
                in_use.add(Applies.ON_ACTIVATE)
        changes = {p.name: p.value for p in parameters}
        for name, value in changes.items():
            old = self.get_parameter(name).value if self.has_parameter(name) else None
            if refusal := change_refusal(name, old, value, in_use):
                return SetParametersResult(successful=False, reason=refusal)
        if self._settings is not None:
            self._settings = Settings.from_values({**parameter_values(self), **changes})
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        self._diagnostics.publish(self.state_label, self._failure, self._pipeline, self._settings)

    def _timing_name(self, camera: str) -> str:
        task = f"timing {camera}".rstrip()
        return diagnostic_name(self.get_namespace(), self.get_name(), task)

    def _network_in_words(self) -> str:
        segmenter = self._pipeline.segmenter
        height, width = segmenter.input_size
        return (
            f"{segmenter.info.model} ({segmenter.class_set.name}) at {height}×{width} "
            f"with {segmenter.engine_name} on {segmenter.device}"
        )


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until Ctrl-C or SIGTERM, then end the process.

    The exit status is 0, or 2 for unusable start parameters.
    """
    stop = StopSignal()
    stop.install()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
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
    node.autostart()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok() and not stop.raised:
            executor.spin_once(timeout_sec=SIGNAL_LATENCY_S)
    except ExternalShutdownException:
        pass
    executor.shutdown()
    node.finish()
    node.destroy_node()
    return 0


if __name__ == "__main__":
    main()
