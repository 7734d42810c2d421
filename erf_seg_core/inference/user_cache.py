"""Where compiled and calibrated things are kept, as the XDG base directory specification has it."""

from __future__ import annotations

import logging
import os
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def user_cache(name: str) -> Path:
    """Folder of that name below the user's cache for this package; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else _home_cache()) / "erf_seg" / name


@cache
def _home_cache() -> Path:
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        # No HOME, and a user whom the system does not know: in a container, as a service.
        folder = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
        logger.warning(
            "no home folder, so %s is the cache; set HOME or XDG_CACHE_HOME to keep it", folder
        )
        return folder
