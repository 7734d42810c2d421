"""Write a network as an ONNX file that other runtimes can use."""

from __future__ import annotations

import json
from pathlib import Path

from ..checkpoint import CheckpointInfo
from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .onnx_graph import Output, build_graph
from .program import lower
from .segmenter import checked_input_size

OUTPUTS: tuple[Output, ...] = ("labels", "labels+confidence", "logits")


def export_onnx(
    net: SegmentationNetwork,
    info: CheckpointInfo,
    path: str | Path,
    output: Output = "labels",
    input_size: tuple[int, int] | None = None,
) -> Path:
    """Write a network as ONNX, for any batch size and one input size.

    Batch norms are folded and negligible weights zeroed, see `program`. The file's
    metadata holds the model's name, the input's meaning and size, and the classes with colours.

    Args:
        net: the network with its weights, as `build_from_checkpoint` returns it.
        info: what its checkpoint says.
        path: the file to write.
        output: "labels" for `image` N×h×w×3 uint8 BGR → `labels` N×h×w uint8 (outputs beyond the
            class map keep their index), "labels+confidence" for `confidence` N×h×w uint8 as well,
            "logits" for `image` N×3×h×w float32 RGB in [0, 1] → `logits` N×C×h×w float32.
        input_size: (height, width), multiples of 8; None for the checkpoint's.

    Raises:
        ErfSegError: impossible size or output, or a file that cannot be written.

    """
    if output not in OUTPUTS:
        raise ErfSegError(f"no export output '{output}'; it is one of {', '.join(OUTPUTS)}")
    size = checked_input_size(input_size or info.input_size)
    fused = output != "logits"
    program = lower(net) if fused else lower(net, bgr=False, scale=1.0)
    model = build_graph(program, size, output)
    metadata = {
        "model": info.model,
        "input": "uint8 BGR N×h×w×3" if fused else "float32 RGB N×3×h×w in [0, 1]",
        "input_size": json.dumps(size),
        "class_set": json.dumps(info.class_set.to_dict()),
        "notes": info.notes,
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise ErfSegError(f"cannot write {path}: {error}") from error
    return path
