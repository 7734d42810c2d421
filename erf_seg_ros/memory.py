"""Memory that was freed goes back to the system, not only to this process; knows no ROS."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_LIBC = ctypes.CDLL(None)


def return_freed_memory() -> None:
    """Have the C library keep no freed memory for later; does nothing where it cannot (musl)."""
    with suppress(AttributeError):
        _LIBC.malloc_trim(0)
