"""The ONNX Runtime engine: the whole frame, bytes in and bytes out, in one graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .calibration import Calibration
from .onnx_graph import IMAGE_NAME, GraphOptions, Output, build_graph, lower_for
from .onnx_providers import providers_for
from .waiting import say_while_waiting


class OnnxEngine:
    """Runs a network through ONNX Runtime on the CPU, CUDA or TensorRT provider."""

    def __init__(
        self,
        net: SegmentationNetwork,
        input_size: tuple[int, int],
        device: torch.device,
        threads: int,
        tensorrt: bool = False,
        precision: str = "fp32",
        calibration: Calibration | None = None,
    ) -> None:
        """Build the graph for labels; the one with confidence is built when first asked for.

        Raises `ErfSegError` if the installed ONNX Runtime lacks the provider.
        """
        self.name = "tensorrt" if tensorrt else "onnxruntime"
        self.device = str(device)
        self.precision = precision
        self._calibration = calibration  # of the activations; there is one for "int8" only
        self._input_size = input_size
        self._form = "cpu" if device.type == "cpu" else "plain"
        # TensorRT is given float32 and leave to compute in float16 where it thinks fit.
        self._half = precision == "fp16" and not tensorrt
        self._providers = providers_for(device, tensorrt, precision == "fp16")
        self._program = lower_for(net, self._graph_options("labels", None))
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 3  # errors; warnings are about its own optimizations
        # Threads that spin while they wait take the cores from everything else on the machine, and
        # from each other: with the cores busy a frame then takes up to twice as long.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: dict[tuple[Output, int | None], onnxruntime.InferenceSession] = {}
        self._session("labels", 1)

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine.run`."""
        session = self._session("labels+confidence" if confidence else "labels", len(images))
        # ONNX Runtime reads the array where it is, and its own arena reuses what lies in between.
        labels, *sureness = session.run(None, {IMAGE_NAME: images})
        return labels, sureness[0] if confidence else None

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()

    def _session(self, output: Output, count: int) -> onnxruntime.InferenceSession:
        # TensorRT compiles for the shapes it is shown, the others take any number of images.
        batch = count if self.name == "tensorrt" else None
        if (output, batch) not in self._sessions:
            self._sessions[output, batch] = self._create_session(output, batch)
        return self._sessions[output, batch]

    def _create_session(self, output: Output, batch: int | None) -> onnxruntime.InferenceSession:
        graph = build_graph(self._program, self._graph_options(output, batch))
        if self._calibration is not None:
            from .quantization import quantized  # half a second that float32 need not pay

            graph = quantized(graph, self._calibration)
        model = graph.SerializeToString()
        if self.name == "tensorrt":
            with say_while_waiting(
                "TensorRT prepares the network; the first time it compiles it, which takes minutes"
            ):
                session = self._start(model)
                # The compilation itself happens on the first run.
                session.run(None, {IMAGE_NAME: np.zeros((batch, *self._input_size, 3), np.uint8)})
            return session
        return self._start(model)

    def _start(self, model: bytes) -> onnxruntime.InferenceSession:
        session = onnxruntime.InferenceSession(model, self._options, providers=self._providers)
        wanted = self._providers[0][0]
        if wanted not in session.get_providers():  # it only prints why, and goes on without
            raise ErfSegError(
                f"ONNX Runtime could not start its {wanted} (its reason is printed above); "
                "check that the CUDA, cuDNN and TensorRT it needs are installed, or use "
                "engine torch"
            )
        return session

    def _graph_options(self, output: Output, batch: int | None) -> GraphOptions:
        return GraphOptions(output, self._input_size, self._form, batch, self._half)
