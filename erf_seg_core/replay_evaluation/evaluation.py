"""Bags in, result folder out: who does which bag, what is kept, and what is written at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..bags import BagReader
from ..bags.find import bag_names
from ..bags.topics import choose_image_topic
from ..errors import ErfSegError
from ..evaluation.frame_scores import FILE_NAME
from ..inference.engine import default_threads
from ..report.contents import ReportContents
from ..report.html import write_report
from ..report.measures import measures
from .bag_result import BagResult, fingerprint_of
from .bag_task import BagTask
from .cluster import run_on_cluster
from .merge import LiveFates, report_contents, write_frames_csv
from .options import EvaluationOptions, model_folders
from .result_folder import RESULT_FILES, result_folder
from .summary import summary_of, table_of
from .work import Done, Work
from .workers import OnFrames, run_here, run_in_processes

PARTS = "parts"
"""Sub-folder with the results of single bags: what a second run finds there it does not redo."""


class Listener(Protocol):
    """Is told what is going on, so that somebody can watch."""

    def begin(self, frames: int, kept_bags: int) -> None:
        """So many frames are to be done; so many bags were done by an earlier run."""

    def progress(self, frames: int) -> None:
        """So many frames are done."""

    def problem(self, what: str) -> None:
        """A bag cannot be evaluated, or not to its end."""


@dataclass(frozen=True)
class Parallel:
    """How many bags at a time (None: as many as there are cores), and on which cluster, if any.

    `cluster` is the address of a Dask scheduler, or "local".
    """

    workers: int | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What came of it: the report's contents, `summary.json`'s, a table to print."""

    contents: ReportContents
    summary: dict[str, Any]
    table: str
    interrupted: bool

    @property
    def complete(self) -> bool:
        """Whether every frame of every bag was evaluated."""
        return not self.contents.partial and not self.contents.problems


def evaluate_bags(
    bags: Sequence[Path],
    options: EvaluationOptions,
    output: Path,
    parallel: Parallel,
    listener: Listener,
) -> Evaluation:
    """Evaluate every bag with every model and write the result folder.

    Bags that an earlier run with the same options, weights and bags finished in `output` are not
    done again. A bag that cannot be read is told to the listener and left out, one that breaks off
    counts until there; both stand in the report. Ctrl-C ends early: what was scored is reported.

    Raises:
        ErfSegError: nothing could be evaluated (the reason), or the disk refuses the output.
        KeyboardInterrupt: interrupted before the first frame was scored.

    """
    if parallel.workers is not None and parallel.workers < 1:
        raise ErfSegError(f"{parallel.workers} workers can do nothing: give at least 1")
    with result_folder(output, kept="bags that were finished"):
        problems: list[str] = []
        works = _prepare(bags, options, output, problems, listener)
        interrupted = _run_missing(works, parallel, problems, listener)
        results = [
            result for w in works if (result := BagResult.load(w.folder, w.fingerprint)) is not None
        ]
        problems += _announced(results, listener)
        if not any(len(m.table) for result in results for m in result.models.values()):
            if interrupted:
                raise KeyboardInterrupt
            raise ErfSegError(
                "; ".join(problems) or "the bags hold no frame that could be labelled"
            )
        contents = report_contents(
            results, options, _why_partial(results, works, interrupted), problems,
            {"bags at a time": _in_words(works, parallel)},
        )  # fmt: skip
        return write_results(output, contents, results, interrupted)


def _prepare(
    bags: Sequence[Path],
    options: EvaluationOptions,
    output: Path,
    problems: list[str],
    listener: Listener,
) -> list[Work]:
    """Work for each bag that can be opened; one that cannot is a problem."""
    works = []
    for bag, name in zip(bags, bag_names(bags), strict=True):
        try:
            with BagReader(bag) as reader:
                topic = choose_image_topic(reader, options.image_topic, options.truth_topic)
                frames = reader.image_topic(topic).count
        except ErfSegError as error:
            problems.append(str(error))
            listener.problem(str(error))
            continue
        key = name.replace("/", "__")
        annotated = {}
        if options.annotate:
            for model in model_folders(options.models).values():
                folder = output / model / "annotated"
                annotated[model] = folder if len(bags) == 1 else folder / key
        works.append(
            Work(
                BagTask(bag.resolve(), name, options, annotated),
                (output / PARTS / key).resolve(),
                fingerprint_of(bag, options),
                min(frames, options.limit or frames),
                options.threads,
            )
        )
    return works


