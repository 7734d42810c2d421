"""Values of options that argparse checks itself."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
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


def named_path(text: str) -> Path:
    """For argparse's `type`: an empty name would be the folder that the user is in."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; is a variable of the shell not set?")
    return Path(text)
