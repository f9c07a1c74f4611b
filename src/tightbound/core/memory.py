"""Freed memory stays with the process: a step needs as much as the last, and asking anew costs a fault for each page.

glibc gives large blocks, and the free end of its heap, back to the system at once, so that each step of a convolutional
model would take some ten thousand page faults, a quarter of its time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT = (1 << 31) - 1  # bytes that may be free at the end of the heap: the most that mallopt takes
_LARGE = 1 << 28  # bytes from which a block is the system's own
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed() -> bool:
    """Has this process keep what it frees, up to 2 GiB at the end of its heap, in blocks of less than 256 MiB.

    Returns:
        Whether it does: not under another C library than glibc, nor where the environment says how memory is managed
        (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES).
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _OWN):
        return False
    malloc_options = getattr(ctypes.CDLL(None), "mallopt", None)
    return malloc_options is not None and all([malloc_options(_MAP, _LARGE), malloc_options(_TRIM, _KEPT)])
