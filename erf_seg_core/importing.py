"""Turn public weights into our checkpoints, strictly: every tensor is accounted for.

Two sources are known: upstream ERFNet (https://github.com/Eromera/erfnet_pytorch) and the light
models that the authors of gradual grouping released (D*, DG2*, DG4*-proposed). Both are state dicts
pickled by PyTorch, with or without the `module.` prefix that `DataParallel` adds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import CheckpointInfo, describe_difference, inference_state, save_checkpoint
from .class_sets import ClassSet, load_class_set
from .errors import ErfSegError, first_line, refuse_irregular
from .models import ModuleOrder, build_model, get_spec

# Names of the released depthwise modules' layers → ours, in the order in which they run.
_RELEASED_LAYERS = {
    "conv3x3_1": "dw1",
    "bn1_1": "bn1",
    "conv1L_1": "pw1",
    "bn2_1": "bn2",
    "conv3x3_2": "dw2",
    "bn1_2": "bn3",
    "conv1L_2": "pw2",
    "bn2_2": "bn4",
}
_RELEASED = re.compile(rf"\.({'|'.join(_RELEASED_LAYERS)})\.")
_ENCODER_HEAD = "encoder.output_conv."
_BATCH_COUNTER = ".num_batches_tracked"


def import_checkpoint(
    source: str | Path,
    model: str,
    output: str | Path,
    class_set: ClassSet | None = None,
    input_size: tuple[int, int] = (512, 1024),
    module_order: ModuleOrder = "released",
) -> CheckpointInfo:
    """Convert a public weight file to a checkpoint of ours and return its metadata.

    Args:
        source: a `.pth` state dict; loaded with `weights_only=True`.
        model: which model of the zoo it is, in any spelling.
        output: the `.safetensors` file to write.
        class_set: what the outputs mean; Cityscapes' 19 classes by default.
        input_size: (height, width) to run at; 512×1024 is what both sources were trained at.
        module_order: order of the depthwise modules; weights that others trained may be "figure2".

    Raises:
        ErfSegError: the file cannot be read or a tensor is missing, extra or of another shape; the
            output would replace something that is no file.

    """
    refuse_irregular(Path(output))
    class_set = class_set or load_class_set("cityscapes19")
    tensors = convert_state_dict(read_state_dict(source), model)
    num_outputs = _count_outputs(tensors, source)
    info = CheckpointInfo(
        model=model,
        num_outputs=num_outputs,
        class_set=class_set,
        input_size=input_size,
        module_order=module_order,
        recipe={"imported_from": Path(source).name},
        notes="Imported from public weights; their authors' licence applies.",
    )
    expected = inference_state(build_model(info.model, num_outputs, module_order))
    if difference := describe_difference(expected, tensors):
        raise ErfSegError(f"{source} is not a '{info.model}': {difference}")
    save_checkpoint(output, tensors, info)
    return info


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a pickled PyTorch file: a state dict, or a training checkpoint that holds one.

    Raises `ErfSegError` if it is no such file, or would run code when unpickled.
    """
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ErfSegError(f"there is no file {path}") from error
    except Exception as error:  # torch raises many types for files that are not its own
        reason = first_line(error)
        if not reason or reason.isdecimal():  # a bare opcode
            reason = f"{type(error).__name__}: it is damaged, or something else"
        raise ErfSegError(
            f"{path} is not a PyTorch weight file that loads without running code ({reason})"
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    if not isinstance(data, Mapping) or not all(isinstance(v, Tensor) for v in data.values()):
        raise ErfSegError(f"{path} holds no state dict (a mapping of names to tensors)")
    if not data:
        raise ErfSegError(f"the state dict in {path} is empty")
    return {str(key): value for key, value in data.items()}


def convert_state_dict(state: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """Rename upstream ERFNet's or the released light models' tensors to ours.

    Dropped, because our network has no use for them: batch counters, and the encoder's training
    head where the model has a decoder. An encoder-only model takes that head instead.
    """
    encoder_only = get_spec(model).decoder == "none"
    converted = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name.endswith(_BATCH_COUNTER):
            continue
        if name.startswith(_ENCODER_HEAD):
            if not encoder_only:
                continue
            name = name.replace("encoder.", "decoder.", 1)
        elif encoder_only and name.startswith("decoder."):
            continue
        name = _RELEASED.sub(lambda match: f".{_RELEASED_LAYERS[match[1]]}.", name)
        converted[name] = value.float()
    return converted


def _count_outputs(tensors: Mapping[str, Tensor], source: str | Path) -> int:
    bias = tensors.get("decoder.output_conv.bias")
    if bias is None:
        raise ErfSegError(
            f"{source} has no output layer (decoder.output_conv); is it a segmentation network "
            "of the ERFNet family?"
        )
    return bias.numel()
