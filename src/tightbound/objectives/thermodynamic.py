"""Thermodynamic variational objective."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import number, whole
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.path_gradient import PathGradient


class TVO(PathGradient):
    """Thermodynamic objective, a left Riemann sum of log p(x) = integral over beta in [0, 1] of E_beta[log w].

    E_beta is the expectation under the density proportional to q(z | x)^(1 - beta) p(x, z)^beta. The points are
    0, beta_1, ..., 1, log-uniform from beta_1 on; with one partition the value is the ELBO. E_beta is estimated by
    self-normalized importance sampling from q, which is too low in expectation, so the value is a lower bound for any
    number of samples k.

    Decoder and prior get the gradient of the estimate, as in Masrani et al.,
    E_beta[d log w] + beta Cov_beta[d log w, log w]. The encoder gets the reparameterized gradient of Brekelmans et al.
    instead of the score function, (1 - 2 beta) E_beta[D] + beta (1 - beta) Cov_beta[D, log w], where D is the
    derivative of log w through z. With more than one partition, both have a bias that vanishes as k grows.

    Args:
        partitions: Number of partitions.
        beta_1: The first point above 0, in (0, 1); it has no effect with one partition.
        samples: Number of samples k.

    References:
        The thermodynamic variational objective (Masrani et al. 2019), https://arxiv.org/abs/1907.00031; All in the
        exponential family: Bregman duality in thermodynamic variational inference (Brekelmans et al. 2020), on the
            doubly reparameterized gradient, https://arxiv.org/abs/2007.00642
    """

    def __init__(self, partitions: int = 5, beta_1: float = 0.1, samples: int = 10) -> None:
        self.partitions = whole("partitions", partitions, least=1)
        self.beta_1 = number("beta_1", beta_1, above=0, below=1)
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        log_weight = terms.log_weight
        betas, widths = self._points(log_weight)
        return (widths * (betas * log_weight).softmax(1) * log_weight).sum((0, 1))

    def path_weight(self, log_weight: Tensor) -> Tensor:
        """Return the sum over partitions of width w_beta (1 - 2 beta + beta (1 - beta) (log w - E_beta[log w]))."""
        betas, widths = self._points(log_weight)
        weight = (betas * log_weight).softmax(1)  # (K, S, B)
        centered = log_weight - (weight * log_weight).sum(1, keepdim=True)
        return (widths * weight * (1 - 2 * betas + betas * (1 - betas) * centered)).sum(0)

    def _points(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the left end and the width of each partition, each (K, 1, 1)."""
        last = max(self.partitions - 1, 1)
        points = [0.0, *(self.beta_1 ** (i / last) for i in reversed(range(self.partitions)))]
        ends = torch.tensor(points, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
        return ends[:-1], ends.diff(dim=0)
