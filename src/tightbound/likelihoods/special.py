"""Differences of log-gamma functions, computed without cancellation in float32."""

from __future__ import annotations

import torch
from torch import Tensor

_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)  # B_2j / (2j (2j - 1)), j = 1 ..
_FROM = 8.0  # for y above this, the next term of the series is below 3e-13


def stirling(y: Tensor) -> Tensor:
    """Return s(y) = log Gamma(y) - y log y + y for y > 0, which grows only like log y.

    References:
        NIST Digital Library of Mathematical Functions, Eq. 5.11.1, https://dlmf.nist.gov/5.11
    """
    large = y >= _FROM
    near, far = y.masked_fill(large, 1.0), y.masked_fill(~large, _FROM)
    inverse = 1 / far
    square, term = inverse.square(), torch.zeros_like(far)
    for coefficient in reversed(_SERIES):
        term = term * square + coefficient
    series = term * inverse - 0.5 * torch.log(far / (2 * torch.pi))
    return torch.where(large, series, torch.lgamma(near) - near * near.log() + near)


def log1p_weighted(weight: Tensor, log_ratio: Tensor, otherwise: Tensor) -> Tensor:
    """Return log(1 + w (e^u - 1)), the logarithm of a weighted mean of 1 and e^u.

    Args:
        weight: Weight w in [0, 1].
        log_ratio: Log ratio u.
        otherwise: The same value, computed as a difference of logarithms; it is used except near u = 0, where it
            suffers from cancellation.
    """
    close = log_ratio.abs() < 0.5
    near = torch.log1p(weight * torch.expm1(log_ratio.masked_fill(~close, 0.0)))
    return torch.where(close, near, otherwise)


def log1p_or(excess: Tensor, otherwise: Tensor) -> Tensor:
    """Return log(1 + excess), except near 0 as `otherwise`, the same value as a difference of logarithms."""
    near = excess.abs() < 0.5
    return torch.where(near, torch.log1p(excess.masked_fill(~near, 0.0)), otherwise)
