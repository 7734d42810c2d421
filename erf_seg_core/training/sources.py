"""Labelled data sets on disk: which files belong together and what their label ids mean.

Everything wrong with them (missing pairs, wrong sizes, unknown ids) is named before training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from ..class_sets import VOID_ID, ClassSet, load_class_set
from ..errors import ErfSegError
from ..evaluation.predictions import CITYSCAPES_TRAIN_IDS
from ..image_files import is_image, opencv_path
from ..label_png import read_label
from .recipe import Source

_UNKNOWN = -1
_WHOLE = "train"  # the split that a folder without splits is

IDD_LITE_UNIONS: dict[str, tuple[str, ...]] = {
    "drivable": ("road",),
    "non-drivable": ("pavement",),
    "living thing": ("pedestrian", "bicyclist"),
    "vehicle": ("car", "bicyclist"),  # IDD's two-wheelers are vehicles
    "roadside object": ("pole", "sign", "fence"),
    "far object": ("building", "tree"),
    "sky": ("sky",),
}
"""IDD-lite's seven classes, in id order, as unions of CamVid's eleven."""


@dataclass(frozen=True)
class Frame:
    """One labelled image; `load` returns uint8 BGR H×W×3 and raw uint8 label ids H×W.

    `place` is where people find it: the image's path.
    """

    name: str
    place: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class LabelledSet:
    """The frames of one source and the meaning of their raw ids.

    `lookup` is int16[256]: raw id → target id, 255 void, −1 unknown. Targets below the number of
    classes are classes; those from there on are the unions of the recipe, in order.
    """

    source: Source
    frames: tuple[Frame, ...]
    lookup: np.ndarray

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 BGR H×W×3 and target ids uint8 H×W; `ErfSegError` names a bad file."""
        frame = self.frames[index]
        image, raw = frame.load()
        if image.shape[:2] != raw.shape:
            raise ErfSegError(
                f"{frame.place}: the image is {image.shape[1]}×{image.shape[0]} but its label "
                f"{raw.shape[-1]}×{raw.shape[0]}"
            )
        targets = self.lookup[raw]
        if targets.min() == _UNKNOWN:
            unknown = sorted(set(np.unique(raw[targets == _UNKNOWN]).tolist()))
            raise ErfSegError(
                f"{frame.place}: label ids {unknown} have no meaning in a '{self.source.kind}' set"
            )
        return image, targets.astype(np.uint8)


def union_members(class_set: ClassSet) -> tuple[tuple[int, ...], ...]:
    """Class ids of each IDD-lite union; empty where the class set lacks one of the names."""
    ids = {name: i for i, name in enumerate(class_set.names)}
    unions = IDD_LITE_UNIONS.values()
    if any(name not in ids for union in unions for name in union):
        return ()
    return tuple(tuple(ids[name] for name in union) for union in unions)


def open_source(source: Source, class_set: ClassSet, data_root: str | Path) -> LabelledSet:
    """Find the frames of a source.

    Raises `ErfSegError` if the folder, a label or an image is missing, or the class set is not the
    one that the source's labels are in.
    """
    lookup = _LOOKUPS[source.kind](class_set)
    if source.kind == "synthetic":
        frames = _synthetic_frames(source)
    else:
        folder = Path(data_root) / source.path
        pairs = (_cityscapes_pairs if source.kind == "cityscapes" else _folder_pairs)(
            folder, source.split
        )
        frames = [_file_frame(image, label) for image, label in _selected(source, pairs)]
        if not frames:
            raise ErfSegError(f"{folder}: no image of split '{source.split}' is left to use")
    return LabelledSet(source, tuple(frames), lookup)


