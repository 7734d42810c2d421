"""Checkpoints: weights in safetensors, with everything needed to run them as metadata.

The metadata is one JSON document under the key `erf_seg`. Nothing here ever unpickles.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .class_sets import ClassSet
from .errors import ErfSegError, is_file
from .models import (
    MODULE_ORDERS,
    STRIDE,
    ModuleOrder,
    SegmentationNetwork,
    build_model,
    parse_model_name,
)
from .whole_file import whole_file

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
_METADATA_KEY = "erf_seg"
_BATCH_COUNTER = "num_batches_tracked"  # batch norm's; of no use after training
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass
class CheckpointInfo:
    """What a checkpoint says about itself.

    `num_outputs` may exceed the number of classes: such outputs are void (Cityscapes networks
    have 20 outputs for 19 classes). `input_size` is (height, width). `metrics` says what was
    measured and on what, `recipe` how it was trained, `notes` where it comes from and the licence.
    """

    model: str
    num_outputs: int
    class_set: ClassSet
    input_size: tuple[int, int]
    module_order: ModuleOrder = "released"
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be built or run."""
        self.model = parse_model_name(self.model)
        self.input_size = _checked_size(self.input_size)
        if self.module_order not in MODULE_ORDERS:
            raise ErfSegError(f"module order '{self.module_order}' is not one of {MODULE_ORDERS}")
        if self.num_outputs < self.class_set.num_classes:
            raise ErfSegError(
                f"{self.num_outputs} outputs cannot hold the {self.class_set.num_classes} classes "
                f"of class set '{self.class_set.name}'"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the metadata and for `--json`."""
        return {
            "format": FORMAT_VERSION,
            "model": self.model,
            "module_order": self.module_order,
            "num_outputs": self.num_outputs,
            "class_set": self.class_set.to_dict(),
            "input_size": list(self.input_size),
            "recipe": self.recipe,
            "metrics": self.metrics,
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckpointInfo:
        """Inverse of `to_dict`; missing keys raise `KeyError`, bad values `ErfSegError`."""
        if data["format"] > FORMAT_VERSION:
            raise ErfSegError(
                f"it is of format {data['format']}, newer than this version of erf_seg reads "
                f"({FORMAT_VERSION}); update erf_seg"
            )
        return cls(
            model=data["model"],
            num_outputs=int(data["num_outputs"]),
            class_set=ClassSet.from_dict(data["class_set"]),
            input_size=tuple(data["input_size"]),
            module_order=data["module_order"],
            recipe=data["recipe"],
            metrics=data["metrics"],
            notes=data["notes"],
        )


def save_checkpoint(
    path: str | Path, weights: nn.Module | Mapping[str, Tensor], info: CheckpointInfo
) -> Path:
    """Write weights and metadata; the file appears whole or not at all.

    Weights may be float16 to halve the file; they are float32 again when loaded.
    Raises `ErfSegError` if they do not fit the model that `info` names, are not finite, or the disk
    refuses.
    """
    path = Path(path)
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in state.items()
        if not key.endswith(_BATCH_COUNTER)
    }
    _refuse_misfit(tensors, info, path)
    metadata = {_METADATA_KEY: json.dumps(info.to_dict())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            safetensors.torch.save_file(tensors, partial, metadata)
            partial.chmod(0o666 & ~_umask())  # safetensors lets nobody but the owner read it
    except (OSError, safetensors.SafetensorError) as error:
        raise ErfSegError(f"cannot write checkpoint {path}: {error}") from error
    return path


def _umask() -> int:
    """What new files are denied; the system only tells it in exchange for another."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_info(path: str | Path) -> CheckpointInfo:
    """Read the metadata only; fast, and refuses what `load_checkpoint` would refuse by header."""
    path = Path(path)
    _refuse_unreadable(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ErfSegError(
            f"{path} is corrupt or cut short ({error}); fetch or copy it again"
        ) from error
    if _METADATA_KEY not in metadata:
        raise ErfSegError(
            f"{path} is a safetensors file, but not one of erf_seg's; "
            "convert public weights with 'erf_seg import'"
        )
    try:
        return CheckpointInfo.from_dict(json.loads(metadata[_METADATA_KEY]))
    except ErfSegError as error:
        raise ErfSegError(f"cannot use checkpoint {path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ErfSegError(f"{path} has damaged erf_seg metadata ({error!r})") from error


def load_checkpoint(path: str | Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Metadata and float32 weights of a checkpoint.

    Raises `ErfSegError` for files that are missing, corrupt, truncated, pickled, of another
    project, or whose weights do not fit the model and class count that the metadata names.
    """
    info = read_info(path)
    # Not `safe_open`: safetensors 0.8 leaks 20 kB in each file that it reads tensors from, and a
    # node loads a network each time it is configured.
    weights = safetensors.torch.load(Path(path).read_bytes())
    tensors = {key: tensor.float() for key, tensor in weights.items()}
    _refuse_misfit(tensors, info, Path(path))
    return info, tensors


def build_from_checkpoint(name_or_path: str | Path) -> tuple[SegmentationNetwork, CheckpointInfo]:
    """Network in eval mode and metadata of a checkpoint: a path, or the name of a shipped one."""
    info, tensors = load_checkpoint(find_checkpoint(name_or_path))
    net = build_model(info.model, info.num_outputs, info.module_order)
    net.load_state_dict(tensors, strict=False)  # only the batch counters are missing, see above
    return net.eval(), info


def shipped_checkpoints() -> dict[str, Path]:
    """Checkpoints that come with the package: model name → file."""
    folder = Path(str(resources.files(__package__))) / "checkpoints"
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """File of a checkpoint given by path, or by the name of a model whose weights are shipped.

    Raises `ErfSegError` for a path that does not exist or may not be looked at, an unknown name,
    or a known model without shipped weights.
    """
    text = str(name_or_path)
    if is_file(Path(text)):
        return Path(text)
    if os.sep in text or text.endswith((SUFFIX, ".pth", ".pt", ".tar")):
        raise ErfSegError(f"there is no checkpoint file {text}")
    shipped = shipped_checkpoints()
    try:
        name = parse_model_name(text)
    except ErfSegError:
        (near,) = difflib.get_close_matches(text, shipped, n=1, cutoff=0)
        raise ErfSegError(
            f"no model '{text}'; did you mean '{near}'? Weights are shipped for "
            f"{', '.join(shipped)}; any other is the path of a checkpoint file"
        ) from None
    if name not in shipped:
        raise ErfSegError(
            f"no trained weights are shipped for model '{name}' (shipped: {', '.join(shipped)}); "
            "give a checkpoint file, made by 'erf_seg train' or 'erf_seg import'"
        )
    return shipped[name]


def _refuse_misfit(tensors: Mapping[str, Tensor], info: CheckpointInfo, path: Path) -> None:
    """Hold the tensors against the network that `info` names, name by name."""
    with torch.device("meta"):  # shapes only: no memory, no random numbers drawn
        net = build_model(info.model, info.num_outputs, info.module_order)
    difference = describe_difference(inference_state(net), tensors)
    if difference:
        raise ErfSegError(
            f"the weights in {path} do not fit model '{info.model}' with {info.num_outputs} "
            f"outputs: {difference}"
        )
    wild = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if wild:
        raise ErfSegError(
            f"{len(wild)} weights of {path} are infinite or no numbers, {wild[0]} for example: the "
            "training went astray, or they were stored in a type that is too small for them"
        )


def inference_state(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network that a checkpoint stores: all but batch norm's batch counters."""
    return {k: v for k, v in net.state_dict().items() if not k.endswith(_BATCH_COUNTER)}


def describe_difference(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Say which tensors are missing, extra or of another shape; empty if none is."""
    missing = [k for k in expected if k not in given]
    extra = [k for k in given if k not in expected]
    shapes = [
        f"{k} is {tuple(given[k].shape)}, not {tuple(expected[k].shape)}"
        for k in expected
        if k in given and given[k].shape != expected[k].shape
    ]
    parts = [("missing", missing), ("extra", extra), ("other shape", shapes)]
    return "; ".join(f"{what}: {_shortened(names)}" for what, names in parts if names)


def _shortened(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _refuse_unreadable(path: Path) -> None:
    if not is_file(path):
        raise ErfSegError(f"there is no checkpoint file {path}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ErfSegError(f"cannot read checkpoint {path}: {error}") from error
    # A safetensors header begins after its length, which may look like anything.
    if start.startswith(_PICKLE_STARTS) and start[8:] != b"{":
        raise ErfSegError(
            f"{path} is a pickled PyTorch file, which is never run here; "
            f"convert it with 'erf_seg import {path} --model NAME --output OUT{SUFFIX}'"
        )


def _checked_size(size: Any) -> tuple[int, int]:
    try:
        height, width = (int(v) for v in size)
    except (TypeError, ValueError) as error:
        raise ErfSegError(f"input size {size!r} is not (height, width)") from error
    if height <= 0 or width <= 0 or height % STRIDE or width % STRIDE:
        raise ErfSegError(
            f"input size {height}×{width} (height×width) must be positive multiples of {STRIDE}"
        )
    return height, width
