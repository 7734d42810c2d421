"""Finding a model's frame scores in the folders that `erf_seg bag evaluate` writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ErfSegError
from .frame_scores import FILE_NAME, FrameScores


@dataclass(frozen=True)
class ResultFolder:
    """One model in a result folder: `OUT/MODEL/confusion.npz`."""

    folder: Path
    model: str

    def __str__(self) -> str:
        """Folder and model, as they are given on the command line."""
        return f"{self.folder}:{self.model}"

    def scores(self) -> FrameScores:
        """Read the scores."""
        return FrameScores.load(self.folder / self.model / FILE_NAME)

    def partial(self) -> str:
        """Why frames are missing; empty for a complete evaluation, or where nothing says so."""
        try:
            summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
            return str(summary.get("partial", ""))
        except (OSError, ValueError, AttributeError):
            return ""


def find_result(text: str) -> ResultFolder:
    """The model that `FOLDER` (of one model), `FOLDER:MODEL` or `FOLDER/MODEL` names."""
    path = Path(text)
    if not path.is_dir() and ":" in text:
        folder, _, model = text.rpartition(":")
        names = models_in(Path(folder))
        if model not in names:
            raise ErfSegError(f"{folder} has no results of '{model}', but of {', '.join(names)}")
        return ResultFolder(Path(folder), model)
    if (path / FILE_NAME).is_file():
        return ResultFolder(path.resolve().parent, path.resolve().name)
    names = models_in(path)
    if len(names) > 1:
        examples = " or ".join(f"{text}:{name}" for name in names)
        raise ErfSegError(f"{text} holds results of {len(names)} models: name one, {examples}")
    return ResultFolder(path, names[0])


def find_both(text: str) -> tuple[ResultFolder, ResultFolder]:
    """The two models of a folder that holds two, in the order in which they were evaluated."""
    folder = Path(text)
    names = models_in(folder)
    if len(names) != 2:
        raise ErfSegError(
            f"{text} holds results of {', '.join(names)}: name the two to compare, such as "
            f"{text}:{names[0]} {text}:{names[-1]}"
        )
    return ResultFolder(folder, names[0]), ResultFolder(folder, names[1])


def models_in(folder: Path) -> list[str]:
    """Names of the models with scores in a folder; `ErfSegError` if there are none."""
    found = sorted(path.parent.name for path in folder.glob(f"*/{FILE_NAME}"))
    if not found:
        raise ErfSegError(
            f"{folder} is no folder of results: `erf_seg bag evaluate … --output {folder}` makes it"
        )
    return sorted(found, key=_order_in_summary(folder))


def _order_in_summary(folder: Path) -> Callable[[str], int]:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        order = {name: place for place, name in enumerate(summary["models"])}
    except (OSError, ValueError, KeyError, TypeError):
        order = {}
    return lambda name: order.get(name, len(order))
