"""Freed memory stays with the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from tightbound.data.memory import keep_freed_memory

print(keep_freed_memory())
for kib in (1 << 13, 1 << 15):  # beside the heap and, where a block is freed between two, in it
    for i in range(8):
        blocks = [torch.ones(kib * 256) for _ in range(4)]
        if i == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        del blocks
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * 4 / kib / 4 / 6)
"""
OWN = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}


def _run(**environment: str) -> list[str]:
    command = [sys.executable, "-c", FAULTS]
    return subprocess.run(
        command, env=OWN | environment, check=True, capture_output=True, text=True, timeout=600
    ).stdout.split()


@pytest.mark.slow
def test_memory_that_a_step_frees_serves_the_next_unless_the_environment_says_otherwise() -> None:
    kept, *shares = _run()
    if kept == "False":
        pytest.skip("the C library is not glibc: it gives no say in what it keeps")
    own, *given_back = _run(MALLOC_MMAP_THRESHOLD_="131072")
    assert own == "False"
    for share, without in zip(shares, given_back, strict=True):  # of the pages that a step fills, the system's
        assert float(share) < float(without) / 4
