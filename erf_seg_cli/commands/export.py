"""`erf_seg export`: a model as an ONNX file for other runtimes."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erf_seg_core.inference.export import Exported
    from erf_seg_core.inference.export_check import Agreement

HELP = "write a model as ONNX for other runtimes, and check it against PyTorch"
DYNAMIC = ("batch", "size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="checkpoint file or name of a shipped model")
    parser.add_argument("--output", required=True, metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--output-kind",
        choices=("labels", "labels+confidence", "logits"),
        default="labels",
        help="labels: image N×h×w×3 uint8 BGR → labels N×h×w uint8; labels+confidence: also "
        "255 × probability of the label; logits: image N×3×h×w float32 RGB in [0, 1] → "
        "logits N×C×h×w",
    )
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="input height and width (default: the model's)"
    )
    parser.add_argument(
        "--dynamic",
        type=_dynamic,
        default=(),
        metavar="batch,size",
        help="leave the number of images, their size, or both to the user of the file",
    )
    parser.add_argument(
        "--fp16", action="store_true", help="float16 inside; inputs and outputs stay as they are"
    )
    parser.add_argument("--opset", type=int, default=18, help="ONNX operator set, 13 to 22")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Write, check, and say what was written."""
    from erf_seg_core.checkpoint import build_from_checkpoint
    from erf_seg_core.errors import ErfSegError
    from erf_seg_core.inference.export import ExportOptions, export_onnx
    from erf_seg_core.inference.export_check import TOLERANCES, check_export
    from erf_seg_core.synthetic import SyntheticDrive

    net, info = build_from_checkpoint(args.model)
    options = ExportOptions(
        args.output_kind,
        args.size,
        "batch" in args.dynamic,
        "size" in args.dynamic,
        args.fp16,
        args.opset,
    )
    exported = export_onnx(net, info, args.output, options)
    images = [SyntheticDrive(seed).frame(0).image_bgr for seed in (1, 2)]
    agreement = check_export(net, exported, images)
    if not agreement.within(TOLERANCES[exported.metadata["precision"]]):
        advice = "leave out --fp16" if args.fp16 else "please report this"
        raise ErfSegError(
            f"{args.output} is written but does not do what the network does: "
            f"{_agreement_text(agreement)}; {advice}"
        )
    print(_document(exported, agreement) if args.json else _text(exported, agreement))
    return 0


def _text(exported: Exported, agreement: Agreement) -> str:
    size_mb = exported.path.stat().st_size / 1e6
    lines = [f"{exported.path}: {exported.metadata['model']}, {size_mb:.1f} MB"]
    for kind, tensors in (("input", exported.inputs), ("output", exported.outputs)):
        for tensor in tensors:
            shape = "×".join(str(dimension) for dimension in tensor.shape)
            lines.append(f"  {kind:<6} {tensor.name}: {tensor.dtype} {shape}")
    lines.append(f"  image: {exported.metadata['input']}")
    lines.append(f"  against PyTorch in float32: {_agreement_text(agreement)}")
    return "\n".join(lines)


def _agreement_text(agreement: Agreement) -> str:
    text = f"{100 * agreement.labels:.3f} % of labels equal"
    if agreement.logits is not None:
        text += f", logits within {agreement.logits:.1e} of their range"
    if agreement.confidence is not None:
        text += f", confidence within {agreement.confidence / 2.55:.2f} % on average"
    return f"{text} (the worse of two synthetic frames)"


def _document(exported: Exported, agreement: Agreement) -> str:
    def plain(tensors: tuple) -> list[dict]:
        return [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in tensors]

    document = {
        "output": str(exported.path),
        "bytes": exported.path.stat().st_size,
        "inputs": plain(exported.inputs),
        "outputs": plain(exported.outputs),
        "metadata": exported.metadata,
        "labels_agreement": agreement.labels,
        "logits_error": agreement.logits,
        "confidence_error": agreement.confidence,
    }
    return json.dumps(document)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    try:
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, as in 512x1024") from None


def _dynamic(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in DYNAMIC:
            raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(DYNAMIC)}")
    return names
