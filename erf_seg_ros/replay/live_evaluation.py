"""Bags through the running node, one model after the other, into the report of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from erf_seg_core.bags import BagReader
from erf_seg_core.bags.find import bag_names
from erf_seg_core.bags.topics import choose_image_topic
from erf_seg_core.checkpoint import find_checkpoint, load_checkpoint, read_info
from erf_seg_core.errors import ErfSegError
from erf_seg_core.replay_evaluation.bag_evaluation import evaluate_bag
from erf_seg_core.replay_evaluation.bag_result import BagResult
from erf_seg_core.replay_evaluation.bag_task import BagTask
from erf_seg_core.replay_evaluation.evaluation import Evaluation, write_results
from erf_seg_core.replay_evaluation.merge import LiveFates, report_contents
from erf_seg_core.replay_evaluation.options import EvaluationOptions, model_folders
from erf_seg_core.replay_evaluation.recorded_labels import recorded_labels
from erf_seg_core.replay_evaluation.result_folder import result_folder
from erf_seg_core.replay_evaluation.truth import open_truth
from erf_seg_core.report.frames import FrameOutcome

from .live_options import LABEL_TOPIC, LiveOptions, refuse_rate
from .live_progress import Listener
from .live_results import LiveRecording
from .live_run import run_live
from .replay_bag import ros_facts


@dataclass(frozen=True)
class _Run:
    """One bag through the node with one model."""

    bag: str
    model: str
    recording: LiveRecording
    result: BagResult


def evaluate_live(
    bags: Sequence[Path],
    options: EvaluationOptions,
    output: Path,
    rate: float,
    listener: Listener,
) -> Evaluation:
    """Play every bag to the node with every model, then score what was recorded.

    The labels of a run are in `output`/MODEL/live, beside its logs. A bag that cannot be played is
    a problem of the report, and the next one is played. Ctrl-C ends it early; models and bags that
    were not played then are missing from the report, which says so.

    Raises:
        ErfSegError: a model or the output cannot be used, or no bag could be played.
        KeyboardInterrupt: interrupted before there was anything to report.

    """
    if options.reference is not None:
        raise ErfSegError("a live evaluation has no reference model: evaluate offline for that")
    refuse_rate(rate)
    for model in options.models:
        load_checkpoint(find_checkpoint(model))  # what no bag can be played without
    names = bag_names(bags)
    with result_folder(output):
        runs, problems, interrupted = _play_all(bags, names, options, output, rate, listener)
        played = {run.model for run in runs}
        models = [m for m, folder in model_folders(options.models).items() if folder in played]
        results = _merged(runs, names, list(model_folders(models).values())) if models else []
        if not results:
            if interrupted:
                raise KeyboardInterrupt
            raise ErfSegError("; ".join(problems))
        options = replace(options, models=tuple(models))
        live = _fates(runs, {result.bag for result in results}, rate)
        partial = "Interrupted: these are the frames until then." if interrupted else ""
        problems += [f"{r.path}: {r.problem}" for r in results if r.problem]
        contents = report_contents(results, options, partial, problems, ros_facts(), live)
        return write_results(output, contents, results, interrupted, live)


def _play_all(
    bags: Sequence[Path],
    names: Sequence[str],
    options: EvaluationOptions,
    output: Path,
    rate: float,
    listener: Listener,
) -> tuple[list[_Run], list[str], bool]:
    """What was played, what could not be, and whether somebody interrupted it."""
    runs: list[_Run] = []
    problems: list[str] = []
    for bag, name in zip(bags, names, strict=True):
        try:
            for model, folder in model_folders(options.models).items():
                place = output / folder / "live" / name.replace("/", "__")
                runs.append(_run(bag, name, model, folder, options, place, rate, listener))
                if runs[-1].recording.interrupted:
                    return runs, problems, True
        except KeyboardInterrupt:
            return runs, problems, True
        except ErfSegError as error:
            listener.problem(f"{bag}: {error}")
            problems.append(f"{bag}: {str(error).splitlines()[0]}")  # without the logs' last lines
    return runs, problems, False


def _run(
    bag: Path,
    name: str,
    model: str,
    folder: str,
    options: EvaluationOptions,
    output: Path,
    rate: float,
    listener: Listener,
) -> _Run:
    with BagReader(bag) as reader:
        topic = choose_image_topic(reader, options.image_topic, options.truth_topic)
        open_truth(reader, name, options)  # says now what is wrong with it, not after the drive
    parameters = {"engine": options.engine, "device": options.device}
    if options.threads is not None:
        parameters["threads"] = options.threads
    live = LiveOptions(bag, topic, output, model, rate, frames=options.limit, parameters=parameters)
    recording = run_live(live, listener)
    listener.stage("scoring", len(recording.frames))
    info = read_info(find_checkpoint(model))
    # Only what was played is read: an interrupted run is shorter than its bag.
    options = replace(options, limit=max(1, len(recording.frames)))
    task = BagTask(bag, name, options, {})
    with recorded_labels(
        recording.labels, LABEL_TOPIC, info, recording.engine, recording.frames
    ) as labels:
        result = evaluate_bag(task, {folder: labels}, on_frame=listener.progress)
    return _Run(name, folder, recording, result)


def _merged(runs: Sequence[_Run], names: Sequence[str], models: Sequence[str]) -> list[BagResult]:
    """One result for each bag that all models saw; of the others nothing could be compared."""
    merged = []
    for name in names:
        of_bag = {run.model: run.result for run in runs if run.bag == name}
        if list(of_bag) != list(models):
            continue
        first = of_bag[models[0]]
        merged.append(
            replace(
                first,
                facts={model: r.facts[model] for model, r in of_bag.items()},
                models={model: r.models[model] for model, r in of_bag.items()},
                worst={model: r.worst[model] for model, r in of_bag.items()},
                shown=[
                    replace(
                        strip,
                        predictions={
                            model: next(
                                (s.predictions[model] for s in r.shown
                                 if s.stamp_ns == strip.stamp_ns), "",
                            )
                            for model, r in of_bag.items()
                        },
                    )
                    for strip in first.shown
                ],
            )
        )  # fmt: skip
    return merged


def _fates(runs: Sequence[_Run], bags: set[str], rate: float) -> LiveFates:
    frames: dict[str, list[FrameOutcome]] = {}
    totals = {}
    for run in runs:
        if run.bag not in bags:
            continue
        named = [replace(frame, bag=run.bag) for frame in run.recording.frames]
        frames.setdefault(run.model, []).extend(named)
        before = totals.get(run.model)
        totals[run.model] = (
            run.recording.totals if before is None else before + run.recording.totals
        )
    return LiveFates(rate, frames, totals)
