"""The recipe: everything a training needs to know, checked before it starts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import ErfSegError
from ..grouping import AlphaSchedule, make_schedule
from ..models import STRIDE, ModuleOrder, get_spec, parse_model_name
from .plain_data import build_dataclass, override, unshared

SourceKind = Literal["camvid", "cityscapes", "idd_lite", "synthetic", "folder"]
Task = Literal["classify", "encoder", "segment"]

TRAINING = "training"
"""What a run's metrics call the training itself, beside the validation sets' names."""


@dataclass(frozen=True)
class Source:
    """Labelled images: a data set on disk (below `data_root`) or the synthetic drive."""

    kind: SourceKind
    path: str = ""
    split: str = "train"
    only: tuple[str, ...] = ()  # file-name prefixes to keep, for example one drive
    skip: tuple[str, ...] = ()  # file-name prefixes to leave out
    repeat: float = 1.0  # how often an epoch shows each image
    stages: tuple[int, ...] = ()  # numbers of the stages that learn from it, from 0; none: all
    drives: int = 20  # synthetic: how many streets, each with its own light and weather
    frames: int = 400  # synthetic: of all drives together, one second apart
    seed: int = 0  # synthetic: of the first drive
    size: tuple[int, int] = (360, 480)  # synthetic: (height, width)

    def teaches(self, stage: int) -> bool:
        """Whether stage number `stage` learns from these images."""
        return not self.stages or stage in self.stages


@dataclass(frozen=True)
class Validation:
    """A named set that is scored but never trained on."""

    name: str
    source: Source


@dataclass(frozen=True)
class Augmentation:
    """Random changes of each training image; colours in fractions."""

    crop: tuple[int, int] = (240, 320)
    scale: tuple[float, float] = (0.75, 1.5)  # relative to input_size
    flip: bool = True
    shift: int = 0  # ERFNet's random translation, up to so many pixels each way
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    tint: float = 0.05  # independent gain of each colour channel


@dataclass(frozen=True)
class Grouping:
    """Gradual grouping over the stage: the arguments of `erf_seg_core.grouping.make_schedule`."""

    schedule: Literal["linear", "power", "constant_linear"] = "linear"
    hold: float = 0.4
    wait: float | None = None
    power: float | None = None
    permute: Literal["magnitude"] | None = None

    def alpha(self, total_steps: int) -> AlphaSchedule:
        """α over a stage of so many steps; `ValueError` if the values leave it no room."""
        return make_schedule(self.schedule, total_steps, self.hold, self.wait, self.power)


@dataclass(frozen=True)
class Distillation:
    """Learn from a trained network of the same classes, beside the labels (Hinton et al. 2015)."""

    teacher: str  # checkpoint path or shipped model name
    weight: float = 1.0
    temperature: float = 1.0


@dataclass(frozen=True)
class Stage:
    """One phase of the training, with its own optimizer and learning-rate curve.

    `classify` trains the encoder on an image-classification folder, `encoder` trains it with a 1×1
    head on labels at 1/8 resolution, `segment` trains the whole network. `freeze_epochs` holds the
    encoder at `frozen_lr` (5e-20 in the paper, Section 4.3) for the first epochs.
    """

    task: Task = "segment"
    epochs: int = 100
    batch_size: int = 8  # images per optimisation step, over all processes
    accumulate: int = 1  # forward passes per optimisation step
    optimizer: Literal["adam", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    poly_power: float = 0.9
    warmup_steps: int = 0
    freeze_epochs: int = 0
    frozen_lr: float = 5e-20
    clip_norm: float = 0.0  # 0: gradients are not clipped
    class_weights: bool = True  # of rare classes more, ERFNet's: losses.class_weights
    ohem_fraction: float = 1.0  # below 1: only the hardest pixels, at least this fraction
    ema: float = 0.0  # decay of the averaged weights; 0: none
    recalibrate_batches: int = 0  # of batch-norm statistics at the end of the stage
    images: str = ""  # folder of class folders, for classify
    augmentation: Augmentation = field(default_factory=Augmentation)
    grouping: Grouping | None = None
    distillation: Distillation | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole training. Every value can be overridden: `--stages.0.epochs 20`."""

    model: str
    train: tuple[Source, ...]
    stages: tuple[Stage, ...]
    validation: tuple[Validation, ...] = ()
    class_set: str = "camvid11"
    void_output: bool = False  # one more output for void, as public Cityscapes networks have
    module_order: ModuleOrder = "released"
    dropout: tuple[float, float] = (0.03, 0.3)
    input_size: tuple[int, int] = (360, 480)
    init: str = ""  # checkpoint to start from
    seed: int = 1
    data_root: str = ""
    output: str = "runs/{model}_seed{seed}"
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    threads: int = 0  # of torch; 0: its default
    workers: int = 0  # processes that prepare images; 0: none
    cache: bool = True  # hold all images in memory
    save_minutes: float = 5.0
    validate_every: int = 10  # epochs
    notes: str = ""

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        parse_model_name(self.model)
        if not self.stages or self.stages[-1].task != "segment":
            raise ErfSegError("a recipe needs stages, and the last one must be of task 'segment'")
        if any(side % STRIDE or side < STRIDE for side in self.input_size):
            raise ErfSegError(f"input_size {list(self.input_size)} is not made of multiples of 8")
        if not self.train:
            raise ErfSegError("a recipe needs training images: 'train' is empty")
        for name, least in (("validate_every", 1), ("seed", 0), ("threads", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise ErfSegError(f"{name} must be at least {least}")
        if self.seed > _LARGEST_SEED:
            raise ErfSegError(f"seed must be at most {_LARGEST_SEED}")
        if not self.save_minutes >= 0:
            raise ErfSegError("save_minutes must not be negative")
        _check_names([v.name for v in self.validation])
        _check_output(self)
        if not all(0 <= rate < 1 for rate in self.dropout):
            raise ErfSegError(f"dropout {list(self.dropout)}: each must be from 0 to below 1")
        for i, source in enumerate(self.train):
            _check_source(source, f"train.{i}")
        for i, validation in enumerate(self.validation):
            _check_source(validation.source, f"validation.{i}.source")
        _check_source_stages(self)
        for i, stage in enumerate(self.stages):
            _check_stage(stage, f"stages.{i}")
        _check_grouping(self)

    @property
    def output_folder(self) -> Path:
        """Where the run writes."""
        return Path(self.output.format(model=parse_model_name(self.model), seed=self.seed))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


_LARGEST_SEED = (2**63 - 1) // 1000 - 1  # each stage has its own thousandth, and torch no more

_OF_FILES = ("path", "split", "only", "skip")  # keys of a source that only some kinds have
_OF_SYNTHETIC = ("drives", "frames", "seed", "size")

_NOT_NEGATIVE = (
    "lr",
    "weight_decay",
    "poly_power",
    "warmup_steps",
    "freeze_epochs",
    "frozen_lr",
    "clip_norm",
    "recalibrate_batches",
)


def load_recipe(path: str | Path, assignments: Sequence[tuple[str, str]] = ()) -> Recipe:
    """Read a recipe file, override dotted keys, check all of it.

    Raises `ErfSegError` saying which key is wrong and why.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ErfSegError(f"cannot read recipe {path}: {error}") from error
    if not isinstance(data, dict):
        raise ErfSegError(f"recipe {path} is no mapping of keys, such as 'model: dg4'")
    data = unshared(data)
    override(data, assignments)
    return build_dataclass(Recipe, data)


def _check_source(source: Source, where: str) -> None:
    drawn = source.kind == "synthetic"
    for name in _OF_FILES if drawn else _OF_SYNTHETIC:
        if getattr(source, name) != getattr(Source, name):
            what = "a synthetic drive" if drawn else f"a source of kind '{source.kind}'"
            raise ErfSegError(f"{where}: {what} has no {name}")
    if not 0 < source.repeat < math.inf or source.drives < 1 or source.frames < 1:
        raise ErfSegError(f"{where}: repeat must be above 0, drives and frames at least 1")


def _check_source_stages(recipe: Recipe) -> None:
    count = len(recipe.stages)
    learning = [i for i, stage in enumerate(recipe.stages) if stage.task != "classify"]
    for i, source in enumerate(recipe.train):
        if beyond := [s for s in source.stages if not 0 <= s < count]:
            raise ErfSegError(
                f"train.{i}.stages: there is no stage {beyond[0]}, only 0 to {count - 1}"
            )
        if not any(source.teaches(stage) for stage in learning):
            raise ErfSegError(f"train.{i} is for 'classify' alone, which has images of its own")
    for i in learning:
        if not any(source.teaches(i) for source in recipe.train):
            raise ErfSegError(f"stages.{i} has no training images: every source names other stages")
    for i, validation in enumerate(recipe.validation):
        if validation.source.stages or validation.source.repeat != Source.repeat:
            raise ErfSegError(f"validation.{i}.source: stages and repeat are for training images")


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1 or name == TRAINING:
            raise ErfSegError(f"the validation sets need names of their own, not '{name}' again")


def _check_output(recipe: Recipe) -> None:
    try:
        _ = recipe.output_folder
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ErfSegError(
            f"output is '{recipe.output}'; in it only {{model}} and {{seed}} are replaced"
        ) from error


def _check_grouping(recipe: Recipe) -> None:
    grouped = [i for i, stage in enumerate(recipe.stages) if stage.grouping]
    if not grouped:
        return
    if len(grouped) > 1:
        raise ErfSegError(f"stages.{grouped[1]}: the groups have evolved in stages.{grouped[0]}")
    if get_spec(recipe.model).groups == 1:
        raise ErfSegError(
            f"model '{recipe.model}' has no grouped convolutions to evolve; "
            f"remove 'grouping' from stages.{grouped[0]}"
        )
    settings, where = recipe.stages[grouped[0]].grouping, f"stages.{grouped[0]}.grouping"
    try:
        settings.alpha(total_steps=1000)
    except ValueError as error:
        raise ErfSegError(f"{where}: {error}") from error


def _check_stage(stage: Stage, where: str) -> None:
    if stage.epochs < 1 or stage.batch_size < 1 or stage.accumulate < 1:
        raise ErfSegError(f"{where}: epochs, batch_size and accumulate must be at least 1")
    if stage.batch_size % stage.accumulate:
        raise ErfSegError(f"{where}: batch_size must be a multiple of accumulate")
    if any(side % STRIDE or side < STRIDE for side in stage.augmentation.crop):
        raise ErfSegError(f"{where}: augmentation.crop must be made of multiples of {STRIDE}")
    height, width = stage.augmentation.crop
    if height * width // STRIDE**2 * (stage.batch_size // stage.accumulate) < 2:
        raise ErfSegError(
            f"{where}: forward passes of one image of {height}×{width} leave batch norms a single "
            "value: enlarge augmentation.crop or batch_size"
        )
    low, high = stage.augmentation.scale
    if not 0 < low <= high < math.inf:
        raise ErfSegError(f"{where}: augmentation.scale must be two rising positive numbers")
    if stage.freeze_epochs > stage.epochs:
        raise ErfSegError(
            f"{where}: freeze_epochs {stage.freeze_epochs} is more than its {stage.epochs} epochs"
        )
    if not 0 < stage.ohem_fraction <= 1:
        raise ErfSegError(f"{where}: ohem_fraction must be in (0, 1]")
    if not 0 <= stage.ema < 1:
        raise ErfSegError(f"{where}: ema must be in [0, 1)")
    if stage.task == "classify" and not stage.images:
        raise ErfSegError(f"{where}: task 'classify' needs 'images', a folder of class folders")
    if stage.task != "classify" and stage.images:
        raise ErfSegError(
            f"{where}: 'images' is for the task 'classify'; others learn from 'train'"
        )
    if stage.task == "classify" and stage.ohem_fraction != 1:
        raise ErfSegError(f"{where}: ohem_fraction is for tasks that learn pixels")
    if stage.task != "segment" and stage.distillation:
        raise ErfSegError(f"{where}: distillation is for the task 'segment'")
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(stage, name) < math.inf:
            raise ErfSegError(f"{where}: {name} must not be negative, nor endless")
    for name in ("shift", "brightness", "contrast", "saturation", "tint"):
        if not 0 <= getattr(stage.augmentation, name) < math.inf:
            raise ErfSegError(f"{where}: augmentation.{name} must not be negative")
    teaching = stage.distillation
    if teaching and not (0 < teaching.temperature < math.inf and 0 <= teaching.weight < math.inf):
        raise ErfSegError(f"{where}: distillation needs temperature above 0, weight not negative")
