"""Work through a queue of trainings, or show the results of those that are done.

python training/run_queue.py training/queues/grouping.yaml --data-root DIR
python training/run_queue.py training/queues/grouping.yaml --table
python training/run_queue.py training/queues/grouping.yaml --curves training/results/grouping.png

Every run leaves one small JSON file of results; a run that has one is not repeated, and one that
was interrupted goes on where it was. Several workers may share a queue, also across restarts.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from erf_seg_core.errors import ErfSegError
from erf_seg_core.whole_file import whole_file


@dataclass(frozen=True)
class Run:
    """One training of the queue."""

    name: str
    seed: int
    overrides: dict[str, Any]
    recipe: Path
    results: Path

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return f"{self.name.replace(' + ', '_').replace(' ', '_')}_seed{self.seed}"

    @property
    def base(self) -> str:
        """Digest of what the recipe file says, before the run's own changes."""
        said = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def result_file(self) -> Path:
        """Where its results are, once it is done."""
        return self.results / f"{self.stem}.json"


def read_queue(path: Path) -> list[Run]:
    """List the runs of a queue file, all of the first seed first; `common` holds for each."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        common = data.get("common", {})
        return [
            Run(name, seed, {**common, **overrides}, Path(data["recipe"]), Path(data["results"]))
            for seed in data["seeds"]
            for name, overrides in data["runs"].items()
        ]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ErfSegError(f"cannot read queue {path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ErfSegError(
            f"{path} is no queue ({error!r}): it needs recipe, results, seeds and runs"
        ) from error


def work(queue: list[Run], runs_folder: Path, data_root: str, quiet: bool = False) -> int:
    """Train every run that has no results and that no other worker has; returns how many.

    One that fails does not stop the others; `ErfSegError` at the end says which did.
    """
    done, failures = 0, []
    for run in queue:
        folder = runs_folder / run.results.name / run.stem
        with _claimed(folder) as free:
            # Looked up after the claim: another worker may just have finished it.
            if free and not run.result_file.exists():
                print(f"— {run.name}, seed {run.seed}", file=sys.stderr, flush=True)
                try:
                    _train(run, folder, data_root, quiet)
                    done += 1
                except ErfSegError as error:
                    failures.append(f"{run.name}, seed {run.seed}: {error}")
    if failures:
        raise ErfSegError("; ".join(failures))
    return done


def _train(run: Run, folder: Path, data_root: str, quiet: bool) -> None:
    from erf_seg_core.training import load_recipe, train

    values = {**run.overrides, "seed": run.seed, "output": str(folder)}
    if data_root:
        values["data_root"] = data_root
    recipe = load_recipe(run.recipe, [(k, json.dumps(v)) for k, v in values.items()])
    train(recipe, quiet=quiet)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "log.csv").open(encoding="utf-8") as file:
        curve = [
            {k: float(v) for k, v in row.items() if _is_number(v)} for row in csv.DictReader(file)
        ]
    sets = {k: v for k, v in metrics.items() if k != "training"}
    result = {
        "name": run.name,
        "seed": run.seed,
        "overrides": run.overrides,
        "recipe": run.base,
        "miou": {k: v["miou"] for k, v in sets.items()},
        "iou": {k: v["iou"] for k, v in sets.items()},
        "training": metrics["training"],
        "curve": curve,
    }
    run.results.mkdir(parents=True, exist_ok=True)
    with whole_file(run.result_file) as partial:
        partial.write_text(json.dumps(result), encoding="utf-8")


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether this process alone works on a folder; the lock goes when the process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def finished_results(queue: list[Run]) -> list[dict[str, Any]]:
    """Results of the runs that are done; one that was trained otherwise than the queue says now is
    told on stderr.
    """
    results = []
    for run in queue:
        if run.result_file.exists():
            result = json.loads(run.result_file.read_text())
            same_recipe = result.get("recipe") in (None, run.base)  # older results do not tell
            if result["overrides"] != run.overrides or not same_recipe:
                print(f"note: {run.result_file} is of an older queue or recipe", file=sys.stderr)
            results.append(result)
    return results


def table(queue: list[Run]) -> str:
    """Markdown table: mean ± standard deviation over the seeds that are done."""
    finished = finished_results(queue)
    if not finished:
        return "no run of this queue is done yet"
    scores = _score_columns(finished[0])
    lines = [f"| run | seeds | {' | '.join(scores)} | loss | CPU minutes |"]
    lines.append("|---|---|" + "---|" * (len(scores) + 2))
    for name in dict.fromkeys(run.name for run in queue):
        results = [r for r in finished if r["name"] == name]
        if results:
            means = [_spread([100 * score(r) for r in results], 1) for score in scores.values()]
            loss = _spread([r["training"]["final_loss"] for r in results], 3)
            minutes = f"{statistics.mean(r['training']['cpu_minutes'] for r in results):.0f}"
            cells = [name, str(len(results)), *means, loss, minutes]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _score_columns(result: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], float]]:
    """Heading and mIoU of each validation set; before it the encoder's, if it had a stage."""
    columns: dict[str, Callable[[dict[str, Any]], float]] = {}
    before = _end_of_last_but_one_stage(result)
    for name in result["miou"]:
        if f"miou {name}" in before:
            columns[f"{name}, encoder alone, mIoU %"] = partial(_encoder_alone, name)
        columns[f"{name}, mIoU %"] = partial(_at_the_end, name)
    return columns


def _encoder_alone(name: str, result: dict[str, Any]) -> float:
    return _end_of_last_but_one_stage(result)[f"miou {name}"]


def _end_of_last_but_one_stage(result: dict[str, Any]) -> dict[str, float]:
    """What the whole network, which is the last stage's, began with; empty if it had no other."""
    stage = result["curve"][-1]["stage"] - 1
    return ([row for row in result["curve"] if row["stage"] == stage] or [{}])[-1]


def _at_the_end(name: str, result: dict[str, Any]) -> float:
    return result["miou"][name]


def draw_curves(queue: list[Run], path: Path) -> None:
    """Mean mIoU against epochs for every run and validation set, with α, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    finished = finished_results(queue)
    if not finished:
        raise ErfSegError("no run of this queue is done yet, so there is nothing to draw")
    sets = list(finished[0]["miou"])
    figure = Figure(figsize=(6.5 * len(sets), 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, name in zip(panels, sets, strict=True):
        right = panel.twinx()
        right.set_ylabel("α (dotted)")
        for run in dict.fromkeys(r["name"] for r in finished):
            curves = [r["curve"] for r in finished if r["name"] == run]
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


def _spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("queue", type=Path, help="YAML file, see training/queues")
    parser.add_argument("--data-root", default="", help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--table", action="store_true", help="print the results so far and stop")
    parser.add_argument("--curves", type=Path, help="draw the learning curves so far and stop")
    args = parser.parse_args(arguments)
    try:
        queue = read_queue(args.queue)
        if args.table:
            print(table(queue))
        elif args.curves:
            draw_curves(queue, args.curves)
        else:
            work(queue, args.runs, args.data_root)
    except ErfSegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
