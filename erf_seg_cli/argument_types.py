"""Values of options that argparse checks itself."""

from __future__ import annotations

import argparse
import math
from typing import Any


def positive(kind: type) -> Any:
    """For argparse's `type`: a finite number of that kind above 0."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is no finite number above 0")
        return value

    convert.__name__ = kind.__name__  # argparse names it in "invalid float value"
    return convert
