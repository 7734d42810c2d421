"""Results of many bags put together, in the order of the bags: sums of counts, so always the same.

What comes out is what the report is made from.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checkpoint import CheckpointInfo, find_checkpoint, load_checkpoint
from ..evaluation.boundary import BoundaryScore
from ..evaluation.calibration import Calibration
from ..evaluation.flicker import TemporalConsistency
from ..evaluation.frame_scores import FrameScores
from ..evaluation.over_time import frame_miou
from ..machine import machine_facts
from ..report.contents import ModelResult, ReportContents
from ..report.frames import NS_PER_S, Fate, FrameOutcome, FrameTotals
from ..report.pictures import Strip, spread
from .bag_result import BagResult
from .frame_pictures import WORST
from .frame_table import FrameTable
from .labelled_frame import network_ms
from .newest_first import would_be_dropped
from .notes import damaged_note, scores_note
from .options import EvaluationOptions, model_folders
from .round_scoring import SHOWN


@dataclass(frozen=True)
class LiveFates:
    """What became of the frames of a live run, by model: every frame played, and the sums."""

    played_at: float
    frames: Mapping[str, Sequence[FrameOutcome]]
    totals: Mapping[str, FrameTotals]


def report_contents(
    results: Sequence[BagResult],
    options: EvaluationOptions,
    partial: str,
    problems: Sequence[str],
    environment: Mapping[str, str],
    live: LiveFates | None = None,
) -> ReportContents:
    """The whole evaluation; `partial` and `problems` say what is missing from it."""
    models = []
    for model, name in model_folders(options.models).items():
        info, _ = load_checkpoint(find_checkpoint(model))
        result = _model_result(name, info, results)
        models.append(result if live is None else _with_fates(result, live))
    return ReportContents(
        bags=[result.path for result in results],
        image_topic=", ".join(dict.fromkeys(result.image_topic for result in results)),
        image_size=results[0].image_size,
        rate_hz=_rate_hz(results),
        live=live is not None,
        played_at=1.0 if live is None else live.played_at,
        models=models,
        truth=_truth_in_words(options),
        reference=find_checkpoint(options.reference).stem if options.reference else "",
        limit=_limit(results, options),
        scores_note=scores_note(results, [model.name for model in models]),
        damaged=damaged_note(results),
        strips=_spread_strips(results),
        partial=partial,
        problems=problems,
        machine={**machine_facts(), **environment},
        created=time.strftime("%Y-%m-%d %H:%M %Z"),
    )


def frame_scores(
    name: str, class_names: Sequence[str], results: Sequence[BagResult]
) -> FrameScores:
    """Rows of one model over all bags; frames without truth have a confusion of zeros."""
    tables = [result.models[name].table for result in results]
    classes = len(class_names)
    confusion = np.zeros((sum(map(len, tables)), classes, classes + 1), np.int32)
    confusion[np.concatenate([t.scored for t in tables])] = np.concatenate(
        [table.confusion for table in tables]
    )
    return FrameScores(
        tuple(class_names),
        np.repeat([result.bag for result in results], [len(t) for t in tables]),
        np.concatenate([table.stamps_ns for table in tables]),
        confusion,
        np.concatenate([table.latency_ms for table in tables]),
    )


def write_frames_csv(
    path: Path, results: Sequence[BagResult], live: LiveFates | None = None
) -> None:
    """One row for each bag, frame and model; empty where there is nothing to say."""
    times = list(
        dict.fromkeys(name for r in results for m in r.models.values() for name in m.table.times_ms)
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        names = ["bag", "frame", "stamp_ns", "model", "fate"]
        measured = ["would_drop", "miou", "boundary_f", "flicker"]
        rows.writerow([*names, *(f"{name}_ms" for name in times), *measured])
        for result in results:
            for model in result.models:
                rows.writerows(_rows_of(result, model, times))
                for frame in [] if live is None else live.frames[model]:
                    if frame.bag == result.bag and frame.fate is Fate.MISSING:
                        rows.writerow([frame.bag, "", frame.stamp_ns, model, frame.fate.value])


def _rows_of(result: BagResult, model: str, times: Sequence[str]) -> list[list[object]]:
    table = result.models[model].table
    miou = np.full(len(table), np.nan)
    miou[table.scored] = frame_miou(table.confusion)
    would_drop = [""] * len(table)  # of a live run, nothing is a matter of would
    if "total" in table.times_ms:
        would_drop = would_be_dropped(table.stamps_ns, table.latency_ms).astype(int).tolist()
    missing = np.full(len(table), np.nan)
    columns = [table.times_ms.get(name, missing) for name in times]
    return [
        [
            result.bag,
            table.index[i],
            table.stamps_ns[i],
            model,
            Fate.LABELLED.value,
            *(_text(column[i], 3) for column in columns),
            would_drop[i],
            *(_text(values[i], 6) for values in (miou, table.boundary, table.flicker)),
        ]
        for i in range(len(table))
    ]


def _model_result(name: str, info: CheckpointInfo, results: Sequence[BagResult]) -> ModelResult:
    counts = [result.models[name] for result in results]
    classes = info.class_set
    boundary, calibration = BoundaryScore(classes.num_classes), Calibration()
    flicker = TemporalConsistency()
    for part in counts:
        boundary.counts += part.boundary
        calibration.counts += part.calibration
    scored = any(part.table.scored.any() for part in counts)
    # Two measures: the drive's own changes count only where there is no truth to leave them out by.
    for changed, compared in (part.flicker[int(scored)] for part in counts):
        flicker.changed += int(changed)
        flicker.compared += int(compared)
    drops = [would_be_dropped(part.table.stamps_ns, part.table.latency_ms) for part in counts]
    return ModelResult(
        name=name,
        info=info,
        class_set=classes,
        engine=results[0].facts[name].engine,
        frames=[frame for result in results for frame in _outcomes(result, name)],
        scores=frame_scores(name, classes.names, results),
        boundary=boundary if scored else None,
        consistency=flicker if flicker.compared else None,
        calibration=calibration if scored else None,
        frames_per_s=_frames_per_s(name, results),
        network_frames_per_s=_network_frames_per_s(name, results),
        would_drop=int(sum(part.sum() for part in drops)),
        worst=_worst(name, results),
    )


def _with_fates(result: ModelResult, live: LiveFates) -> ModelResult:
    """A live run has all recorded frames; what it would have dropped, it has dropped."""
    return replace(
        result,
        frames=live.frames[result.name],
        totals=live.totals[result.name],
        frames_per_s=None,
        network_frames_per_s=None,
        would_drop=None,
        calibration=None,  # the node was not asked for confidence, which would slow it down
    )


def _outcomes(result: BagResult, name: str) -> list[FrameOutcome]:
    table = result.models[name].table
    columns = list(table.times_ms.items())
    return [
        FrameOutcome(
            int(stamp_ns),
            Fate.LABELLED,
            {key: float(values[i]) for key, values in columns},
            result.bag,
        )
        for i, stamp_ns in enumerate(table.stamps_ns)
    ]


def _frames_per_s(name: str, results: Sequence[BagResult]) -> float | None:
    """Frames per second of real time, reading and scoring included.

    Of several models in one pass, each is charged the share of the time that its network had.
    """
    frames, seconds = 0, 0.0
    for result in results:
        busy = {model: _busy_ms(counts.table) for model, counts in result.models.items()}
        frames += len(result.models[name].table)
        seconds += result.seconds * busy[name] / (sum(busy.values()) or 1.0)
    return frames / seconds if seconds > 0 else None


def _busy_ms(table: FrameTable) -> float:
    """All frames' time, as far as the timed ones tell."""
    timed = table.latency_ms[np.isfinite(table.latency_ms)]
    return float(timed.mean()) * len(table) if len(timed) else 0.0


