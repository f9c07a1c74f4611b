"""Keeping freed memory in the process: a step needs as much as the last, and new memory costs a fault per page.

glibc returns large blocks, and the free end of its heap, to the system at once. Each step of a convolutional model
would then take some ten thousand page faults, a quarter of its time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


@functools.cache
def keep_freed_memory(heap: int = (1 << 31) - 1, block: int = 1 << 28) -> bool:
    """Let this process keep the memory that it frees, for as long as it runs.

    Args:
        heap: Keep up to this many bytes at the end of the heap (the default, 2 GiB, is glibc's limit).
        block: Keep blocks smaller than this many bytes.

    Returns:
        Whether it does: False for C libraries other than glibc, and where the environment controls the allocator
        (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES).
    """
    own = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if not sys.platform.startswith("linux") or any(name in os.environ for name in own):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and all([set_option(_MMAP, block), set_option(_TRIM, heap)])
