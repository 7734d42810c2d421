"""What the C library does with freed memory: keep it for the next frame, or give it back.

By default glibc gives large blocks back to the system as soon as they are freed, and every page of
the next such block is a page fault: a large part of the time of whatever allocates megabytes again
and again. Both functions do nothing where the C library is another one.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_LIBC = ctypes.CDLL(None)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 4 * 1024 * 1024 * ctypes.sizeof(ctypes.c_long)  # glibc takes no more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have this process keep what it frees, for good: for processes that do one long job."""
    with suppress(AttributeError):
        _LIBC.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        _LIBC.mallopt(_M_TRIM_THRESHOLD, _NEVER)


def return_freed_memory() -> None:
    """Give back what was freed and kept so far, as after unloading a network."""
    with suppress(AttributeError):
        _LIBC.malloc_trim(0)
