"""A whole benchmark: groups of configurations, each measured in interleaved rounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch

from ..errors import ErfSegError, in_words
from ..synthetic import SyntheticDrive
from ..training.recipe import Source
from .accuracy import Accuracy, AccuracyTable
from .configuration import Baseline, Configuration
from .contenders import Contender, create_contender, load_subject
from .load import CpuWatch
from .memory import Memory, measure_memory
from .rounds import Durations, measure_rounds, warm_up
from .statistics import Estimate, speedup

IMAGES = 4
"""Different pictures that the calls go through; a batch takes as many as it needs."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    `outputs`: logits per pixel, see `contenders.load_subject`. `data`: labelled images for the
    mIoU; without them it is the checkpoint's own word.
    """

    image_size: tuple[int, int]
    rounds: int
    outputs: int
    seed: int = 0
    memory: bool = True
    data: Source | None = None


@dataclass
class Row:
    """What became of one configuration: the duration of each round's call, or why there is none."""

    configuration: Configuration
    durations: Durations = field(default_factory=Durations)
    weights: str = ""
    device: str = ""  # what "auto" came to, and the same for the precision
    precision: str = ""
    memory: Memory | None = None
    accuracy: Accuracy | None = None
    failure: str = ""

    @property
    def ms_per_image(self) -> np.ndarray:
        """Durations by the clock divided by the batch, float64[rounds]."""
        return np.asarray(self.durations.ms) / self.configuration.batch

    @property
    def cpu_ms_per_image(self) -> float:
        """Median CPU time of all threads, per image."""
        return float(np.median(self.durations.cpu_ms)) / self.configuration.batch


@dataclass
class Benchmark:
    """All rows so far; it grows while it runs, so that Ctrl-C leaves what was measured."""

    settings: Settings
    baseline: Baseline | None
    rows: dict[Configuration, Row] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    cores_used_by_others: float = 0.0

    def measured(self) -> list[Row]:
        """Rows with at least one duration, in the order asked for."""
        return [row for row in self.rows.values() if row.durations.ms]

    def failed(self) -> list[Row]:
        """Rows that could not run."""
        return [row for row in self.rows.values() if row.failure]

    def speedup(self, row: Row) -> Estimate | None:
        """How many times faster per image than the baseline of the row's group, if measured."""
        if self.baseline is None:
            return None
        reference = self.rows.get(self.baseline.row_for(row.configuration))
        if reference is None or not reference.durations.ms or not row.durations.ms:
            return None
        return speedup(reference.ms_per_image, row.ms_per_image)


def run_benchmark(
    benchmark: Benchmark,
    configurations: Sequence[Configuration],
    on_step: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure all configurations into `benchmark`; `on_step` hears what is being done, often."""
    images = street_images(benchmark.settings.image_size)
    watch = CpuWatch()
    try:
        for group in _groups(configurations):
            _measure_group(benchmark, group, images, on_step)
    finally:
        benchmark.cores_used_by_others = watch.cores_used_by_others()
    _add_accuracies(benchmark, on_step)
    if benchmark.settings.memory:
        for row in benchmark.measured():
            on_step(f"memory of {row.configuration.name} {row.configuration.engine}")
            _add_memory(benchmark, row)


def street_images(size: tuple[int, int]) -> list[np.ndarray]:
    """Pictures uint8 BGR of (height, width) as a camera has them, a second apart."""
    drive = SyntheticDrive(seed=11, size=size)
    return [drive.frame(15 * index).image_bgr for index in range(IMAGES)]


def _groups(configurations: Sequence[Configuration]) -> list[list[Configuration]]:
    groups: dict[tuple[Any, ...], list[Configuration]] = {}
    for configuration in configurations:
        groups.setdefault(configuration.group, []).append(configuration)
    return list(groups.values())


def _measure_group(
    benchmark: Benchmark,
    group: Sequence[Configuration],
    images: Sequence[np.ndarray],
    on_step: Callable[[str], None],
) -> None:
    threads_before = torch.get_num_threads(), cv2.getNumThreads()
    cv2.setNumThreads(group[0].threads)
    contenders: dict[Configuration, Contender] = {}
    times: dict[Configuration, Durations] = {}
    try:
        for configuration in group:
            on_step(f"preparing {configuration.name} {configuration.engine}")
            row = benchmark.rows.setdefault(configuration, Row(configuration))
            contender = _prepare(row, benchmark.settings, images)
            if contender is not None:
                contenders[configuration] = contender
        calls = {c: _next_batch(contender, c.batch, images) for c, contender in contenders.items()}
        settings = benchmark.settings

        def on_failure(configuration: Configuration, error: Exception) -> None:
            benchmark.rows[configuration].failure = in_words(error)

        measure_rounds(
            calls, settings.rounds, settings.seed, times, lambda: on_step("rounds"), on_failure
        )
    finally:
        for configuration, durations in times.items():
            benchmark.rows[configuration].durations = durations
        for contender in contenders.values():
            contender.close()
        torch.set_num_threads(threads_before[0])
        cv2.setNumThreads(threads_before[1])


def _prepare(row: Row, settings: Settings, images: Sequence[np.ndarray]) -> Contender | None:
    """Build and warm up; a configuration that fails says why in its row."""
    c = row.configuration
    try:
        subject = load_subject(c.model, settings.outputs, c.input_size)
        contender = create_contender(c, subject)
        warm_up(_next_batch(contender, c.batch, images))
    except Exception as error:  # also an engine's own; the other rows are still worth having
        row.failure = in_words(error)
        return None
    row.weights, row.device, row.precision = subject.weights, contender.device, contender.precision
    return contender


def _next_batch(
    contender: Contender, batch: int, images: Sequence[np.ndarray]
) -> Callable[[], list[np.ndarray]]:
    """Call for the next images of the endless list."""
    source = itertools.cycle(images)
    return lambda: contender([next(source) for _ in range(batch)])


def _add_accuracies(benchmark: Benchmark, on_step: Callable[[str], None]) -> None:
    settings = benchmark.settings
    table = AccuracyTable(settings.data, settings.outputs, lambda: on_step("scoring images"))
    for row in benchmark.measured():
        try:
            row.accuracy = table.of(row.configuration, row.precision)
        except Exception as error:  # what was measured is worth having without it
            benchmark.remarks.append(f"no mIoU of {row.configuration.name}: {in_words(error)}")


def _add_memory(benchmark: Benchmark, row: Row) -> None:
    settings = benchmark.settings
    try:
        row.memory = measure_memory(row.configuration, settings.image_size, settings.outputs)
    except ErfSegError as error:
        benchmark.remarks.append(f"{row.configuration.name} {row.configuration.engine}: {error}")
