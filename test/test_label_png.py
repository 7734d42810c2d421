"""Wherever labels are read, a PNG that OpenCV would misread is refused with its place."""

import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.sources import open_source
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.replay_evaluation.options import EvaluationOptions
from erf_seg_core.replay_evaluation.truth import FolderTruth, open_truth

STAMP_NS = 1_700_000_000_000_000_000
TOPIC = "/ground_truth/label"
MASK = np.eye(30, 40, dtype=bool)
GREY = "8-bit greyscale"


def png_of(picture):
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


PNGS = {
    "1-bit greyscale": png_of(Image.fromarray(MASK)),
    "8-bit palette": png_of(Image.fromarray(MASK.astype(np.uint8)).convert("P")),
    GREY: png_of(Image.fromarray(MASK.astype(np.uint8))),
}


def of_a_folder_for_bags(packed, folder):
    for name in ("images", "labels"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "images" / "f.png"), np.zeros((*MASK.shape, 3), np.uint8))
    path = folder / "labels" / "f.png"
    path.write_bytes(packed)
    read = open_source(folder, load_class_set("camvid11")).frames
    return lambda: next(read()).labels, str(path)


def of_a_folder_of_truth(packed, folder):
    path = folder / f"{STAMP_NS}.png"
    path.write_bytes(packed)
    truth_at = FolderTruth(folder, "bag")
    return lambda: truth_at(STAMP_NS), str(path)


def of_a_topic(packed, folder):
    with BagWriter(folder / "bag") as writer:
        writer.write_compressed_image(TOPIC, STAMP_NS, "camera", packed, "png")
    options = EvaluationOptions(("dg4",), truth=TOPIC)

    def read():
        with BagReader(folder / "bag") as bag:
            return open_truth(bag, "bag", options)(STAMP_NS)

    return read, f"message 0 of {TOPIC}"


@pytest.mark.parametrize("kind", PNGS)
@pytest.mark.parametrize("make", [of_a_folder_for_bags, of_a_folder_of_truth, of_a_topic])
def test_ids_are_read_exactly_or_refused(tmp_path, make, kind):
    read, place = make(PNGS[kind], tmp_path)
    if kind == GREY:
        np.testing.assert_array_equal(read(), MASK)
    else:
        with pytest.raises(ErfSegError, match=f"{re.escape(place)}.*{kind}; save the class ids"):
            read()
