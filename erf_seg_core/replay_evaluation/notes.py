"""What the report has to say about single bags: why they have no scores, which images are lost."""

from __future__ import annotations

from collections.abc import Sequence

from .bag_result import BagResult

_NAMED = 4  # a longer list would hide what it is about


def scores_note(results: Sequence[BagResult], models: Sequence[str]) -> str:
    """Why there are no scores, with the bags and models that it concerns if that is not all."""
    concerned: dict[str, list[tuple[str, str]]] = {}
    for result in results:
        for model in models:
            if reason := result.facts[model].not_scored:
                concerned.setdefault(reason, []).append((result.bag, model))
    return "; ".join(
        f"Not scored{_of(pairs, results, models)}: {reason}."
        for reason, pairs in sorted(concerned.items())
    )


def damaged_note(results: Sequence[BagResult]) -> str:
    """How many of the images are no picture; empty if all are."""
    damaged = [result for result in results if result.damaged]
    if not damaged:
        return ""
    count, read = sum(r.damaged for r in damaged), sum(r.read for r in results)
    where = f" ({_few([r.bag for r in damaged])})" if len(results) > 1 else ""
    return f"{count} of {read} images could not be decoded{where}."


def _of(
    pairs: Sequence[tuple[str, str]], results: Sequence[BagResult], models: Sequence[str]
) -> str:
    bags, named = (list(dict.fromkeys(column)) for column in zip(*pairs, strict=True))
    words = f" of {_few(named)}" if len(named) < len(models) else ""
    return words + (f" in {_few(bags)}" if len(bags) < len(results) else "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
