"""Collects the nodes and constants of an ONNX graph, and names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSETS = range(13, 23)
"""Operator sets in which the graphs can be written; newer ones add nothing that is used."""
DEFAULT_OPSET = 18


@dataclass(frozen=True)
class Value:
    """An N×channels×height×width value of the graph; the size is None where it is dynamic."""

    name: str
    height: int | None
    width: int | None

    def scaled(self, name: str, factor: float) -> Value:
        """Return another value of `factor` times the size."""
        if self.height is None or self.width is None:
            return Value(name, None, None)
        return Value(name, int(self.height * factor), int(self.width * factor))


class GraphBuilder:
    """The graph so far. `half` makes `weight` store float16."""

    def __init__(self, opset: int = DEFAULT_OPSET, half: bool = False) -> None:
        """Start an empty graph."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.opset = opset
        self.half = half

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node with one output and return the output's name."""
        name = f"{kind}_{len(self.nodes)}"
        output = f"{name}_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name, **attributes))
        return output

    def constant(self, value: Tensor | np.ndarray | Sequence[int]) -> str:
        """Append an initializer; sequences of integers become int64, as ONNX wants for shapes."""
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, value: Tensor) -> str:
        """Append an initializer of the precision in which the network computes."""
        return self.constant(value.to(torch.float16) if self.half else value)

    def cast(self, value: str, to: TensorProto.DataType) -> str:
        """Convert to another type."""
        return self.node("Cast", value, to=to)

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; 0 keeps the dimension at that place."""
        return self.node("Reshape", value, self.constant(shape))

    def reduce_max(self, value: str, axis: int) -> str:
        """Largest along an axis, which goes; the axis became an input with opset 18."""
        if self.opset < 18:
            return self.node("ReduceMax", value, axes=[axis], keepdims=0)
        return self.node("ReduceMax", value, self.constant([axis]), keepdims=0)

    def rename(self, value: str, name: str) -> None:
        """Give a value that only its own node mentions another name."""
        node = next(node for node in reversed(self.nodes) if value in node.output)
        node.output[list(node.output).index(value)] = name

    def model(
        self, image: onnx.ValueInfoProto, outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Wrap everything up."""
        graph = helper.make_graph(self.nodes, "erf_seg", [image], outputs, self.constants)
        return helper.make_model(
            graph,
            # The oldest that the opset allows: ONNX Runtime 1.15 and TensorRT 10 still read 9.
            ir_version=9 if self.opset <= 20 else 10,
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="erf_seg",
        )
