"""`erf_seg bag compare`: is one evaluated model better than another, beyond noise?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erf_seg_core.evaluation.comparison import Change, Comparison, Limit
    from erf_seg_core.evaluation.result_folder import ResultFolder

HELP = (
    "say whether model B is better than model A beyond noise, from the folders of `bag evaluate`; "
    "exit status 0: fine, 1: worse than --fail-if-worse allows, 2: error"
)

EXIT_WORSE = 1
_TOO_SHORT = "too short to tell"
_RESULT = "FOLDER, FOLDER:MODEL or FOLDER/MODEL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("first", metavar="A", help=f"result to hold B to: {_RESULT}")
    parser.add_argument(
        "second",
        metavar="B",
        nargs="?",
        help=f"the other result: {_RESULT}; left out, A is a folder with two models",
    )
    parser.add_argument(
        "--fail-if-worse",
        nargs="+",
        default=[],
        metavar="NAME:AMOUNT",
        help="end with status 1 if B is worse than A by more than this, and beyond noise: "
        "mIoU:0.5 or road:2 (points), latency_p95:5 (ms), latency_p95:10%% (of A's). Names: mIoU, "
        "accuracy, latency_median, latency_p95 and those of the classes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from erf_seg_core.evaluation.comparison import Limit, compare
    from erf_seg_core.evaluation.result_folder import find_both, find_result

    limits = [Limit.parse(text) for text in args.fail_if_worse]
    if args.second is None:
        first, second = find_both(args.first)
    else:
        first, second = find_result(args.first), find_result(args.second)
    comparison = compare(first.scores(), second.scores())
    names = _names(first, second)
    broken = _broken(limits, comparison)
    for warning in _short_warnings(limits, comparison):
        print(f"warning: {warning}", file=sys.stderr)
    print(
        json.dumps(_document(first, second, names, comparison, broken), ensure_ascii=False)
        if args.json
        else _text(first, second, names, comparison, broken)
    )
    return EXIT_WORSE if broken else 0


def _names(first: ResultFolder, second: ResultFolder) -> tuple[str, str]:
    """What the verdict calls the two: the models, or the folders if it is one model twice."""
    if first.model != second.model:
        return first.model, second.model
    return str(first), str(second)


def _short_warnings(limits: list[Limit], comparison: Comparison) -> list[str]:
    """What is limited over too few frames; the exit status goes by the numbers all the same."""
    changes = [limit.change_in(comparison) for limit in limits]
    return [
        f"the recording is too short for the interval of {change.name} to mean much: "
        f"{change.frames} frames in runs of {change.block}"
        for change in changes
        if change.too_short
    ]


def _broken(limits: list[Limit], comparison: Comparison) -> list[str]:
    """Sentences about the limits that B breaks."""
    sentences = []
    for limit in limits:
        change = limit.change_in(comparison)
        if limit.is_broken(change):
            sentences.append(
                f"{change.name} is worse by {change.worse_by:.2f} {_unit(change)}, allowed are "
                f"{limit.allowed(change):.2f}"
            )
    return sentences


def _document(
    first: ResultFolder,
    second: ResultFolder,
    names: tuple[str, str],
    comparison: Comparison,
    broken: list[str],
) -> dict[str, Any]:
    return {
        "first": str(first),
        "second": str(second),
        "frames": comparison.frames,
        "frames_with_truth": comparison.scored,
        "frames_timed": comparison.timed,
        "frames_only_in": dict(zip(("first", "second"), comparison.left_out, strict=True)),
        "bootstrap_block_frames": comparison.block,
        "changes": {name: change.to_dict() for name, change in comparison.changes.items()},
        "verdict": verdict(names, comparison),
        "worse_than_allowed": broken,
    }


def _text(
    first: ResultFolder,
    second: ResultFolder,
    names: tuple[str, str],
    comparison: Comparison,
    broken: list[str],
) -> str:
    rows = [("", "A", "B", "B − A", "95 % interval", "B is")]
    rows += [_row(change) for change in comparison.changes.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join(
            text.ljust(width) if i in (0, 5) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines = [f"A: {first}", f"B: {second}", *_notes(first, second, comparison), "", *table, ""]
    return "\n".join([*lines, verdict(names, comparison), *(f"FAILED: {what}" for what in broken)])


def _notes(first: ResultFolder, second: ResultFolder, comparison: Comparison) -> list[str]:
    notes = [
        f"{comparison.frames} frames in both, {comparison.scored} of them with truth; paired "
        f"bootstrap over runs of {comparison.block} frames",
        "by chance alone, one in twenty of these verdicts says better or worse",
    ]
    if comparison.timed:
        notes.append(f"latency over {comparison.timed} timed frames")
    for name, result, missing in zip("AB", (first, second), comparison.left_out, strict=True):
        if missing:
            notes.append(f"{missing} frames that only {name} has are left out")
        if result.partial():
            notes.append(f"{name} is partial: {result.partial()}")
    return notes


def _row(change: Change) -> tuple[str, ...]:
    difference = change.difference
    known = difference.low == difference.low
    decimals = 1 if change.name == "latency_p95" else 2  # one of the slowest frames: no hundredths
    low, high = (_number(end, "+", decimals) for end in (difference.low, difference.high))
    return (
        f"{change.name}, {change.unit}",
        _number(change.first, decimals=decimals),
        _number(change.second, decimals=decimals),
        _number(difference.value, "+", decimals),
        f"{low} to {high}" if known else "–",
        _cell(change) if difference.value == difference.value else "",
    )


def _cell(change: Change) -> str:
    return _TOO_SHORT if change.claims_too_much else change.verdict


def verdict(names: tuple[str, str], comparison: Comparison) -> str:
    """Plain words about accuracy, then about time."""
    first, second = names
    parts = []
    if "mIoU" in comparison.changes:
        parts.append(_about_accuracy(first, second, comparison.changes["mIoU"]))
    else:
        parts.append("There is no truth, so accuracy is not compared.")
    if "latency_median" in comparison.changes:
        parts.append(_about_time(comparison.changes["latency_median"]))
    return " ".join(parts)


def _about_accuracy(first: str, second: str, change: Change) -> str:
    words = _in_words(change)
    if change.claims_too_much:
        return (
            f"{change.frames} frames in runs of {change.block} are {_TOO_SHORT} whether {second} "
            f"is {change.verdict} than {first}: mIoU {words}."
        )
    if change.verdict == "within noise":
        return f"{second} cannot be told from {first} by its mIoU ({words})."
    return f"{second} is {change.verdict} than {first} beyond noise: mIoU {words}."


def _about_time(change: Change) -> str:
    words = {"better": "faster", "worse": "slower", "within noise": "as fast, within noise"}
    found, median = words[change.verdict], f"median {_in_words(change)}"
    if change.claims_too_much:  # time hardly hangs on the scene: the hint is worth giving
        return f"It seems {found}, by only {change.frames} timed frames: {median}."
    return f"It is {found}: {median}."


def _in_words(change: Change) -> str:
    difference = change.difference
    return (
        f"{_number(difference.value, '+')} {_unit(change)}, 95 % interval "
        f"{_number(difference.low, '+')} to {_number(difference.high, '+')}"
    )


def _unit(change: Change) -> str:
    return "points" if change.unit == "%" else change.unit


def _number(value: float, sign: str = "", decimals: int = 2) -> str:
    return f"{value:{sign}.{decimals}f}".replace("-", "−") if value == value else "–"
