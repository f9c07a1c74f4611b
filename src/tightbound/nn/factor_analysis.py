"""Factor analysis: the exact linear VAE of numbers, some of which may be missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 2000
LEAST = 1e-3  # variance of the noise, as a share of a column's variance


@dataclass(frozen=True)
class FactorAnalysis:
    """Model x = mean + loadings z + noise with z from N(0, I) and independent Gaussian noise.

    The factors are rotated so that their posterior given a complete x has a diagonal covariance.

    Args:
        mean: Mean (D,).
        loadings: Loadings (D, K), the column with the most information first.
        noise: Variances of the noise (D,).

    References:
        EM algorithms for ML factor analysis (Rubin and Thayer 1982);
        Don't blame the ELBO! A linear VAE perspective on posterior collapse (Lucas et al. 2019), Section 4,
        https://arxiv.org/abs/1911.02469
    """

    mean: Tensor
    loadings: Tensor
    noise: Tensor

    @classmethod
    def fit(cls, x: Tensor, known: Tensor, factors: int, steps: int = 200, tolerance: float = 1e-4) -> FactorAnalysis:
        """Fit by expectation maximization, with a standard normal prior on the loadings of standardized columns.

        Args:
            x: Values (N, D), of which the first `ROWS` are used.
            known: Which of them are known (N, D); the others are integrated out.
            factors: Number of factors K, at most D.
            steps: Iterations, at most.
            tolerance: Gain of the log-likelihood in nats per row below which the iterations end.
        """
        known = known[:ROWS].cpu()
        x = x[:ROWS].cpu().double().masked_fill(~known, 0.0)
        (n, d), k = x.shape, factors
        share = known.to(x)
        count = share.sum(0).clamp_min(1)
        center = x.sum(0) / count
        scale = (((x - center) * share).square().sum(0) / count).sqrt()
        scale = torch.where(scale > 1e-6 * center.abs().clamp_min(1e-30), scale, torch.ones_like(scale))
        y = (x - center) / scale * share
        # begin at the principal components of the standardized values, with zeros for missing ones
        values, vectors = torch.linalg.eigh(y.mT @ y / n)
        rest = values[: d - k].mean().clamp_min(LEAST) if d > k else values.new_tensor(LEAST)
        found = cls(
            torch.zeros_like(center),
            vectors[:, -k:] * (values[-k:] - rest).clamp_min(LEAST).sqrt(),
            (1 - (vectors[:, -k:].square() @ (values[-k:] - rest).clamp_min(0))).clamp_min(0.1),
        )
        patterns, of = torch.unique(known, dim=0, return_inverse=True)
        before = -math.inf
        for _ in range(steps):
            z, covariance = found._infer(y, patterns, of)
            now = found._log_likelihood(y, z, patterns, of, covariance).mean().item()
            if now - before < tolerance:
                break
            before = now
            found = found._improved(y, share, z, covariance, patterns, of)
        loadings, noise = scale[:, None] * found.loadings, scale.square() * found.noise
        return cls(center + scale * found.mean, loadings, noise)._rotated()

    def completed(self, x: Tensor, known: Tensor) -> Tensor:
        """Return E[x | known values] (N, D)."""
        covariance = torch.linalg.inv(self._precision(known.to(x)))
        signal = ((x - self.mean) * known) @ (self.loadings / self.noise[:, None])
        return self.mean + (covariance @ signal[:, :, None]).squeeze(-1) @ self.loadings.mT

    def posterior(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and covariance of z given the known values: (N, K) and (N, K, K)."""
        patterns, of = torch.unique(known, dim=0, return_inverse=True)
        z, covariance = self._infer(x.masked_fill(~known, 0.0), patterns, of)
        return z, covariance[of]

    def log_likelihood(self, x: Tensor, known: Tensor) -> Tensor:
        """Return log p(known values) (N,)."""
        patterns, of = torch.unique(known, dim=0, return_inverse=True)
        x = x.masked_fill(~known, 0.0)
        z, covariance = self._infer(x, patterns, of)
        return self._log_likelihood(x, z, patterns, of, covariance)

    def _infer(self, x: Tensor, patterns: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        """Return posterior means (N, K), and covariances (P, K, K) for each pattern of known values."""
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(self._precision(patterns.to(x))))
        signal = ((x - self.mean) * patterns[of]) @ (self.loadings / self.noise[:, None])
        return (covariance[of] @ signal[:, :, None]).squeeze(-1), covariance

    def _precision(self, known: Tensor) -> Tensor:
        """Return the posterior precision of z (P, K, K) for each pattern of known values (P, D)."""
        k = self.loadings.shape[1]
        products = (self.loadings[:, :, None] * (self.loadings / self.noise[:, None])[:, None, :]).flatten(1)
        return (known @ products).unflatten(1, (k, k)) + torch.eye(k, dtype=known.dtype, device=known.device)

    def _log_likelihood(self, x: Tensor, z: Tensor, patterns: Tensor, of: Tensor, covariance: Tensor) -> Tensor:
        known = patterns.to(x)
        rest = (x - self.mean) * known[of]
        # x - mean has the quadratic form of the residual at the posterior mean, plus that mean's own
        square = ((rest - (z @ self.loadings.mT) * known[of]).square() / self.noise).sum(1) + z.square().sum(1)
        log_det = known @ (2 * math.pi * self.noise).log() - torch.linalg.slogdet(covariance).logabsdet
        return -0.5 * (square + log_det[of])

    def _improved(
        self, y: Tensor, share: Tensor, z: Tensor, covariance: Tensor, patterns: Tensor, of: Tensor
    ) -> FactorAnalysis:
        """Return the maximum of the expected log-density of (y, z)."""
        (n, d), k = y.shape, z.shape[1]
        one = torch.cat([z, z.new_ones(n, 1)], 1)
        second = (share.mT @ (one[:, :, None] * one[:, None, :]).flatten(1)).unflatten(1, (k + 1, k + 1))
        size = torch.bincount(of, minlength=len(patterns)).to(y)
        own = (patterns.to(y) * size[:, None]).mT @ covariance.flatten(1)
        second[:, :k, :k] += own.unflatten(1, (k, k))
        first = (y * share).mT @ one  # (D, K + 1)
        shrink = torch.cat([self.noise[:, None].expand(d, k), self.noise.new_full((d, 1), 1e-9)], 1)
        solution = torch.linalg.solve(second + torch.diag_embed(shrink), first[:, :, None]).squeeze(-1)
        fitted = (solution[:, None, :] @ second @ solution[:, :, None]).flatten()
        error = (y * share).square().sum(0) - 2 * (solution * first).sum(1) + fitted
        noise = (error / share.sum(0).clamp_min(1)).clamp_min(LEAST)
        return FactorAnalysis(solution[:, k], solution[:, :k], noise)

    def _rotated(self) -> FactorAnalysis:
        """Return the same model with factors that are independent given a complete x, the most informative first."""
        _, vectors = torch.linalg.eigh(self.loadings.mT @ (self.loadings / self.noise[:, None]))
        return FactorAnalysis(self.mean, self.loadings @ vectors.flip(1), self.noise)
