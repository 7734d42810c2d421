"""What the runs of queues came to: tables, differences seed by seed, learning curves."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from queue_file import Run

from erf_seg_core.errors import ErfSegError

Result = dict[str, Any]
Results = dict[str, dict[int, Result]]
"""By the name of the run, then by seed."""

_NONE_YET = "no run of this queue is done yet"


def finished_results(queue: Sequence[Run]) -> Results:
    """Results of the runs that are done, under their queue's name too if there are several.

    One that was trained otherwise than the queue says now is told on stderr.
    """
    several = len({run.results for run in queue}) > 1
    found: Results = {}
    for run in queue:
        results = found.setdefault(f"{run.results.name}: {run.name}" if several else run.name, {})
        if run.result_file.exists():
            results[run.seed] = json.loads(run.result_file.read_text(encoding="utf-8"))
            if _is_of_another(results[run.seed], run):
                print(f"note: {run.result_file} is of an older queue or recipe", file=sys.stderr)
    return {name: results for name, results in found.items() if results}


def table(queue: Sequence[Run]) -> str:
    """Markdown table: mean ± standard deviation over the seeds that are done."""
    finished = finished_results(queue)
    if not finished:
        return _NONE_YET
    scores = _score_columns(finished)
    lines = _head(["run", "seeds", *scores, "loss", "CPU minutes"])
    for name, by_seed in finished.items():
        results = list(by_seed.values())
        means = [_spread([score(result) for result in results]) for score in scores.values()]
        loss = _spread([r["training"]["final_loss"] for r in results], digits=3)
        minutes = f"{statistics.mean(r['training']['cpu_minutes'] for r in results):.0f}"
        lines.append(_row([name, str(len(results)), *means, loss, minutes]))
    return "\n".join(lines)


def differences(queue: Sequence[Run], against: str) -> str:
    """Markdown table: how much better than the run `against`, taken seed by seed, in points."""
    finished = finished_results(queue)
    if against not in finished:
        raise ErfSegError(f"no result of '{against}'; there are: {', '.join(finished) or 'none'}")
    scores, base = _score_columns(finished), finished.pop(against)
    lines = _head([f"run, less {against}", "seeds", *scores])
    for name, by_seed in finished.items():
        if seeds := [seed for seed in by_seed if seed in base]:
            cells = [
                _spread([_less(score(by_seed[s]), score(base[s])) for s in seeds], signed=True)
                for score in scores.values()
            ]
            lines.append(_row([name, str(len(seeds)), *cells]))
    return "\n".join(lines)


def draw_curves(queue: Sequence[Run], path: Path) -> None:
    """Mean mIoU against epochs for every run and validation set, with α, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    finished = finished_results(queue)
    if not finished:
        raise ErfSegError(f"{_NONE_YET}, so there is nothing to draw")
    sets = _validation_sets(finished)
    figure = Figure(figsize=(6.5 * len(sets), 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, name in zip(panels, sets, strict=True):
        right = panel.twinx()
        right.set_ylabel("α (dotted)")
        for run, by_seed in finished.items():
            curves = [result["curve"] for result in by_seed.values()]
            # Counted over the stages, each of which counts its own epochs.
            epochs = [i for i, row in enumerate(curves[0], 1) if f"miou {name}" in row]
            scores = [[row[f"miou {name}"] for row in c if f"miou {name}" in row] for c in curves]
            means = [statistics.mean(values) for values in zip(*scores, strict=True)]
            panel.plot(epochs, means, marker=".", label=f"{run} ({len(curves)})")
            faded = [(i, row["alpha"]) for i, row in enumerate(curves[0], 1) if "alpha" in row]
            if faded:
                right.plot(*zip(*faded, strict=True), ":", color="grey")
        panel.set(title=name, xlabel="epoch", ylabel="mIoU")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, title="run (seeds)", loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=90)


def _is_of_another(result: Result, run: Run) -> bool:
    same_recipe = result.get("recipe") in (None, run.base)  # older results do not tell
    return result["overrides"] != run.overrides or not same_recipe


def _validation_sets(finished: Results) -> list[str]:
    return list(dict.fromkeys(name for r in _every(finished) for name in r["miou"]))


def _every(finished: Results) -> Iterable[Result]:
    return (result for by_seed in finished.values() for result in by_seed.values())


Score = Callable[[Result], float | None]
"""mIoU in per cent, None where a run has none."""


def _score_columns(finished: Results) -> dict[str, Score]:
    """Heading and score of each validation set; before it the encoder's, if it had a stage."""
    columns: dict[str, Score] = {}
    for name in _validation_sets(finished):
        before = partial(_encoder_alone, name)
        if any(before(result) is not None for result in _every(finished)):
            columns[f"{name}, encoder alone, mIoU %"] = before
        columns[f"{name}, mIoU %"] = partial(_at_the_end, name)
    return columns


def _encoder_alone(name: str, result: Result) -> float | None:
    """What the whole network, which is the last stage's, began with."""
    stage = result["curve"][-1]["stage"] - 1
    rows = [row for row in result["curve"] if row["stage"] == stage]
    return _percent(rows[-1].get(f"miou {name}")) if rows else None


def _at_the_end(name: str, result: Result) -> float | None:
    return _percent(result["miou"].get(name))


def _percent(miou: float | None) -> float | None:
    return None if miou is None else 100 * miou


def _less(score: float | None, base: float | None) -> float | None:
    return None if score is None or base is None else score - base


def _spread(values: Sequence[float | None], digits: int = 1, signed: bool = False) -> str:
    """Mean ± sample standard deviation."""
    if any(value is None for value in values):
        return "–"
    sign = "+" if signed else ""
    mean = f"{statistics.mean(values):{sign}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
