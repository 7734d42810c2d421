"""Tiny labelled data sets and recipes for the tests of the trainer."""

from __future__ import annotations

import cv2
import numpy as np


def write_camvid(folder, split="train", count=6, size=(48, 64), seed=0, ids=11):
    """Images whose colour tells the class, in CamVid's layout."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(5).integers(0, 256, (256, 3))
    for i in range(count):
        coarse = rng.integers(0, ids, (size[0] // 16, size[1] // 16))
        label = np.kron(coarse, np.ones((16, 16), int)).astype(np.uint8)
        image = (colours[label] + rng.normal(0, 5, (*size, 3))).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / split / "images" / f"drive{i % 2}_{i:03}.png"), image)
        cv2.imwrite(str(folder / split / "labels" / f"drive{i % 2}_{i:03}.png"), label)
    return folder


def tiny_recipe(root, **changes):
    """Plain data of a recipe that trains in about a second."""
    stage = {
        "epochs": 2,
        "batch_size": 4,
        "augmentation": {"crop": [32, 40], "scale": [0.8, 1.2]},
        **changes.pop("stage", {}),
    }
    return {
        "model": "dg4_star_light",
        "input_size": [48, 64],
        "data_root": str(root),
        "output": str(root / "run"),
        "device": "cpu",
        "threads": 1,
        "train": [{"kind": "camvid", "path": "camvid"}],
        "validation": [
            {"name": "val", "source": {"kind": "camvid", "path": "camvid", "split": "val"}}
        ],
        "stages": [stage],
        **changes,
    }
