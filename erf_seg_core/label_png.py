"""Label PNGs, whose grey values are class ids: every place that reads one decodes it here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .errors import ErfSegError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH, _COLOR = 24, 25  # places of these bytes in every PNG
_COLORS = {0: "greyscale", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
_WANTED = "save the class ids as an 8-bit greyscale PNG"


def read_label(path: Path) -> np.ndarray:
    """Class ids of a label PNG, uint8 H×W; `ErfSegError` names the file and what is wrong."""
    try:
        return decode_label(path.read_bytes())
    except OSError as error:
        raise ErfSegError(f"cannot read label {path}: {error.strerror}") from error
    except ErfSegError as error:
        raise ErfSegError(f"cannot read label {path}: {error}") from None


def decode_label(packed: bytes | np.ndarray) -> np.ndarray:
    """Class ids in the bytes of a label PNG, uint8 H×W; `ErfSegError` says why there are none.

    The header is looked at first, because OpenCV makes 255 of the 1 in a 1-bit mask, and colours
    of a palette's indices.
    """
    head = bytes(packed[: _COLOR + 1])
    if not head.startswith(_SIGNATURE):
        raise ErfSegError(f"it is no PNG; {_WANTED}")
    if len(head) <= _COLOR:
        raise ErfSegError("it is cut off")
    if (head[_DEPTH], head[_COLOR]) != (8, 0):
        kind = _COLORS.get(head[_COLOR], "unknown")
        raise ErfSegError(f"its pixels are {head[_DEPTH]}-bit {kind}; {_WANTED}")
    try:
        label = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # a header of absurd size
        label = None
    if label is None or label.ndim != 2:
        raise ErfSegError("it is a damaged PNG")
    return label
