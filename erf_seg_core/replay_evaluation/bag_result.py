"""The result of one bag on disk: complete and for these very inputs, or else it is made again."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import find_checkpoint
from ..inference.user_cache import user_cache
from ..report.pictures import Strip
from ..whole_file import whole_file
from .frame_table import FrameTable
from .model_scorer import ModelCounts
from .options import EvaluationOptions

_SUMMARY = "bag.json"  # written last: where it is, the rest is whole
_PICTURES = "pictures.json"
_IN_FILES_OF_THEIR_OWN = ("models", "facts", "shown", "worst")
_COUNTS = ("boundary", "calibration", "flicker")
_FORMAT = 3


@dataclass(frozen=True)
class ModelFacts:
    """What ran, and why its frames have no scores, where they have none."""

    engine: str
    device: str
    not_scored: str = ""


@dataclass(frozen=True)
class BagResult:
    """One bag, evaluated with all models.

    `recorded` counts the frames that the bag has (or the limit), `read` those that were read,
    `damaged` the messages among them that are no picture. `problem` says why not all were read;
    empty otherwise. `image_size` is (height, width). `seconds` is the time it took, but for a
    reference that is none of the models. `shown` are pictures spread over the bag, `worst` those
    of each model's lowest mIoU, the worst first.
    """

    bag: str
    path: str
    image_topic: str
    image_size: tuple[int, int]
    recorded: int
    read: int
    damaged: int
    first_ns: int
    last_ns: int
    problem: str
    interrupted: bool
    seconds: float
    facts: dict[str, ModelFacts]
    models: dict[str, ModelCounts] = field(repr=False)
    shown: list[Strip] = field(repr=False)
    worst: dict[str, list[tuple[float, Strip]]] = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether every frame of the bag was evaluated."""
        return not self.problem and not self.interrupted

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write the files into `folder`, replacing older ones. Raises `OSError`."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        plain = {k: v for k, v in vars(self).items() if k not in _IN_FILES_OF_THEIR_OWN}
        plain["facts"] = {name: asdict(facts) for name, facts in self.facts.items()}
        for name, model in self.models.items():
            counts = {f"sum_{key}": getattr(model, key) for key in _COUNTS}
            np.savez_compressed(folder / f"{name}.npz", **model.table.to_arrays(), **counts)
        pictures = {
            "shown": [asdict(strip) for strip in self.shown],
            "worst": {
                name: [[score, asdict(strip)] for score, strip in worst]
                for name, worst in self.worst.items()
            },
        }
        (folder / _PICTURES).write_text(json.dumps(pictures), encoding="utf-8")
        about = {"format": _FORMAT, "fingerprint": fingerprint, **plain}
        with whole_file(folder / _SUMMARY) as partial:
            partial.write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, fingerprint: str) -> BagResult | None:
        """The result in `folder`; None if there is none, one of other inputs, or a broken one."""
        try:
            about = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
            if (about.pop("format"), about.pop("fingerprint")) != (_FORMAT, fingerprint):
                return None
            facts = {name: ModelFacts(**values) for name, values in about.pop("facts").items()}
            models = {name: _load_model(folder, name) for name in facts}
            about["image_size"] = tuple(about["image_size"])
            pictures = json.loads((folder / _PICTURES).read_text(encoding="utf-8"))
            shown = [Strip(**strip) for strip in pictures["shown"]]
            worst = {
                name: [(score, Strip(**strip)) for score, strip in strips]
                for name, strips in pictures["worst"].items()
            }
            return cls(facts=facts, models=models, shown=shown, worst=worst, **about)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None


def fingerprint_of(bag: Path, options: EvaluationOptions) -> str:
    """Changes with everything that could change the numbers: bag, options, weights."""
    files = sorted(f for f in bag.rglob("*") if f.is_file()) if bag.is_dir() else [bag]
    inputs: dict[str, Any] = {
        "bag": [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files],
        "options": asdict(options),
        "weights": [
            hashlib.sha256(find_checkpoint(model).read_bytes()).hexdigest()
            for model in (*options.models, options.reference)
            if model is not None
        ],
    }
    # With one of these, the precision "auto" may be INT8.
    calibrations = sorted(user_cache("int8").glob("*.json"))
    inputs["calibrations"] = [(f.name, f.stat().st_mtime_ns) for f in calibrations]
    if options.truth_folder is not None:
        labels = sorted(options.truth_folder.rglob("*.png"))
        inputs["truth"] = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in labels]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _load_model(folder: Path, name: str) -> ModelCounts:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    counts = {key: arrays.pop(f"sum_{key}") for key in _COUNTS}
    return ModelCounts(table=FrameTable.from_arrays(arrays), **counts)
