"""Inference without ROS: images in, labels out.

`load_segmenter` is what users need; below it, engines run a network's `Program` at a fixed size.
"""

from .engine import ENGINES, PRECISIONS, Engine, create_engine
from .segmenter import Segmentation, Segmenter, load_segmenter

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "Engine",
    "Segmentation",
    "Segmenter",
    "create_engine",
    "load_segmenter",
]
