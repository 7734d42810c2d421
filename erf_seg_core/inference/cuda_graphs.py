"""A frame on a GPU as one CUDA graph: upload, network, labels, download in a single launch.

The small networks consist of some hundred short kernels; launched one by one from Python they take
longer to start than to run. See "CUDA Graphs" in https://docs.pytorch.org/docs/stable/notes/cuda.html.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Frame = Callable[[Tensor, bool], Sequence[Tensor]]
"""Bytes N×h×w×3 on the GPU, and whether confidence is wanted → results N×h×w uint8 on the GPU."""

WARM_UP_RUNS = 3  # as PyTorch's notes advise: cuDNN chooses its algorithms in the first ones
MAX_GRAPHS = 32  # at a time, each with buffers of its own; the node needs two for each camera

_ALONE = threading.Lock()
"""Held while a graph is captured, of which CUDA allows one in a process at a time, and while frames
run kernel by kernel, for which settings of the whole process are changed."""


class FrameGraphs:
    """Runs frames, each shape in a graph of its own, all in one stream and one pool of memory."""

    def __init__(self, frame: Frame, device: torch.device, exact: bool) -> None:
        """`exact` keeps float32 convolutions from computing in TF32."""
        self._frame = _with_cudnn_settings(frame, exact)
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # Sharing is safe: frames run one after the other, and each graph copies its results out.
        self._pool = torch.cuda.graph_pool_handle()
        self._runners: OrderedDict[tuple[tuple[int, ...], bool], _Runner] = OrderedDict()
        # The weights were copied in another stream.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine.run`; the first run of a shape prepares its graph, which takes a while."""
        key = (images.shape, confidence)
        with (
            torch.inference_mode(),
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),
        ):
            if key not in self._runners:
                while len(self._runners) >= MAX_GRAPHS:
                    self._runners.popitem(last=False)
                self._runners[key] = self._prepare(images, confidence)
            self._runners.move_to_end(key)
            labels, *sureness = self._runners[key].run(images)
        return labels, sureness[0] if confidence else None

    def close(self) -> None:
        """Free graphs and buffers."""
        self._runners.clear()
        torch.cuda.empty_cache()

    def _prepare(self, images: np.ndarray, confidence: bool) -> _Runner:
        runner = _Runner(self._frame, images.shape, confidence, self._device, self._stream)
        for _ in range(WARM_UP_RUNS):
            runner.run(images)
        try:
            with _ALONE:
                runner.capture(self._pool)
        except RuntimeError as error:
            logger.warning(
                "CUDA graph for images of shape %s could not be captured, running kernel by "
                "kernel, which is slower: %s",
                images.shape,
                error,
            )
        return runner


def _with_cudnn_settings(frame: Frame, exact: bool) -> Frame:
    """Let cuDNN time its algorithms, without changing what the rest of the process has set."""

    def run(pixels: Tensor, confidence: bool) -> Sequence[Tensor]:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=True, deterministic=False, allow_tf32=not exact
        ):
            return frame(pixels, confidence)

    return run


class _Runner:
    """Frames of one shape; kernel by kernel until they are captured."""

    def __init__(
        self,
        frame: Frame,
        shape: tuple[int, ...],
        confidence: bool,
        device: torch.device,
        stream: torch.cuda.Stream,
    ) -> None:
        self._frame = frame
        self._confidence = confidence
        self._stream = stream
        self._graph: torch.cuda.CUDAGraph | None = None
        # Pinned, so that copies need not wait and can be part of the graph.
        self._image = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._results = [
            torch.empty(shape[:3], dtype=torch.uint8, pin_memory=True)
            for _ in range(1 + confidence)
        ]
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=device)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Label images of the shape."""
        np.copyto(self._image.numpy(), images)
        if self._graph is None:
            with _ALONE:
                self._enqueue()
        else:
            self._graph.replay()
        self._stream.synchronize()
        # The next frame overwrites the buffers.
        return [result.numpy().copy() for result in self._results]

    def capture(self, pool: tuple[int, int]) -> None:
        """Record the frame; from now on `run` replays it. `RuntimeError` if CUDA refuses."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: another camera's network, a training.
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            self._enqueue()
        self._graph = graph

    def _enqueue(self) -> None:
        self._pixels.copy_(self._image, non_blocking=True)
        for result, value in zip(
            self._results, self._frame(self._pixels, self._confidence), strict=True
        ):
            result.copy_(value, non_blocking=True)
