"""Pictures that come and go for every frame shall not cost the kernel's help each time."""

from __future__ import annotations

import numpy as np

_LARGEST_KEPT = 31 << 20
"""Bytes; glibc follows up to 32 MiB (`mallopt(3)`, M_MMAP_THRESHOLD)."""


def keep_freed_memory() -> None:
    """Make this process reuse memory that was freed, instead of handing it back at once.

    glibc gives large blocks back to the kernel as soon as they are freed, and the kernel clears
    every page that is asked for again: an eighth of the time of scoring a frame. Once it has seen a
    block of some size freed, it keeps those that are no larger, up to twice that size in all. So
    it is shown a large one, which is never written to and therefore costs nothing.
    """
    np.empty(_LARGEST_KEPT, np.uint8)