def read_image(path: Path) -> np.ndarray:
    """Image file as uint8 BGR H×W×3, as it lies there; `ErfSegError` if it cannot be decoded."""
    # Labels carry no EXIF orientation, and neither cameras nor bags turn a picture by it.
    image = cv2.imread(opencv_path(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ErfSegError(f"cannot read image {path}: it is missing, damaged or of no known format")
    return image


def _file_frame(image: Path, label: Path) -> Frame:
    return Frame(image.name, str(image), lambda: (read_image(image), read_label(label)))


def _selected(source: Source, pairs: Mapping[str, tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    return [
        pair
        for name, pair in sorted(pairs.items())
        if (not source.only or name.startswith(source.only))
        and not (source.skip and name.startswith(source.skip))
    ]


def _folder_pairs(folder: Path, split: str) -> dict[str, tuple[Path, Path]]:
    """`folder[/split]/images/NAME.jpg` with `folder[/split]/labels/NAME.png`.

    A folder without splits is all train: as a validation set it would score what was trained on.
    """
    whole = split == _WHOLE and not (folder / split).is_dir()
    base = folder if whole else folder / split
    if not (base / "images").is_dir() or not (base / "labels").is_dir():
        raise ErfSegError(f"{folder} has no folders '{split}/images' and '{split}/labels'")
    images = _by_stem(p for p in (base / "images").iterdir() if is_image(p))
    labels = _by_stem(p for p in (base / "labels").iterdir() if p.suffix.lower() == ".png")
    _refuse_unpaired(base, images, labels)
    return {name: (images[name], labels[name]) for name in images}


def _by_stem(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(files):
        if file.stem in found:
            raise ErfSegError(
                f"{found[file.stem]} and {file.name} differ by their endings alone, so that they "
                "share a label: rename or remove one of them"
            )
        found[file.stem] = file
    return found


def _cityscapes_pairs(folder: Path, split: str) -> dict[str, tuple[Path, Path]]:
    """Official layout: leftImg8bit/SPLIT/CITY/…_leftImg8bit.png, gtFine/…_gtFine_labelIds.png."""
    image_end, label_end = "_leftImg8bit.png", "_gtFine_labelIds.png"
    image_root, label_root = folder / "leftImg8bit" / split, folder / "gtFine" / split
    for root in (image_root, label_root):
        if not root.is_dir():
            raise ErfSegError(f"{root} is missing; Cityscapes needs leftImg8bit and gtFine")
    images = {p.name.removesuffix(image_end): p for p in image_root.glob(f"*/*{image_end}")}
    labels = {p.name.removesuffix(label_end): p for p in label_root.glob(f"*/*{label_end}")}
    _refuse_unpaired(folder, images, labels)
    return {name: (images[name], labels[name]) for name in images}


def _refuse_unpaired(folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path]) -> None:
    for what, alone in (("label", set(images) - set(labels)), ("image", set(labels) - set(images))):
        if alone:
            raise ErfSegError(
                f"{folder}: {len(alone)} files have no {what}, for example {min(alone)}"
            )


def _synthetic_frames(source: Source) -> list[Frame]:
    from ..synthetic import SyntheticDrive  # drawing is only needed by recipes that use it

    @lru_cache(maxsize=1)
    def drive(seed: int) -> SyntheticDrive:
        return SyntheticDrive(seed=seed, size=source.size, rate_hz=1.0)

    def load(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = drive(seed).frame(index)
        return drawn.image_bgr, drawn.labels

    each, more = divmod(source.frames, source.drives)
    places = [
        (source.seed + drive, i)
        for drive in range(source.drives)
        for i in range(each + (drive < more))
    ]
    names = [f"synthetic_{s}_{i}" for s, i in places]
    return [
        Frame(name, name, partial(load, *place)) for name, place in zip(names, places, strict=True)
    ]


def _lookup(known: Mapping[int, int]) -> np.ndarray:
    table = np.full(256, _UNKNOWN, np.int16)
    for raw, target in known.items():
        table[raw] = target
    return table


def _camvid_lookup(class_set: ClassSet) -> np.ndarray:
    _require("camvid", class_set, "camvid11")
    return _lookup({**{i: i for i in range(11)}, 11: VOID_ID, VOID_ID: VOID_ID})


def _synthetic_lookup(class_set: ClassSet) -> np.ndarray:
    _require("synthetic", class_set, "camvid11")
    return _lookup({**{i: i for i in range(11)}, VOID_ID: VOID_ID})


def _idd_lite_lookup(class_set: ClassSet) -> np.ndarray:
    if not union_members(class_set):
        raise ErfSegError(
            f"idd_lite's classes are unions of CamVid's, which class set '{class_set.name}' lacks; "
            "use kind 'folder' with a class set of its own seven classes"
        )
    unions = {i: class_set.num_classes + i for i in range(len(IDD_LITE_UNIONS))}
    return _lookup({**unions, VOID_ID: VOID_ID})


def _cityscapes_lookup(class_set: ClassSet) -> np.ndarray:
    _require("cityscapes", class_set, "cityscapes19")
    void = {raw: VOID_ID for raw in range(34)}
    return _lookup({**void, VOID_ID: VOID_ID, **CITYSCAPES_TRAIN_IDS})


def _folder_lookup(class_set: ClassSet) -> np.ndarray:
    return _lookup({**{i: i for i in range(class_set.num_classes)}, VOID_ID: VOID_ID})


def _require(kind: str, class_set: ClassSet, shipped: str) -> None:
    if class_set.names != load_class_set(shipped).names:
        raise ErfSegError(
            f"class set '{class_set.name}' is not that of a '{kind}' data set, which is '{shipped}'"
        )


_LOOKUPS: dict[str, Callable[[ClassSet], np.ndarray]] = {
    "camvid": _camvid_lookup,
    "cityscapes": _cityscapes_lookup,
    "idd_lite": _idd_lite_lookup,
    "synthetic": _synthetic_lookup,
    "folder": _folder_lookup,
}
