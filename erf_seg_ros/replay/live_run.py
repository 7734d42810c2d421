"""A bag through the running node: camera, node and recorder as processes of their own.

As on a vehicle, a frame that the node has no time for is gone. Afterwards every recorded frame is
accounted for: labelled, given up by the node, or lost on the way.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from erf_seg_core.errors import ErfSegError
from erf_seg_ros import dds_profile

from .child_process import ChildProcess
from .domain import PrivateDomain, private_domain
from .events import STOP_PLAYING
from .live_options import LiveOptions, LivePlan
from .live_progress import Listener, LiveProgress
from .live_results import LiveRecording, collect

_LAST_WORDS_S = 0.5
"""Within this time what a process said before it ended is read."""


def run_live(options: LiveOptions, listener: Listener) -> LiveRecording:
    """Play, label, record. Ctrl-C ends it early and keeps what there is.

    Raises `ErfSegError` when the bag or the model cannot be used, or a process failed, and
    `KeyboardInterrupt` when interrupted before there was anything to keep.
    """
    plan = LivePlan.of(options)
    with private_domain() as domain, ExitStack() as cleanup:
        run = _Run(options, plan, domain, listener, cleanup)
        interrupted = run.until_finished()
        run.end()
    if not run.progress.labelled and interrupted:
        raise KeyboardInterrupt
    run.refuse_lost_recording()
    return collect(plan.labels, plan.played_frames, interrupted)


class _Run:
    """The three processes, from start to end."""

    def __init__(
        self,
        options: LiveOptions,
        plan: LivePlan,
        domain: PrivateDomain,
        listener: Listener,
        cleanup: ExitStack,
    ) -> None:
        self._plan = plan
        self._listener = listener
        self.progress = LiveProgress()
        self._events: Queue[dict[str, Any]] = Queue()
        self._dead_since = math.inf
        environment = {**domain.environment, **_log_folder(plan.logs)}
        environment |= dds_profile.environment({**os.environ, **environment})

        def start(name: str, module: str, arguments: list[str]) -> ChildProcess:
            log = plan.logs / f"{name}.log"
            child = ChildProcess(
                name, module, arguments, environment, log, self._events, (domain.lock_fd,)
            )
            cleanup.callback(child.stop)
            return child

        listener.stage(f"starting the node with {options.model}")
        self._node = start("node", "erf_seg_ros.segmentation_node", plan.node)
        self._recorder = start("recorder", "erf_seg_ros.replay.recorder", plan.recorder)
        self._player = start("player", "erf_seg_ros.replay.player", plan.player)

    def until_finished(self) -> bool:
        """Follow the run until every label that will come has come; True if interrupted."""
        interrupted = False
        while not self.progress.finished():
            try:
                self._handle_next_event()
            except KeyboardInterrupt:
                if interrupted or not self.progress.sent:
                    return True  # asked twice, or there is nothing to wait for
                interrupted = True
                self._listener.stage("interrupted, waiting for the labels of the frames sent")
                self._player.signal(STOP_PLAYING)
        return interrupted

    def end(self) -> None:
        """Close the recording, then end the others; the last frame's memory is the player's."""
        self._recorder.stop()
        self._player.stop()
        self._node.stop()

    def refuse_lost_recording(self) -> None:
        """Raise `ErfSegError` unless the recorder closed its bag with all that it had reported."""
        while not self._events.empty():
            self._add(self._events.get())
        status = self._recorder.exit_status
        if status != 0 or self.progress.written != self.progress.recorded:
            raise self._failure(
                f"the recorder (exit status {status}) did not close {self._plan.labels} with the "
                f"{self.progress.recorded} messages that it got: the recording is not whole"
            )

    def _handle_next_event(self) -> None:
        self._refuse_the_dead()
        try:
            event = self._events.get(timeout=0.2)
        except Empty:
            return
        self._add(event)
        if event["event"] == "matched":
            self._listener.stage("playing", self._plan.frames)
        self._listener.progress(self.progress.sent, f"{self.progress.labelled} labelled")

    def _add(self, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            raise self._failure(event["message"])
        self.progress.add(event)

    def _refuse_the_dead(self) -> None:
        """Also while the player goes on sending; but a process may have said why it ended."""
        children = (self._node, self._recorder, self._player)
        dead = [child for child in children if child.exit_status is not None]
        if not dead:
            return
        now = time.monotonic()
        self._dead_since = min(self._dead_since, now)
        if now - self._dead_since > _LAST_WORDS_S:
            child = dead[0]
            raise self._failure(f"the {child.name} ended early, status {child.exit_status}")

    def _failure(self, message: str) -> ErfSegError:
        tails = {
            child.name: child.log_tail() for child in (self._node, self._recorder, self._player)
        }
        logs = "".join(f"\n--- log of the {name}\n{tail}" for name, tail in tails.items() if tail)
        return ErfSegError(message + logs)


def _log_folder(logs: Path) -> dict[str, str]:
    """Where ROS keeps its own logs, unless the user says: HOME need not be writable."""
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return {}
    return {"ROS_LOG_DIR": str(logs.absolute() / "ros")}
