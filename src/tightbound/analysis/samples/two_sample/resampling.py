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


def block_of(n: int, seed: int, name: str) -> Array:
    """Return the block 0 .. BLOCKS - 1 of each row (n,), at random, since data may be ordered by class."""
    return np.random.default_rng(key_seed("blocks", name, seed)).permutation(np.arange(n) % BLOCKS)


def leave_out(x: Array, y: Array, seed: int, statistic: Callable[[Array, Array], Any]) -> Array:
    """Return a statistic (one or K numbers) of rows x (n, ...) and y (m, ...) without each block in turn, then of all.

    Returns:
        Values (BLOCKS + 1,) or (BLOCKS + 1, K).
    """
    own, other = block_of(len(x), seed, "x"), block_of(len(y), seed, "y")
    return np.array([statistic(x[own != block], y[other != block]) for block in range(BLOCKS + 1)])


def jackknife(values: Array) -> Measured:
    """Return a statistic with its error, from its values without each block in turn, then with all rows (BLOCKS + 1,).

    References:
        The jackknife and the bootstrap for general stationary observations (Kuensch 1989), for independent rows
        Bootstrap methods and their application (Davison and Hinkley 1997), Section 2.7
    """
    left, value = values[:-1], float(values[-1])
    stderr = math.sqrt((len(left) - 1) / len(left) * float(((left - left.mean()) ** 2).sum()))
    return Measured(value, stderr, value - T * stderr, value + T * stderr)


def bootstrap(n: int, m: int, statistic: Callable[[Array, Array], float], seed: int) -> Measured:
    """Return a statistic of the weights of n and m rows; see `bootstrap_each`."""
    return bootstrap_each(n, m, lambda a, b: np.array([statistic(a, b)]), seed)[0]


def bootstrap_each(
    n: int, m: int, statistic: Callable[[Array, Array], Array], seed: int, resamples: int = RESAMPLES
) -> list[Measured]:
    """Return K statistics (K,) of the weights of n and m rows, with standard errors from a bootstrap.

    Distances are larger on resampled rows, by about their bias. The intervals are therefore made of the deviations from
    their mean (pivotal).

    References:
        An introduction to the bootstrap (Efron and Tibshirani 1993), Sections 6.2 and 10.2
    """
    random, x, y = np.random.default_rng(key_seed("bootstrap", seed)), np.full(n, 1 / n), np.full(m, 1 / m)
    value = statistic(np.ones(n), np.ones(m))
    again = np.array([statistic(random.multinomial(n, x), random.multinomial(m, y)) for _ in range(resamples)])
    deviation = again - again.mean(0)
    error, (low, high) = deviation.std(0, ddof=1), np.quantile(deviation, [0.025, 0.975], 0)
    return [Measured(*map(float, each)) for each in zip(value, error, value - high, value - low, strict=True)]
