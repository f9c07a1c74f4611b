"""Precision of the networks in an evaluation, and whether it saves time on this machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Literal

PRECISIONS = ("fp32", "bf16")
Precision = Literal["fp32", "bf16"]
REPEATS = 3


def warn_if_slower(compute: Callable[[Precision], object]) -> None:
    """Warn, with the measured times, if bfloat16 takes as long as float32 or longer.

    Args:
        compute: Function that computes a small part of the work in a precision, and has it done when it returns.
    """
    least: dict[Precision, float] = {"fp32": float("inf"), "bf16": float("inf")}
    for repeat in range(REPEATS + 1):
        for precision in least:
            began = time.perf_counter()
            compute(precision)
            if repeat:  # the first call of each allocates memory and chooses kernels
                least[precision] = min(least[precision], time.perf_counter() - began)
    if least["bf16"] >= least["fp32"]:
        warnings.warn(
            f"bfloat16 saves no time on this machine: a part of the evaluation took {least['bf16']:.3g} s in bfloat16 "
            f"and {least['fp32']:.3g} s in float32, which is exact; leave out precision='bf16'",
            stacklevel=3,
        )
