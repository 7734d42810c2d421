"""The data of one training: opened, and found wanting before anything is learnt."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from tqdm import tqdm

from ..class_sets import VOID_ID, ClassSet
from ..errors import ErfSegError
from .dataset import TrainingImages
from .recipe import Recipe, Source
from .sources import LabelledSet, open_source
from .tasks import ClassifiedImages

DATA_VARIABLE = "ERF_SEG_DATA"  # folder of the data sets where a recipe names no data_root


class RunData:
    """What a recipe learns from and is scored on.

    `validation` are the open sets by name; `fingerprint` changes with the classes and with the
    names of the training images, in their order.
    """

    def __init__(self, recipe: Recipe, class_set: ClassSet, quiet: bool) -> None:
        """Find all files; read the validation sets once.

        Raises `ErfSegError` naming what is missing, damaged or of no use.
        """
        self._recipe, self._class_set, self._quiet = recipe, class_set, quiet
        self._root = Path(recipe.data_root or os.environ.get(DATA_VARIABLE, "."))
        self.validation = {v.name: self._opened(v.source) for v in recipe.validation}
        for name, labelled in self.validation.items():
            self._check_validation_set(name, labelled)
        self._train = [self._opened(source) for source in recipe.train]
        self._classified = {
            stage.images: ClassifiedImages(self._root / stage.images)
            for stage in recipe.stages
            if stage.task == "classify"
        }
        self.fingerprint = self._fingerprint()

    def classified(self, images: str) -> ClassifiedImages:
        """Folder of classified images that a stage names."""
        return self._classified[images]

    def read_images(self) -> TrainingImages:
        """Read all training images; `ErfSegError` for a bad one, or a stage that learns nothing."""
        recipe = self._recipe
        tallest = max(1.0, *(s.augmentation.scale[1] for s in recipe.stages))
        height = round(recipe.input_size[0] * tallest)
        images = TrainingImages(self._train, height, recipe.cache, self._quiet)
        for index, stage in enumerate(recipe.stages):
            if stage.task != "classify" and not images.pixels(index)[:VOID_ID].any():
                raise ErfSegError(
                    f"the training images of stages.{index} are all void: there is nothing to learn"
                )
        return images

    def missing_classes(self, images: TrainingImages) -> list[str]:
        """Names of the classes that the last stage, and so the network, can learn nothing of."""
        pixels = images.pixels(len(self._recipe.stages) - 1)
        if pixels[self._class_set.num_classes : VOID_ID].any():
            return []  # of a union's pixels some may be of any of its classes
        return [name for i, name in self._class_set.used().items() if not pixels[i]]

    def _opened(self, source: Source) -> LabelledSet:
        try:
            return open_source(source, self._class_set, self._root)
        except ErfSegError as error:
            if self._recipe.data_root or DATA_VARIABLE in os.environ:
                raise
            raise ErfSegError(
                f"{error}; name the folder that the data sets lie in with --data-root or "
                f"{DATA_VARIABLE}"
            ) from error

    def _check_validation_set(self, name: str, labelled: LabelledSet) -> None:
        """Find a bad file now rather than after the first epochs."""
        known = False
        for i in tqdm(range(len(labelled.frames)), f"checking {name}", disable=self._quiet):
            _, truth = labelled.load(i)
            if ((truth >= self._class_set.num_classes) & (truth != VOID_ID)).any():
                raise ErfSegError(f"validation set '{name}' has union labels; only classes count")
            known = known or bool((truth != VOID_ID).any())
        if not known:
            raise ErfSegError(f"validation set '{name}' is all void: there is nothing to score")

    def _fingerprint(self) -> str:
        names = [[frame.name for frame in labelled.frames] for labelled in self._train]
        pictures = [
            [(path.name, label) for path, label in images.files]
            for images in self._classified.values()
        ]
        parts = [self._class_set.to_dict(), names, *pictures]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
