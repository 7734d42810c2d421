"""A queue file: trainings of one recipe that differ in a few values, each with several seeds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from erf_seg_core.errors import ErfSegError


@dataclass(frozen=True)
class Run:
    """One training of the queue."""

    name: str
    seed: int
    overrides: dict[str, Any]
    recipe: Path
    results: Path

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return f"{self.name.replace(' + ', '_').replace(' ', '_')}_seed{self.seed}"

    @property
    def base(self) -> str:
        """Digest of what the recipe file says, before the run's own changes."""
        said = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def result_file(self) -> Path:
        """Where its results are, once it is done."""
        return self.results / f"{self.stem}.json"

    def folder(self, runs: Path) -> Path:
        """Where it trains, among the runs of all queues."""
        return runs / self.results.name / self.stem


def read_queue(path: Path) -> list[Run]:
    """List the runs of a queue file, all of the first seed first; `common` holds for each."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        common = data.get("common", {})
        return [
            Run(name, seed, {**common, **overrides}, Path(data["recipe"]), Path(data["results"]))
            for seed in data["seeds"]
            for name, overrides in data["runs"].items()
        ]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ErfSegError(f"cannot read queue {path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ErfSegError(
            f"{path} is no queue ({error!r}): it needs recipe, results, seeds and runs"
        ) from error