def _network_frames_per_s(name: str, results: Sequence[BagResult]) -> float | None:
    """Frames per second of the Segmenter alone; nothing else runs while it labels."""
    frames, seconds = 0, 0.0
    for result in results:
        table = result.models[name].table
        alone_ms = network_ms(table.times_ms)
        if alone_ms is not None and np.isfinite(alone_ms).any():
            frames += len(table)
            # The median: the first frame of all may still find its memory unused.
            seconds += len(table) * float(np.nanmedian(alone_ms)) / 1000.0
    return frames / seconds if seconds > 0 else None


def _rate_hz(results: Sequence[BagResult]) -> float:
    intervals = sum(max(0, result.read - 1) for result in results)
    span_ns = sum(result.last_ns - result.first_ns for result in results)
    return intervals * NS_PER_S / span_ns if span_ns > 0 else float("nan")


def _worst(name: str, results: Sequence[BagResult]) -> list[Strip]:
    found = [entry for result in results for entry in result.worst[name]]
    return [strip for _, strip in sorted(found, key=lambda entry: entry[0])[:WORST]]


def _spread_strips(results: Sequence[BagResult]) -> list[Strip]:
    strips = [strip for result in results for strip in result.shown]
    return [strips[i] for i in spread(range(len(strips)), SHOWN)]


def _limit(results: Sequence[BagResult], options: EvaluationOptions) -> int | None:
    """The limit of frames, unless all bags are shorter."""
    if options.limit is None or all(result.recorded < options.limit for result in results):
        return None
    return options.limit


def _truth_in_words(options: EvaluationOptions) -> str:
    if options.reference is not None:
        return f"labels of the reference model {options.reference}, which is no truth"
    if options.truth_folder is not None:
        return f"the labels in {options.truth_folder}"
    return f"the labels on {options.truth_topic}"


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""
