"""What is compared: one configuration is one row of the table."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import SUFFIX, find_checkpoint
from ..errors import ErfSegError
from ..inference.segmenter import checked_input_size
from ..models import parse_model_name

EAGER = ("eager", "upstream")
"""The network as one writes it down: `build_model(...).eval()`, whole frame, in plain PyTorch.

"eager" takes labels by `logits.argmax(1)`, "upstream" by `logits.max(1)[1]`, which is what ERFNet's
own scripts do (https://github.com/Eromera/erfnet_pytorch, eval/eval_iou.py) and faster on CPUs.
"""
ENGINES = (*EAGER, "torch", "onnxruntime", "tensorrt")
PRECISIONS = ("auto", "fp32", "fp16", "int8")


@dataclass(frozen=True)
class Configuration:
    """One model, run in one way, at one network input size (height, width), on batches."""

    model: str
    engine: str
    precision: str
    input_size: tuple[int, int]
    device: str
    threads: int
    batch: int = 1

    @property
    def name(self) -> str:
        """The model's name, or the checkpoint's path without suffix: all runs' files are alike."""
        return self.model.removesuffix(SUFFIX)

    @property
    def group(self) -> tuple[Any, ...]:
        """Configurations of one group are measured in the same rounds."""
        return (self.device, self.input_size, self.threads)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "model": self.name, "input_size": list(self.input_size)}


@dataclass(frozen=True)
class Baseline:
    """The row that the others of its group are compared with: a model and an engine, float32."""

    model: str
    engine: str

    @classmethod
    def parse(cls, text: str) -> Baseline:
        """Read `MODEL:ENGINE`; `ErfSegError` says what is wrong with it."""
        model, colon, engine = text.rpartition(":")
        if not colon or engine not in ENGINES:
            raise ErfSegError(
                f"baseline '{text}' is not MODEL:ENGINE with an engine of {', '.join(ENGINES)}"
            )
        return cls(checked_model(model), engine)

    def row_for(self, group_member: Configuration) -> Configuration:
        """Return the configuration that a row is compared with: one image at a time."""
        m = group_member
        return Configuration(
            self.model, self.engine, "fp32", m.input_size, m.device, m.threads, batch=1
        )


def checked_model(name: str) -> str:
    """Return a checkpoint's path as it is, a model's name in the registry's spelling."""
    is_file = Path(name).is_file() or os.sep in name or name.endswith(SUFFIX)
    return str(find_checkpoint(name)) if is_file else parse_model_name(name)


def combinations(
    models: Sequence[str],
    engines: Sequence[str],
    precisions: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    devices: Sequence[str],
    threads: Sequence[int],
    batches: Sequence[int] = (1,),
    baseline: Baseline | None = None,
) -> list[Configuration]:
    """Every combination, and the baseline of each group; eager engines exist in float32 only.

    Raises `ErfSegError` for an unknown model, engine or precision, an input size that is not
    possible, or a number below 1.
    """
    _refuse_unknown("engine", engines, ENGINES)
    _refuse_unknown("precision", precisions, PRECISIONS)
    _refuse_below_one("threads", threads)
    _refuse_below_one("batch", batches)
    models = [checked_model(model) for model in models]
    sizes = [checked_input_size(size) for size in sizes]
    rows = [
        Configuration(model, engine, precision, size, device, count, batch)
        for device, size, count, model, engine, precision, batch in itertools.product(
            devices, sizes, threads, models, engines, precisions, batches
        )
        if engine not in EAGER or precision == precisions[0]
    ]
    rows = [_in_float32(row) if row.engine in EAGER else row for row in rows]
    if baseline is not None:
        rows = [*(baseline.row_for(row) for row in rows), *rows]
    return list(dict.fromkeys(rows))


def _in_float32(row: Configuration) -> Configuration:
    return Configuration(**{**asdict(row), "precision": "fp32"})


def _refuse_unknown(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ErfSegError(f"no {what} '{name}'; it is one of {', '.join(known)}")


def _refuse_below_one(what: str, given: Sequence[int]) -> None:
    for number in given:
        if number < 1:
            raise ErfSegError(f"{what} is {number}; it must be at least 1")