def _run_missing(
    works: Sequence[Work], parallel: Parallel, problems: list[str], listener: Listener
) -> bool:
    """Do the bags that have no result yet; whether it was interrupted."""
    missing = [work for work in works if not _is_done(work)]
    listener.begin(sum(work.frames for work in missing), len(works) - len(missing))
    if not missing:
        return False
    for work in missing:
        work.progress_file.unlink(missing_ok=True)
        work.stop_file.unlink(missing_ok=True)
    try:
        with closing(_run(missing, parallel, listener.progress)) as running:
            for done in running:
                if done.failure:
                    problems.append(f"{done.work.task.bag}: {done.failure}")
                    listener.problem(problems[-1])
    except KeyboardInterrupt:
        return True
    return False


def _run(works: Sequence[Work], parallel: Parallel, on_frames: OnFrames) -> Iterator[Done]:
    workers = _workers(works, parallel)
    if parallel.cluster is not None:
        # A worker of the cluster runs as many bags at once as it has threads.
        works = [replace(work, threads=work.threads or 1) for work in works]
        return run_on_cluster(works, parallel.cluster, workers, on_frames)
    if workers == 1:
        return run_here(works, on_frames)
    share = max(1, default_threads() // workers)
    works = [replace(work, threads=work.threads or share) for work in works]
    return run_in_processes(works, workers, on_frames)


def _workers(works: Sequence[Work], parallel: Parallel) -> int:
    """A GPU is shared by nobody unless somebody says so."""
    import torch

    device = works[0].task.options.device
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    wanted = parallel.workers or (1 if on_gpu else default_threads())
    return min(wanted, len(works))


def _is_done(work: Work) -> bool:
    result = BagResult.load(work.folder, work.fingerprint)
    annotated = all(path.is_dir() for path in work.task.annotated.values())
    return result is not None and result.complete and annotated


def _announced(results: Sequence[BagResult], listener: Listener) -> list[str]:
    """Problems of bags that broke off."""
    broken = [
        f"{result.path}: {result.problem} (after {result.read} of {result.recorded} frames)"
        for result in results
        if result.problem
    ]
    for what in broken:
        listener.problem(what)
    return broken


def _why_partial(results: Sequence[BagResult], works: Sequence[Work], interrupted: bool) -> str:
    if not interrupted and not any(result.interrupted for result in results):
        return ""
    done, total = sum(r.read for r in results), sum(work.frames for work in works)
    return f"Interrupted after {done} of {total} frames."


def _in_words(works: Sequence[Work], parallel: Parallel) -> str:
    where = f" on the cluster {parallel.cluster}" if parallel.cluster else ""
    return f"{_workers(works, parallel)}{where}"


def write_results(
    output: Path,
    contents: ReportContents,
    results: Sequence[BagResult],
    interrupted: bool,
    live: LiveFates | None = None,
) -> Evaluation:
    """Write all files of the result folder but the bags, which are there already."""
    files = dict(zip(("report", "summary", "frames"), RESULT_FILES, strict=True))
    for model in contents.models:
        folder = output / model.name
        folder.mkdir(parents=True, exist_ok=True)
        model.scores.save(folder / FILE_NAME)
        files[f"scores of {model.name}"] = f"{model.name}/{FILE_NAME}"
        for name, bag in (("annotated bag", "annotated"), ("recorded labels", "live")):
            if (folder / bag).is_dir():
                files[f"{name} of {model.name}"] = f"{model.name}/{bag}"
    contents = replace(contents, files={name: str(output / file) for name, file in files.items()})
    write_frames_csv(output / files["frames"], results, live)
    found = measures(contents.models)
    summary = summary_of(contents, found, results)
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (output / files["summary"]).write_text(text + "\n", encoding="utf-8")
    write_report(output / files["report"], contents, found)
    return Evaluation(contents, summary, table_of(contents, found), interrupted)
