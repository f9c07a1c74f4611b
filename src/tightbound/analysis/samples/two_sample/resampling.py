"""Standard errors of statistics of two samples: bootstrap and block jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.core.noise import key_seed

Array = np.ndarray[Any, Any]

BLOCKS = 20  # blocks of rows, which a jackknife leaves out in turn
T = 2.093  # 97.5% of Student's t with BLOCKS - 1 degrees of freedom
RESAMPLES = 1000  # bootstrap resamples


@dataclass(frozen=True)
class Measured:
    """A statistic with its standard error and a 95% interval for its expectation at this sample size."""

    value: float
    stderr: float
    low: float
    high: float

    def within(self, low: float, high: float) -> Measured:
        """Return it with the interval cut to the range of the statistic."""
        return Measured(self.value, self.stderr, max(self.low, low), min(self.high, high))

    def share(self, n: int) -> Measured:
        """Return it as a share of n rows, within 0 and 1.

        If all rows count or none does, resampling shows no variation; the interval is then the exact binomial one
        (Clopper and Pearson 1934).
        """
        room = 1 - 0.025 ** (1 / n) if self.stderr == 0 and self.value in (0, 1) else 0.0
        return Measured(self.value, self.stderr, self.low - room, self.high + room).within(0.0, 1.0)

    def plus(self, shift: float) -> Measured:
        """Return it with the value and interval shifted."""
        return Measured(self.value + shift, self.stderr, self.low + shift, self.high + shift)


def jackknife(value: float, left_out: Array) -> Measured:
    """Return a statistic with the error that follows from its values (BLOCKS,) with each block of rows left out.

    References:
        The jackknife and the bootstrap for general stationary observations (Kuensch 1989), for independent rows
        Bootstrap methods and their application (Davison and Hinkley 1997), Section 2.7
    """
    blocks = len(left_out)
    stderr = math.sqrt((blocks - 1) / blocks * float(((left_out - left_out.mean()) ** 2).sum()))
    return Measured(value, stderr, value - T * stderr, value + T * stderr)


def bootstrap(value: float, resampled: Array) -> Measured:
    """Return a statistic with the error that follows from its values (R,) on resampled rows.

    Distances are larger on resampled rows, by about their bias. The interval is therefore made of the deviations from
    their mean (pivotal).

    References:
        An introduction to the bootstrap (Efron and Tibshirani 1993), Sections 6.2 and 10.2
    """
    deviation = resampled - resampled.mean()
    low, high = np.quantile(deviation, [0.025, 0.975])
    return Measured(value, float(deviation.std(ddof=1)), value - float(high), value - float(low))


def block_of(n: int, seed: int, name: str) -> Array:
    """Return the block 0 .. BLOCKS - 1 of each row (n,), at random, since data may be ordered by class."""
    return np.random.default_rng(key_seed("blocks", name, seed)).permutation(np.arange(n) % BLOCKS)


def resampled(
    n: int, m: int, statistic: Callable[[Array, Array], float], seed: int, resamples: int = RESAMPLES
) -> Array:
    """Return a statistic (resamples,) of the counts with which n and m rows are drawn with replacement."""
    random = np.random.default_rng(key_seed("bootstrap", seed))
    x, y = np.full(n, 1 / n), np.full(m, 1 / m)
    return np.array([statistic(random.multinomial(n, x), random.multinomial(m, y)) for _ in range(resamples)])
