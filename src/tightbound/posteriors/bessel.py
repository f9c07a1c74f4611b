"""Modified Bessel function of the first kind, of any real order, on a logarithmic scale."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import torch
from torch import Tensor

RADIUS = 16.0  # the uniform expansion is used for v^2 + x^2 above the square of this
SERIES = 56  # number of terms of the power series, for x below RADIUS
DEBYE = 12  # number of terms of the uniform expansion


def log_bessel(order: float, x: Tensor) -> Tensor:
    """Return log(e^-x Gamma(v + 1) (2 / x)^v I_v(x)), which is 0 at x = 0 and varies slowly.

    It uses a power series near the origin and Debye's expansion elsewhere, whose terms fall as powers of
    1 / sqrt(v^2 + x^2). Autograd gives derivatives of any order. In float64 the relative error of I_v is below 1e-11
    for v <= 100.

    Args:
        order: Order v >= 0.
        x: Arguments x >= 0, of any shape.

    References:
        NIST Digital Library of Mathematical Functions, 10.25.2 and 10.41.3, https://dlmf.nist.gov/10.41
    """
    near = x.square() + order**2 < RADIUS**2
    # give each branch only arguments that suit it: infinities in the other would make the gradient NaN
    series = _series(order, torch.where(near, x, 0.0)) if order < RADIUS else torch.zeros_like(x)
    return torch.where(near, series, _debye(order, torch.where(near, RADIUS, x)))


def bessel_ratio(order: float, x: Tensor) -> Tensor:
    """Return I_(v+1)(x) / (x I_v(x)), which is 1 / (2 v + 2) at x = 0."""
    return (log_bessel(order + 1, x) - log_bessel(order, x)).exp() / (2 * order + 2)


def _series(order: float, x: Tensor) -> Tensor:
    """Return sum_k (x^2 / 4)^k / (k! (v + 1)_k); its terms are positive."""
    k = torch.arange(1, SERIES, dtype=x.dtype, device=x.device)
    terms = torch.cumprod((x.square() / 4).unsqueeze(-1) / (k * (order + k)), -1)
    return terms.sum(-1).log1p() - x


def _debye(order: float, x: Tensor) -> Tensor:
    """Return v eta - x, the log prefactor and log sum_k U_k(p) / v^k, added up; p = v / r and r^2 = v^2 + x^2."""
    r = (x.square() + order**2).sqrt()
    k = torch.arange(DEBYE + 1, dtype=x.dtype, device=x.device)
    coefficients = torch.tensor(_debye_polynomials(), dtype=x.dtype, device=x.device)
    in_p = ((order / r).square().unsqueeze(-1) ** k) @ coefficients.T
    total = (in_p * r.unsqueeze(-1) ** -k).sum(-1)
    power = math.lgamma(order + 1) - order * ((order + r) / 2).log() + order**2 / (r + x)
    return power - 0.5 * (2 * math.pi * r).log() + total.log()


@functools.cache
def _debye_polynomials() -> tuple[tuple[float, ...], ...]:
    """Return the coefficients c_kj of U_k(p) = p^k sum_j c_kj p^(2 j), by the recurrence DLMF 10.41.9."""
    rows = [[Fraction(1)]]
    for k in range(DEBYE):
        row = [Fraction(0)] * (k + 2)
        for j, c in enumerate(rows[-1]):
            n = k + 2 * j  # U' p^2 (1 - p^2) / 2 + the integral of (1 - 5 t^2) U / 8, by powers p^(n+1) and p^(n+3)
            row[j] += c * (Fraction(n, 2) + Fraction(1, 8 * (n + 1)))
            row[j + 1] -= c * (Fraction(n, 2) + Fraction(5, 8 * (n + 3)))
        rows.append(row)
    return tuple(tuple(float(c) for c in row) + (0.0,) * (DEBYE + 1 - len(row)) for row in rows)
