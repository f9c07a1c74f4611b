"""Scores of where the code of an example lies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.terms import DETERMINISTIC, Batch
from tightbound.data.feed import each

AT_THE_MEAN = "log-density of the prior at the posterior mean"


class Mahalanobis(Score):
    """Squared Mahalanobis distance of the posterior mean to the codes of training data.

    Where training data have classes, to the nearest class mean under one covariance of the codes about them; else to
    the mean of all. The covariance is shrunk by the rule of Ledoit and Wolf.

    References:
        A simple unified framework for detecting out-of-distribution samples and adversarial attacks (Lee et al. 2018),
        Eq. 2, https://arxiv.org/abs/1807.03888;
        A well-conditioned estimator for large-dimensional covariance matrices (Ledoit and Wolf 2004)
    """

    name = "mahalanobis"
    description = "squared distance of the code to those of training data, in their covariance"

    def unit(self, model: VAE) -> str:
        """Has none."""
        return "squared sd"

    def target(self, model: VAE) -> str:
        """What is measured."""
        return f"the mean of {model.latents.moments_of}"

    def label(self, model: VAE) -> str | None:
        """A distance is what it is, whatever the target."""
        return None

    def lacks(self, data: View) -> str | None:
        """No density is needed, but a space in which codes have a mean and a covariance."""
        return "codes are numbers of entries, with no mean or covariance" if data.evaluation.has_code_indices else None

    def estimator(self, data: View, train: View) -> str:
        """To what."""
        classes = train.classes
        to = "their mean" if classes is None else f"the nearest of {len(np.unique(classes))} class means"
        return f"{len(train.batch):,} training codes, to {to}; Ledoit-Wolf covariance"

    def __call__(self, data: View, train: View) -> Array:
        """(N,)."""
        classes = np.zeros(len(train.codes)) if train.classes is None else train.classes
        return mahalanobis(data.codes, train.codes, classes)


def mahalanobis(z: Array, codes: Array, classes: Array) -> Array:
    """(N,) squared distance of z (N, L) to the nearest class mean of codes (M, L) with classes (M,), under the shrunk
    covariance of the codes about their class means."""
    from sklearn.covariance import LedoitWolf

    names, which = np.unique(classes, return_inverse=True)
    means = np.stack([codes[which == i].mean(0) for i in range(len(names))])
    fitted = LedoitWolf(assume_centered=True).fit(codes - means[which])
    root = np.linalg.cholesky(fitted.covariance_)
    gaps = np.linalg.solve(root, (z[:, None] - means).reshape(-1, z.shape[1]).T)
    return np.square(gaps).sum(0).reshape(len(z), len(names)).min(1)


class Prior(Score):
    """-log p(z) at the posterior mean: how far from where the prior has its codes."""

    name = "prior"
    description = "-log p(z) at the posterior mean"

    def target(self, model: VAE) -> str:
        """What is measured."""
        return f"p(z) at the mean of {model.latents.moments_of}"

    def label(self, model: VAE) -> str | None:
        """A density of codes is what it is, whatever the target."""
        return None

    def lacks(self, data: View) -> str | None:
        """Means lie in the support where that is R^L, or z is a function of x."""
        support = data.model.latents.support
        if data.evaluation.has_uniform_codes:
            return "all codes are equally probable under the prior in use"
        if data.model.deterministic and data.has_bound:
            return None
        return None if support == "real" else f"codes lie on a support ({support}) that a mean of q(z|x) lies off"

    def estimator(self, data: View, train: View) -> str:
        """Exact."""
        return f"-log p(codes): {DETERMINISTIC}" if data.model.deterministic else AT_THE_MEAN

    def __call__(self, data: View, train: View) -> Array:
        """(N,) nats."""
        model = data.model
        if model.deterministic:
            return data.evaluation.per_example["rate"]

        def improbable(batch: Batch, number: int) -> Tensor:
            seen = model.observe(batch, Noise("prior", data.seed))
            mean, _ = model.latents.moments(model.encode_state(seen))
            return -model.log_prior(mean.unsqueeze(0), seen.context)[0].cpu().double()

        return torch.cat(each(model, data.batch, 500, improbable)).numpy()
