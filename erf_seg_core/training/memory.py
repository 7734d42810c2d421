"""The C library's habits with freed memory, where they cost a training on a CPU time."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 4 * 1024 * 1024 * ctypes.sizeof(ctypes.c_long)  # glibc takes no more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have this process keep what it frees, for good.

    Each optimisation step frees its activations and makes them again. By default glibc gives such
    large blocks back to the system in between, and every page of them is a page fault. Does nothing
    where the C library is another one.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
