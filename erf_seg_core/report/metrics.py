"""What a checkpoint says about its own training, in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def metric_in_words(value: Any) -> str:
    """The numbers of one entry of `CheckpointInfo.metrics`; tables inside it are left out."""
    if not isinstance(value, Mapping):
        return "" if isinstance(value, (list, tuple)) else str(value)
    if isinstance(value.get("miou"), float):
        images = f" on {value['images']} images" if "images" in value else ""
        return f"mIoU {100 * value['miou']:.2f} %{images} (in its training's own validation)"
    words = (_scalar(name, item) for name, item in value.items())
    return ", ".join(word for word in words if word)


def _scalar(name: str, value: Any) -> str:
    """A count or time before its name, others after it; nothing for what is no single value."""
    name = str(name).replace("_", " ")
    if isinstance(value, float):
        return f"{value:.3g} {name}" if name.endswith("minutes") else f"{name} {value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value} {name.removesuffix('s') if value == 1 else name}"
    return f"{name} {value}" if isinstance(value, (str, bool)) else ""
