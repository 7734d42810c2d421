"""One bag through the node, and the report of it: what `erf_seg bag replay` and the demo share."""

from __future__ import annotations

import os
from importlib import metadata

from rclpy.utilities import get_rmw_implementation_identifier

from erf_seg_core.checkpoint import CheckpointInfo, find_checkpoint, load_checkpoint
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.replay_evaluation.result_folder import RESULT_FILES, result_folder
from erf_seg_core.report.replay_report import VIDEO_FILE, Replay, Truth, report_replay
from erf_seg_core.report.summary import ReplaySummary

from .live_options import LABEL_TOPIC, LiveOptions
from .live_progress import Listener
from .live_results import LiveRecording
from .live_run import run_live


def replay_bag(
    options: LiveOptions, listener: Listener, truth: Truth, video: bool = True
) -> ReplaySummary:
    """Run live, then write the report into `options.output`.

    Raises `ErfSegError` when bag, model or output cannot be used. Ctrl-C keeps what there is;
    `KeyboardInterrupt` comes out only if that is nothing.
    """
    model, _ = load_checkpoint(find_checkpoint(options.model))
    load_class_set(truth.class_set)  # unknown: said before the drive is played
    files = (*RESULT_FILES, VIDEO_FILE) if video else RESULT_FILES
    with result_folder(options.output, files):
        recording = run_live(options, listener)
        listener.stage("scoring and drawing", len(recording.frames))
        replay = _replay(options, model, recording)
        return report_replay(replay, options.output, truth, video, listener.progress)


def _replay(options: LiveOptions, model: CheckpointInfo, recording: LiveRecording) -> Replay:
    return Replay(
        bag=options.bag,
        image_topic=options.image_topic,
        labels=recording.labels,
        label_topic=LABEL_TOPIC,
        model=model,
        engine=recording.engine,
        frames=recording.frames,
        totals=recording.totals,
        played_at=options.rate,
        lateness_ms=recording.lateness_ms,
        interrupted=recording.interrupted,
        environment=ros_facts(),
    )


def ros_facts() -> dict[str, str]:
    """Distribution and middleware, for reports."""
    distribution = os.environ.get("ROS_DISTRO", "")
    if not distribution:
        try:
            distribution = f"rclpy {metadata.version('ros-rclpy')} from PyPI"
        except metadata.PackageNotFoundError:
            distribution = "unknown"
    return {"ROS 2": distribution, "middleware": get_rmw_implementation_identifier()}
