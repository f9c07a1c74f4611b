"""Scores of where the latent code of an example lies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.core.noise import Noise
from tightbound.core.terms import DETERMINISTIC, Batch
from tightbound.data.feed import each

AT_THE_MEAN = "log-density of the prior at the posterior mean"


class Mahalanobis(Score):
    """Squared Mahalanobis distance of the posterior mean from the latent codes of training examples.

    If the training examples have classes, it is the distance to the nearest class mean under one covariance of the
    codes about their class means; else to the mean of all codes. The covariance is shrunk as Ledoit and Wolf propose.

    References:
        A simple unified framework for detecting out-of-distribution samples and adversarial attacks (Lee et al. 2018),
        Eq. 2, https://arxiv.org/abs/1807.03888;
        A well-conditioned estimator for large-dimensional covariance matrices (Ledoit and Wolf 2004)
    """

    name = "mahalanobis"
    description = "squared distance of the latent code from those of training examples, under their covariance"
    target = "the mean of {codes}"
    unit = "squared sd"
    of_bound = False

    def reason_missing(self, data: View) -> str | None:
        """Return why the latent codes have no mean and covariance; None: they have."""
        if data.evaluation.has_code_indices:
            return "the latent codes are code indices, which have no mean or covariance"
        return None

    def estimator(self, data: View, train: View) -> str:
        """Return what the distance is measured to."""
        classes = train.classes
        to = "their mean" if classes is None else f"the nearest of {len(np.unique(classes))} class means"
        return f"distance from {len(train.batch):,} training codes, to {to}; Ledoit-Wolf covariance"

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,)."""
        z, codes = (view.evaluation.per_example["mean"] for view in (data, train))
        return mahalanobis(z, codes, np.zeros(len(codes)) if train.classes is None else train.classes)


def mahalanobis(z: Array, codes: Array, classes: Array) -> Array:
    """Return the squared distance (N,) of z (N, L) to the nearest mean of a class of codes (M, L), under the shrunk
    covariance about these means."""
    from sklearn.covariance import LedoitWolf

    names, which = np.unique(classes, return_inverse=True)
    means = np.stack([codes[which == i].mean(0) for i in range(len(names))])
    fitted = LedoitWolf(assume_centered=True).fit(codes - means[which])
    root = np.linalg.cholesky(fitted.covariance_)
    gaps = np.linalg.solve(root, (z[:, None] - means).reshape(-1, z.shape[1]).T)
    return np.square(gaps).sum(0).reshape(len(z), len(names)).min(1)


class Prior(Score):
    """-log p(z) at the posterior mean: how far the latent code lies from where the prior expects it."""

    name = "prior"
    description = "-log p(z) at the posterior mean"
    target = "p(z) at the mean of {codes}"
    of_bound = False

    def reason_missing(self, data: View) -> str | None:
        """Return why the prior has no informative density at a posterior mean; None: it has."""
        support = data.model.latents.support
        if data.evaluation.has_uniform_codes:
            return "all codes are equally probable under the prior in use"
        if support == "real" or (data.model.deterministic and data.has_bound):
            return None
        return f"latent codes have the support {support!r}, and the mean of q(z|x) lies outside it"

    def estimator(self, data: View, train: View) -> str:
        """Return how the density is computed."""
        return f"-log p(z): {DETERMINISTIC}" if data.model.deterministic else AT_THE_MEAN

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), nats."""
        model = data.model
        if model.deterministic:
            return data.evaluation.per_example["rate"]

        def improbable(batch: Batch, number: int) -> Tensor:
            seen = model.observe(batch, Noise("prior", data.seed))
            mean, _ = model.latents.moments(model.encode_state(seen))
            return -model.log_prior(mean.unsqueeze(0), seen.context)[0].cpu().double()

        return torch.cat(each(model, data.batch, 500, improbable)).numpy()
