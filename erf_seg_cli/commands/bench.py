"""`erf_seg bench`: milliseconds of models, engines, precisions and sizes, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erf_seg_cli.argument_types import named_path, positive
from erf_seg_cli.labelled_data import add_data_arguments, found_data_source
from erf_seg_core.errors import ErfSegError, refuse_unwritable

if TYPE_CHECKING:
    from erf_seg_core.benchmark import Benchmark, Configuration
    from erf_seg_core.training.recipe import Source

HELP = "measure speed: models × engines × precisions × sizes, interleaved, against a baseline"

EXIT_TOO_SLOW = 1
BUSY_CORES = 0.1  # of others, from which on the reader is warned

EPILOG = """\
engines: eager (build_model(...) in plain PyTorch, logits.argmax), upstream (the same with
logits.max(1)[1], as ERFNet's scripts take labels), torch, onnxruntime, tensorrt.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--models",
        type=_names,
        default="dg4_star_light,dg4,erfnet",
        help="names or checkpoint files; names without shipped weights run with random ones",
    )
    parser.add_argument("--engines", type=_names, default="eager,torch,onnxruntime", help="see end")
    parser.add_argument(
        "--precisions", type=_names, default="fp32", help="of auto, fp32, fp16, int8"
    )
    parser.add_argument(
        "--sizes", type=_sizes, default="512x1024", help="network inputs, HEIGHTxWIDTH,…"
    )
    parser.add_argument(
        "--image-size", type=_size, default="720x1280", help="the camera's images, HEIGHTxWIDTH"
    )
    parser.add_argument("--devices", type=_names, default="auto", help="of auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--threads", type=_numbers, help="CPU threads (default: the physical cores usable here)"
    )
    parser.add_argument("--batch", type=_numbers, default="1", help="images per call")
    parser.add_argument("--rounds", type=positive(int), default=20, help="timed calls of each row")
    parser.add_argument("--seed", type=int, default=0, help="of the order within each round")
    parser.add_argument(
        "--baseline",
        default="erfnet:eager",
        help="MODEL:ENGINE that the others are compared with; 'none' for no comparison",
    )
    parser.add_argument(
        "--outputs",
        type=positive(int),
        help="logits per pixel of every network; weights trained for another number are not used "
        "(default: that of the first model with weights, or the paper's 20)",
    )
    add_data_arguments(parser, required=False, purpose="to measure the mIoU on")
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out the peak memory; saves seconds per row"
    )
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="instead: the stages of each model in ONNX Runtime on the CPU, one image at a time in "
        "float32, against the machine's peak; with --models, --rounds, --outputs, --json, --output "
        "and one of --sizes and --threads",
    )
    parser.add_argument(
        "--require",
        type=Path,
        metavar="FILE",
        help="YAML list of {faster, than, at_least}; status 1 if a ratio is not reached",
    )
    parser.add_argument(
        "--output",
        type=named_path,
        metavar="DIR",
        help="write bench.json, bench.md, latency_miou.png; with --roofline roofline.json and .txt",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Measure and print; Ctrl-C prints what there is."""
    from erf_seg_core.benchmark.load import load_at_start
    from erf_seg_core.machine import machine_facts

    machine: dict[str, Any] = {**machine_facts(), "load at start": load_at_start()}
    _print_machine(machine, sys.stderr if args.json else sys.stdout)
    if args.roofline:
        return _run_roofline(args, machine)
    return _run_comparison(args, machine)


def _run_roofline(args: argparse.Namespace, machine: dict[str, Any]) -> int:
    from erf_seg_core.benchmark import combinations
    from erf_seg_core.benchmark.contenders import common_outputs, load_subject
    from erf_seg_core.benchmark.roofline import measure_peaks, measure_stages
    from erf_seg_core.benchmark.roofline_table import roofline_text, roofline_to_dict

    if args.require or args.data:
        raise ErfSegError("--roofline takes neither --require nor --data")
    if len(args.sizes) > 1 or len(_threads(args)) > 1:
        raise ErfSegError("--roofline takes one of --sizes and one of --threads at a time")
    if args.output:
        refuse_unwritable(args.output)
    rows = combinations(args.models, ["onnxruntime"], ["fp32"], args.sizes, ["cpu"], _threads(args))
    threads, size = rows[0].threads, rows[0].input_size
    outputs = args.outputs or common_outputs([row.model for row in rows])
    peaks = measure_peaks(threads)
    stages = {
        row.model: measure_stages(
            load_subject(row.model, outputs, size), size, threads, args.rounds
        )
        for row in rows
    }
    document = {"machine": machine, **roofline_to_dict(peaks, stages)}
    text = roofline_text(peaks, stages, threads, size)
    print(json.dumps(document) if args.json else text)
    if args.output:
        _write_files(args.output, {"roofline.json": _indented(document), "roofline.txt": text})
    return 0


def _run_comparison(args: argparse.Namespace, machine: dict[str, Any]) -> int:
    from erf_seg_core.benchmark.ratios import judge, read_ratios, refuse_unmeasurable

    ratios = read_ratios(args.require) if args.require else []
    if args.output:
        refuse_unwritable(args.output)
    benchmark, configurations = _planned(args)
    refuse_unmeasurable(ratios, configurations)
    interrupted = _measure(benchmark, configurations)
    if not benchmark.measured():
        if interrupted:
            raise KeyboardInterrupt
        reasons = "; ".join(sorted({row.failure for row in benchmark.failed()}))
        raise ErfSegError(f"no row can run here: {reasons}")
    document = {"machine": machine, "interrupted": interrupted, **_results(benchmark)}
    verdicts, unjudged = [], None
    if not interrupted:
        try:
            verdicts = judge(benchmark, ratios)
        except ErfSegError as error:  # the rows that could run are shown before
            unjudged = error
    document["ratios"] = [{"text": str(verdict), "holds": verdict.holds} for verdict in verdicts]
    if args.json:
        print(json.dumps(document))
    else:
        _print_results(benchmark, interrupted)
    for verdict in verdicts:
        print(verdict, file=sys.stderr if args.json else sys.stdout)
    if args.output:
        _write(args.output, benchmark, document, machine)
    if interrupted:
        raise KeyboardInterrupt
    if unjudged is not None:
        raise unjudged
    return 0 if all(verdict.holds for verdict in verdicts) else EXIT_TOO_SLOW


def _planned(args: argparse.Namespace) -> tuple[Benchmark, list[Configuration]]:
    from erf_seg_core.benchmark import Baseline, Benchmark, Settings, combinations
    from erf_seg_core.benchmark.contenders import common_outputs

    if args.seed < 0:
        raise ErfSegError(f"--seed is {args.seed}; it must be at least 0")
    baseline = None if args.baseline == "none" else Baseline.parse(args.baseline)
    configurations = combinations(
        args.models,
        args.engines,
        args.precisions,
        args.sizes,
        args.devices,
        _threads(args),
        args.batch,
        baseline,
    )
    settings = Settings(
        args.image_size,
        args.rounds,
        args.outputs or common_outputs([c.model for c in configurations]),
        args.seed,
        memory=not args.no_memory,
        data=_data(args) if args.data else None,
    )
    return Benchmark(settings, baseline), configurations


def _threads(args: argparse.Namespace) -> list[int]:
    from erf_seg_core.inference.engine import default_threads

    return args.threads or [default_threads()]


def _data(args: argparse.Namespace) -> Source | None:
    """Images in the classes of the first model with weights: the others are scored on the same."""
    from erf_seg_core.benchmark.contenders import load_subject

    for model in args.models:
        subject = load_subject(model, None, (8, 8))
        if subject.weights == "trained":
            return found_data_source(args, subject.info.class_set)
    raise ErfSegError("--data is for models with weights, and none of these has any")


def _measure(benchmark: Benchmark, configurations: list[Configuration]) -> bool:
    """Run it all; True if Ctrl-C ended it early."""
    from tqdm import tqdm

    from erf_seg_core.benchmark import run_benchmark

    with tqdm(unit=" steps", mininterval=0.5) as progress:

        def on_step(what: str) -> None:
            progress.set_description(what, refresh=False)
            progress.update()

        try:
            run_benchmark(benchmark, configurations, on_step)
        except KeyboardInterrupt:
            return True
    return False


def _results(benchmark: Benchmark) -> dict[str, Any]:
    from erf_seg_core.benchmark.table import to_dict

    return to_dict(benchmark)


def _print_results(benchmark: Benchmark, interrupted: bool) -> None:
    from erf_seg_core.benchmark.table import cells, header, notes, plain_text

    if interrupted:
        print("interrupted; what was measured so far:")
    rows = [cells(benchmark, row) for row in benchmark.measured()]
    print(plain_text(header(benchmark), rows))
    for line in [*notes(benchmark), *_busy_warning(benchmark.cores_used_by_others)]:
        print(line)


def _write(
    folder: Path, benchmark: Benchmark, document: dict[str, Any], machine: dict[str, Any]
) -> None:
    from erf_seg_core.benchmark.figure import write_figure
    from erf_seg_core.benchmark.table import cells, header, markdown, notes

    table = markdown(header(benchmark), [cells(benchmark, row) for row in benchmark.measured()])
    lines = [*notes(benchmark), *_busy_warning(benchmark.cores_used_by_others)]
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    page = f"{table}\n\n" + "\n".join(f"- {line}" for line in [*lines, f"Machine: {facts}"])
    _write_files(folder, {"bench.json": _indented(document), "bench.md": page})
    if not write_figure(benchmark, folder / "latency_miou.png"):
        print("no plot: no row has a mIoU", file=sys.stderr)


def _write_files(folder: Path, texts: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ErfSegError(f"cannot write {folder}: {error.strerror}") from error


def _indented(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1)


def _print_machine(machine: dict[str, Any], stream: Any) -> None:
    for name, value in machine.items():
        print(f"{name}: {value}", file=stream)
    for line in _busy_warning(machine["load at start"]["cores_used_by_others"]):
        print(line, file=stream)


def _busy_warning(cores: float) -> list[str]:
    if cores < BUSY_CORES:
        return []
    return [
        f"WARNING: other processes use {cores:.1f} cores, which slows some rows more than others: "
        "PyTorch's threads wait for each other. Measure on an idle machine"
    ]


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("an empty list leaves nothing to measure")
    return names


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers like 1,2") from None


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.replace("×", "x").partition("x")
    try:
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH like 512x1024") from None


def _sizes(text: str) -> list[tuple[int, int]]:
    return [_size(part) for part in _names(text)]
