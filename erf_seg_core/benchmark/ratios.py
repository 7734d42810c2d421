"""Ratios that a run must reach: what `make bench` fails by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ..errors import ErfSegError
from .configuration import Configuration
from .run import Benchmark, Row
from .statistics import Estimate, speedup


@dataclass(frozen=True)
class Ratio:
    """`faster` must take at most 1/`at_least` of the time of `than`, per image, in one run.

    Both are MODEL:ENGINE, or MODEL for its fastest row of the run.
    """

    faster: str
    than: str
    at_least: float


@dataclass(frozen=True)
class Verdict:
    """A ratio as measured."""

    ratio: Ratio
    measured: Estimate
    faster: Row
    than: Row

    @property
    def holds(self) -> bool:
        """Whether the median reaches what is asked for."""
        return self.measured.value >= self.ratio.at_least

    def __str__(self) -> str:
        """One line: what was asked for and what came."""
        m, r = self.measured, self.ratio
        word = "ok  " if self.holds else "FAIL"
        return (
            f"{word} {_name(self.faster)} is {m.value:.2f} times as fast as {_name(self.than)} "
            f"(95 %: {m.low:.2f} to {m.high:.2f}); at least {r.at_least:g} is asked for"
        )


def read_ratios(path: Path) -> list[Ratio]:
    """Read a YAML list of {faster, than, at_least}; `ErfSegError` says what is wrong with it."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [Ratio(str(e["faster"]), str(e["than"]), float(e["at_least"])) for e in entries]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ErfSegError(f"cannot read ratios {path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ErfSegError(
            f"{path} is no list of ratios ({error!r}); each is {{faster: MODEL[:ENGINE], "
            "than: MODEL[:ENGINE], at_least: NUMBER}}"
        ) from error


def refuse_unmeasurable(ratios: Sequence[Ratio], planned: Sequence[Configuration]) -> None:
    """Find out before the measuring whether a ratio names what will not be measured."""
    for text in (text for ratio in ratios for text in (ratio.faster, ratio.than)):
        if not any(_is_named(text, configuration) for configuration in planned):
            raise ErfSegError(f"a ratio is about '{text}', which is not among the rows to measure")


def judge(benchmark: Benchmark, ratios: Sequence[Ratio]) -> list[Verdict]:
    """Hold a run against ratios; `ErfSegError` if a row that one names was not measured."""
    verdicts = []
    for ratio in ratios:
        faster, than = (_row(benchmark, text) for text in (ratio.faster, ratio.than))
        measured = speedup(than.ms_per_image, faster.ms_per_image)
        verdicts.append(Verdict(ratio, measured, faster, than))
    return verdicts


def _row(benchmark: Benchmark, text: str) -> Row:
    rows = [row for row in benchmark.measured() if _is_named(text, row.configuration)]
    if not rows:
        reasons = "; ".join(sorted({row.failure for row in benchmark.failed()})) or "not asked for"
        raise ErfSegError(f"the run has no row '{text}' to judge: {reasons}")
    return min(rows, key=lambda row: float(np.median(row.ms_per_image)))


def _is_named(text: str, configuration: Configuration) -> bool:
    model, _, engine = text.partition(":")
    return configuration.name == model and engine in ("", configuration.engine)


def _name(row: Row) -> str:
    c = row.configuration
    return f"{c.name}:{c.engine}" + (f":{row.precision}" if row.precision == "int8" else "")
