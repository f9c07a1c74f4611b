"""Law 2: the optimum of the linear VAE is probabilistic PCA (Tipping and Bishop 1999; Lucas et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

import tightbound as tb
from laws.linear import evidence
from tightbound.likelihoods import Gaussian, Identity
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


def test_a_trained_linear_vae_is_probabilistic_pca() -> None:
    d, latent, n = 6, 2, 2000
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(d, latent)))[0] * [2.0, 1.2]
    x = (rng.normal(size=(n, latent)) @ w.T + rng.normal(size=d) + 0.5 * rng.normal(size=(n, d))).astype(np.float32)
    data = tb.data.open(x, domain="real", test=1 / n)
    train = data.train.batch(torch.arange(len(data.train))).x.double()
    torch.manual_seed(0)
    likelihood = Gaussian((d,), latent, nn.Linear(latent, d), scale="shared")
    posterior = DiagonalNormal((d,), latent, nn.Flatten())
    model = tb.VAE(tb.Flat(StandardNormal(latent), posterior), likelihood, Identity())
    tb.fit(
        model, data, tb.objectives.ELBO(samples=4),
        epochs=70, batch_size=200, lr=0.02, schedule="cosine", ema=0.99, validation_size=0, quiet=True,
    )  # fmt: skip

    centerd = train - train.mean(0)
    values, vectors = torch.linalg.eigh(centerd.T @ centerd / len(train))
    noise = values[: d - latent].mean().item()
    best = vectors[:, d - latent :]
    w_ml = best * (values[d - latent :] - noise).sqrt()
    exact = evidence(train, w_ml, train.mean(0), math.sqrt(noise)).mean().item()

    assert likelihood.network is not None
    learned = likelihood.network.weight.detach().double()
    sigma = likelihood.log_scale.detach().double().exp().item()
    reached = evidence(train, learned, likelihood.network.bias.detach().double(), sigma).mean().item()
    assert abs(sigma**2 / noise - 1) < 0.02
    cosines = torch.linalg.svdvals(torch.linalg.qr(learned)[0].T @ best)
    assert cosines.min() > 0.999
    assert exact - 0.01 < reached <= exact + 1e-4
