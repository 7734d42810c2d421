"""Where compiled and calibrated things are kept, as the XDG base directory specification has it."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """Folder of that name below the user's cache for this package; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "erf_seg" / name
