"""Finding a model's frame scores in the folders that `erf_seg bag evaluate` writes."""

from __future__ import annotations

import json
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
        return _model_in(Path(folder), model)
    if (path / FILE_NAME).is_file():
        return _model_in(path.resolve().parent, path.resolve().name)
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
    """Names of the models of a folder's last run that have scores; `ErfSegError` for none."""
    found = sorted(path.parent.name for path in folder.glob(f"*/{FILE_NAME}"))
    listed = _listed_models(folder)
    names = found if listed is None else [name for name in listed if name in found]
    if not names:
        raise ErfSegError(
            f"{folder} is no folder of results: `erf_seg bag evaluate … --output {folder}` makes it"
        )
    return names


def _model_in(folder: Path, model: str) -> ResultFolder:
    listed = _listed_models(folder)
    has_scores = (folder / model / FILE_NAME).is_file()
    if has_scores and listed is not None and model not in listed:
        raise ErfSegError(
            f"{folder} holds an older run's {model}, which its summary.json does not list: "
            "evaluate it again"
        )
    names = models_in(folder)
    if model not in names:
        raise ErfSegError(f"{folder} has no results of '{model}', but of {', '.join(names)}")
    return ResultFolder(folder, model)


def _listed_models(folder: Path) -> list[str] | None:
    """Models of the last run in the order of the evaluation; None where nothing says which."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return list(summary["models"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
