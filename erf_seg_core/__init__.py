"""Segmentation networks of gradual grouping, their training and inference; imports no ROS.

net = build_model("dg4_star_light", num_classes=20)
seg = load_segmenter("dg4")
out = seg(image_bgr)
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "ErfSegError": ".errors",
    "build_model": ".models",
    "list_models": ".models",
    "load_segmenter": ".inference",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import on first use: torch costs a second that reading a bag or a class set need not pay."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
