"""Likelihood regret."""

from __future__ import annotations

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import at_once
from tightbound.analysis.bounds.gap import elbo_at, fit_local
from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.core.errors import number, whole
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import DETERMINISTIC, Batch
from tightbound.data.feed import each


class Regret(Score):
    """ELBO after fitting q(z|x) to the single example, minus the ELBO with the encoder's q; the decoder is fixed.

    An encoder that has never seen such data is far from the best q for them. The paper fits the encoder's weights to
    the example. Here the variational parameters that the encoder returns are fitted: that is a larger family of q, and
    takes one decoder pass per step. A value below zero is noise of the fit.

    Args:
        steps: Steps of Adam.
        lr: First step size, in the units of the variational parameters.
        samples: Latent samples per example for each gradient.
        measured: Latent samples per example for each of the two ELBOs, which see the same noise.

    Raises:
        InputError: If a setting is out of range.

    References:
        Likelihood regret (Xiao et al. 2020), Eq. 6, https://arxiv.org/abs/2003.02977
    """

    name = "regret"
    description = "likelihood regret: ELBO gained by fitting q(z|x) to the example"

    def __init__(self, steps: int = 100, lr: float = 0.1, samples: int = 4, measured: int = 50) -> None:
        self.steps, self.lr = whole("steps", steps, least=1, most=10**6), number("lr", lr, above=0)
        self.samples, self.measured = whole("samples", samples, least=1), whole("measured", measured, least=1)

    def reason_missing(self, data: View) -> str | None:
        """Return why there is no q(z|x) to fit; None: there is one."""
        if data.model.deterministic:
            return f"{DETERMINISTIC}: there is no q(z|x) to fit"
        return super().reason_missing(data)

    def estimator(self, data: View, train: View) -> str:
        """Return what is fitted and how it is measured."""
        return (
            f"variational parameters fitted to the example ({self.steps} steps of Adam, lr {self.lr:g}) with fixed "
            f"weights; ELBO after - before, {self.measured} latent samples with the same noise"
        )

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), nats."""
        model = data.model

        def gained(batch: Batch, number: int) -> Array:
            seen = model.observe(batch, Noise("regret", data.seed))
            before, after = (
                elbo_at(model, seen, local, ExampleNoise("regret", data.seed, index=batch.positions()), self.measured)
                .cpu()
                .double()
                for local in fit_local(model, seen, steps=self.steps, lr=self.lr, samples=self.samples, seed=data.seed)
            )
            return torch.where(before.isfinite(), after - before, torch.inf).numpy()

        size = at_once(model, max(self.samples, self.measured))
        return np.concatenate(each(model, data.batch, size, gained, progress=data.progress, title=self.name))
