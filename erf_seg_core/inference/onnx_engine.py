"""The ONNX Runtime engine: the whole frame, bytes in and bytes out, in one graph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch

from ..errors import ErfSegError, first_line
from ..models import SegmentationNetwork
from .calibration import Calibration
from .onnx_graph import IMAGE_NAME, GraphOptions, Output, build_graph, lower_for
from .onnx_providers import CPU_PROVIDER, providers_for, with_engine_cache
from .waiting import say_while_waiting

SIDE_BY_SIDE_PIXELS = 240_000
"""Images up to here are labelled side by side. Threads that share one small image wait for each
other; large ones, one to each thread, push each other out of the cache (README, "Batches")."""

_SPIN_US = 20
"""How long a thread looks for its next piece of work before it sleeps. Waiting longer gains hardly
anything while the cores are free, and beside a busy process each microsecond costs."""
_SPIN_DURATION_SINCE = (1, 26)  # older ones spin for milliseconds, or not at all


@dataclass(frozen=True)
class _Session:
    """What tells one of an engine's sessions from another; `batch` None takes any number."""

    output: Output
    threads: int
    batch: int | None = None


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

        Raises `ErfSegError` if the installed ONNX Runtime lacks the provider or cannot start it.
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
        self._threads = threads
        small = input_size[0] * input_size[1] <= SIDE_BY_SIDE_PIXELS
        self.side_by_side = threads if device.type == "cpu" and small else 1
        self._lanes: ThreadPoolExecutor | None = None
        self._sessions: dict[_Session, onnxruntime.InferenceSession] = {}
        self._session("labels", 1)

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine.run`."""
        output: Output = "labels+confidence" if confidence else "labels"
        if len(images) > 1 and self.side_by_side > 1:
            return self._run_side_by_side(output, images)
        # ONNX Runtime reads the array where it is, and its own arena reuses what lies in between:
        # inputs and outputs bound beforehand take as long.
        labels, *sureness = self._session(output, len(images)).run(None, {IMAGE_NAME: images})
        return labels, sureness[0] if confidence else None

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()
        if self._lanes is not None:
            self._lanes.shutdown()

    def _run_side_by_side(
        self, output: Output, images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Each image on one thread, as many at a time as there are threads; the same results."""
        if self._lanes is None:
            self._lanes = ThreadPoolExecutor(self.side_by_side, "image")
        session = self._session(output, 1, threads=1)

        def label(image: np.ndarray) -> list[np.ndarray]:
            return session.run(None, {IMAGE_NAME: image[np.newaxis]})

        labels, *sureness = (
            np.concatenate(parts) for parts in zip(*self._lanes.map(label, images), strict=True)
        )
        return labels, sureness[0] if sureness else None

    def _session(
        self, output: Output, count: int, threads: int | None = None
    ) -> onnxruntime.InferenceSession:
        # TensorRT compiles for the shapes it is shown. For a single image on a CPU, the usual case,
        # what fills up enlarged rows becomes constant: 3 % of a frame. Else any number will do.
        alone = count == 1 and self._form == "cpu"
        batch = count if alone or self.name == "tensorrt" else None
        wanted = _Session(output, threads or self._threads, batch)
        if wanted not in self._sessions:
            self._sessions[wanted] = self._create_session(wanted)
        return self._sessions[wanted]

    def _create_session(self, wanted: _Session) -> onnxruntime.InferenceSession:
        batch = wanted.batch
        graph = build_graph(self._program, self._graph_options(wanted.output, batch))
        if self._calibration is not None:
            from .quantization import quantized  # half a second that float32 need not pay

            graph = quantized(graph, self._calibration)
        model = graph.SerializeToString()
        if self.name != "tensorrt":
            return self._start(model, wanted.threads)
        # The compilation itself happens on the first run.
        black = np.zeros((batch, *self._input_size, 3), np.uint8)
        with say_while_waiting(
            "TensorRT prepares the network; the first time it compiles it, which takes minutes"
        ):
            return self._start(model, wanted.threads, black)

    def _start(
        self, model: bytes, threads: int, first_images: np.ndarray | None = None
    ) -> onnxruntime.InferenceSession:
        options = session_options(threads)
        providers = with_engine_cache(self._providers, model)
        wanted = self._providers[0][0]
        try:
            # Without a fallback: it prints, goes on with another provider for good, and tells
            # nobody, also when a later run fails.
            session = onnxruntime.InferenceSession(
                model, options, providers=providers, enable_fallback=False
            )
            if first_images is not None:
                session.run(None, {IMAGE_NAME: first_images})
        except Exception as error:  # its exceptions share no base class
            raise _no_start(wanted, f": {first_line(error)}") from error
        if wanted not in session.get_providers():  # one that cannot be loaded is only printed
            raise _no_start(wanted, " (its reason is printed above)")
        return session

    def _graph_options(self, output: Output, batch: int | None) -> GraphOptions:
        return GraphOptions(output, self._input_size, self._form, batch, self._half)


def _no_start(provider: str, reason: str) -> ErfSegError:
    advice = (
        "; check that the CUDA, cuDNN and TensorRT it needs are installed, or use engine torch"
        if provider != CPU_PROVIDER
        else ""
    )
    return ErfSegError(f"ONNX Runtime could not start its {provider}{reason}{advice}")


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return the options of every session that runs a network."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; warnings are about its own optimizations
    # Operators take fractions of a millisecond, and waking a thread for each takes a share of that.
    # But threads that spin for long take the cores from everything else on the machine, and from
    # each other; between frames they sleep.
    if _version() >= _SPIN_DURATION_SINCE:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
