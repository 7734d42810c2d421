"""One bag to evaluate: plain data that travels to other processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .options import EvaluationOptions


@dataclass(frozen=True)
class BagTask:
    """One bag to evaluate. `annotated` is where the annotated bag goes, by model."""

    bag: Path
    name: str
    options: EvaluationOptions
    annotated: Mapping[str, Path]
