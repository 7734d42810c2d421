"""Work through a queue of trainings, or show the results of those that are done.

python training/run_queue.py training/queues/grouping.yaml --data-root DIR
python training/run_queue.py training/queues/grouping.yaml --table
python training/run_queue.py training/queues/grouping.yaml --against "dg4 direct"
python training/run_queue.py training/queues/grouping.yaml --curves training/results/grouping.png

Every run leaves one small JSON file of results; a run that has one is not repeated, and one that
was interrupted goes on where it was. Several workers may share a queue, also across restarts.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from queue_file import Run, read_queue
from queue_results import differences, draw_curves, table

from erf_seg_core.errors import ErfSegError
from erf_seg_core.whole_file import whole_file


def work(queue: Sequence[Run], runs_folder: Path, data_root: str, quiet: bool = False) -> int:
    """Train every run that is not done and that no other worker has; returns how many.

    One that fails does not stop the others; `ErfSegError` at the end says which did.
    """
    done, failures = 0, []
    for run in queue:
        folder = run.folder(runs_folder)
        with _claimed(folder) as free:
            # Looked up after the claim: another worker may just have finished it.
            if free and not _is_done(run, folder, queue):
                print(f"— {run.name}, seed {run.seed}", file=sys.stderr, flush=True)
                try:
                    _train(run, folder, data_root, quiet)
                    done += 1
                except ErfSegError as error:
                    failures.append(f"{run.name}, seed {run.seed}: {error}")
    if failures:
        raise ErfSegError("; ".join(failures))
    return done


def _is_done(run: Run, folder: Path, queue: Sequence[Run]) -> bool:
    """Whether it has results and, if another run learns from its checkpoint, that too."""
    teaches = any(f"{folder.as_posix()}/" in json.dumps(other.overrides) for other in queue)
    return run.result_file.exists() and not (teaches and not any(folder.glob("*.safetensors")))


def _train(run: Run, folder: Path, data_root: str, quiet: bool) -> None:
    from erf_seg_core.training import load_recipe, train

    values = {**run.overrides, "seed": run.seed, "output": str(folder)}
    if data_root:
        values["data_root"] = data_root
    recipe = load_recipe(run.recipe, [(k, json.dumps(v)) for k, v in values.items()])
    train(recipe, quiet=quiet)
    run.results.mkdir(parents=True, exist_ok=True)
    with whole_file(run.result_file) as partial:
        partial.write_text(json.dumps(_result(run, folder)), encoding="utf-8")


def _result(run: Run, folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "log.csv").open(encoding="utf-8") as file:
        curve = [
            {k: float(v) for k, v in row.items() if _is_number(v)} for row in csv.DictReader(file)
        ]
    sets = {k: v for k, v in metrics.items() if k != "training"}
    return {
        "name": run.name,
        "seed": run.seed,
        "overrides": run.overrides,
        "recipe": run.base,
        "commit": _commit(),
        "miou": {k: v["miou"] for k, v in sets.items()},
        "iou": {k: v["iou"] for k, v in sets.items()},
        "training": metrics["training"],
        "curve": curve,
    }


def _commit() -> str:
    """Which state of the code trained it, with "-dirty" where it is none; empty outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("queues", nargs="+", type=Path, help="YAML files, see training/queues")
    parser.add_argument("--data-root", default="", help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    show = parser.add_mutually_exclusive_group()
    show.add_argument("--table", action="store_true", help="print the results so far and stop")
    show.add_argument("--against", metavar="RUN", help="print the differences from that run's")
    show.add_argument("--curves", type=Path, help="draw the learning curves so far and stop")
    args = parser.parse_args(arguments)
    try:
        queue = [run for path in args.queues for run in read_queue(path)]
        if args.table:
            print(table(queue))
        elif args.against:
            print(differences(queue, args.against))
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
