"""What is evaluated, and how; plain data that travels to other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bags.make import TRUTH_TOPIC
from ..checkpoint import find_checkpoint
from ..class_sets import load_class_set
from ..errors import ErfSegError, refuse_undecodable

ANNOTATIONS = ("labels", "confidence", "overlay", "timing", "image")
"""What an annotated bag may hold; "image" copies the camera's own messages into it."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Models and what they are scored against.

    `truth` is a topic of label images in the bag, or a folder of PNGs named after the stamps; None
    takes `TRUTH_TOPIC` where a bag has it. `reference` is a model whose labels stand in for truth.
    `limit` is frames of each bag, `threads` CPU threads of each network (None: the engine's
    choice), `annotate` what goes into the annotated bags, nothing for none.
    """

    models: tuple[str, ...]
    image_topic: str | None = None
    truth: str | None = None
    truth_classes: str = "camvid11"
    reference: str | None = None
    limit: int | None = None
    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None
    annotate: tuple[str, ...] = ("labels", "confidence", "overlay", "timing")

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is read."""
        if not self.models:
            raise ErfSegError("no model to evaluate: name one or more")
        if self.truth is not None and self.reference is not None:
            raise ErfSegError("give truth or a reference model to score against, not both")
        if self.limit is not None and self.limit < 1:
            raise ErfSegError(f"a limit of {self.limit} frames leaves nothing to evaluate")
        if self.threads is not None and self.threads < 1:
            raise ErfSegError(f"{self.threads} threads can do nothing: give at least 1")
        load_class_set(self.truth_classes)
        refuse_undecodable(Path(self.truth or ""))
        for model in (*self.models, *([self.reference] if self.reference else [])):
            refuse_undecodable(find_checkpoint(model))

    @property
    def truth_folder(self) -> Path | None:
        """The folder of label PNGs, if that is what `truth` names."""
        return Path(self.truth) if self.truth and Path(self.truth).is_dir() else None

    @property
    def truth_topic(self) -> str | None:
        """The topic that truth is looked for on; None where it comes from elsewhere."""
        if self.reference is not None or self.truth_folder is not None:
            return None
        return self.truth or TRUTH_TOPIC


def model_folders(models: Sequence[str]) -> dict[str, str]:
    """Folder of each model's results by model: its name, or that of its file, made distinct."""
    folders: dict[str, str] = {}
    for model in dict.fromkeys(models):
        stem = find_checkpoint(model).stem
        name, number = stem, 2
        while name in folders.values():
            name, number = f"{stem}-{number}", number + 1
        folders[model] = name
    return folders
