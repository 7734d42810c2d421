"""Measuring speed so that it can be believed: interleaved, by ratio, with the machine beside it."""

from .configuration import ENGINES, PRECISIONS, Baseline, Configuration, combinations
from .run import Benchmark, Row, Settings, run_benchmark

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "Baseline",
    "Benchmark",
    "Configuration",
    "Row",
    "Settings",
    "combinations",
    "run_benchmark",
]
