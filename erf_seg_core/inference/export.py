"""Write a network as an ONNX file that other runtimes can use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from ..checkpoint import CheckpointInfo
from ..class_sets import VOID_ID
from ..errors import ErfSegError, refuse_irregular, refuse_undecodable
from ..models import STRIDE, SegmentationNetwork
from ..whole_file import whole_file
from .onnx_builder import DEFAULT_OPSET, OPSETS
from .onnx_graph import GraphOptions, Output, build_graph, lower_for
from .segmenter import checked_input_size

OUTPUTS: tuple[Output, ...] = ("labels", "labels+confidence", "logits")


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    `output`: "labels" for `image` N×h×w×3 uint8 BGR → `labels` N×h×w uint8 (outputs beyond the
    class map keep their index), "labels+confidence" for `confidence` N×h×w uint8 as well, "logits"
    for `image` N×3×h×w float32 RGB in [0, 1] → `logits` N×C×h×w float32.
    `input_size`: (height, width), multiples of 8; None for the checkpoint's.
    `dynamic_batch`, `dynamic_size`: leave N, or h and w, to the user of the file; N is 1 otherwise.
    `half`: weights and what is computed with them in float16; inputs and outputs stay as they are.
    """

    output: Output = "labels"
    input_size: tuple[int, int] | None = None
    dynamic_batch: bool = False
    dynamic_size: bool = False
    half: bool = False
    opset: int = DEFAULT_OPSET


@dataclass(frozen=True)
class Tensor:
    """An input or output of the file; dimensions are numbers, or names where they are dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Exported:
    """What was written. `input_size` is where it was meant to run, also if the size is dynamic."""

    path: Path
    options: ExportOptions
    input_size: tuple[int, int]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str]


def export_onnx(
    net: SegmentationNetwork,
    info: CheckpointInfo,
    path: str | Path,
    options: ExportOptions | None = None,
) -> Exported:
    """Write a network as ONNX; the file appears whole or not at all.

    Batch norms are folded and negligible weights zeroed, see `program`; each step is the operator
    that has its name. The file's metadata holds the model's name, the input's meaning,
    normalisation and size, and the classes with their colours.

    Args:
        net: the network with its weights, as `build_from_checkpoint` returns it.
        info: what its checkpoint says.
        path: the file to write.
        options: what to write; None for labels at the checkpoint's size, one image at a time.

    Raises:
        ErfSegError: impossible size, output or opset, or a file that cannot be written.

    """
    path, options = Path(path), options or ExportOptions()
    refuse_undecodable(path)  # of such names ONNX Runtime could not read what is written
    refuse_irregular(path)
    if options.output not in OUTPUTS:
        raise ErfSegError(f"no export output '{options.output}'; it is one of {', '.join(OUTPUTS)}")
    if options.opset not in OPSETS:
        raise ErfSegError(f"opset is {options.opset}; it must be {OPSETS[0]} to {OPSETS[-1]}")
    size = checked_input_size(options.input_size or info.input_size)
    graph_options = GraphOptions(
        options.output,
        None if options.dynamic_size else size,
        batch=None if options.dynamic_batch else 1,
        half=options.half,
        opset=options.opset,
    )
    model = build_graph(lower_for(net, graph_options), graph_options)
    metadata = _metadata(info, options, size)
    helper.set_model_props(model, metadata)
    _write_whole(path, model.SerializeToString())
    return Exported(
        path,
        options,
        size,
        tuple(_tensor(value) for value in model.graph.input),
        tuple(_tensor(value) for value in model.graph.output),
        metadata,
    )


def _write_whole(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise ErfSegError(f"cannot write {path}: {error.strerror}") from error


def _metadata(
    info: CheckpointInfo, options: ExportOptions, size: tuple[int, int]
) -> dict[str, str]:
    """Text for the file; what is not text as JSON."""
    if options.output == "logits":
        meaning = "RGB, float32, N×3×h×w, bytes divided by 255; no mean, no standard deviation"
        normalization: dict[str, Any] = {"scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
    else:
        meaning = "BGR, uint8, N×h×w×3, as they are"
        normalization = {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}
    class_set = info.class_set
    return {
        "model": info.model,
        "input": meaning,
        "input_size": json.dumps(list(size)),
        "input_size_multiple": str(STRIDE),
        "normalization": json.dumps(normalization),
        "class_names": json.dumps(class_set.names),
        "class_colors_rgb": json.dumps(class_set.colors),
        "class_set": json.dumps(class_set.to_dict()),
        "void": f"{VOID_ID}, and every output from {class_set.num_classes} on",
        "precision": "float16" if options.half else "float32",
        "notes": info.notes,
    }


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
    dtype = TensorProto.DataType.Name(kind.elem_type)
    return Tensor(value.name, {"FLOAT": "float32"}.get(dtype, dtype.lower()), shape)
