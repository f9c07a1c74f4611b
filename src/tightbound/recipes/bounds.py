"""Importance-weighted bounds and their gradient estimators."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import BINARIZED


@published("burda2016iwae")
def iwae() -> Config:
    """One-layer IWAE: 784-200-200-50, tanh, k = 50, on dynamically binarized MNIST.

    The paper reports a negative log-likelihood (NLL) of 84.78 after 3280 epochs, and 86.76 with k = 1. This recipe
    trains for 60 epochs with warm-up and cosine decay. With objective="elbo" it is the paper's VAE.
    """
    return BINARIZED.replace(
        network="mlp(hidden=(200, 200), activation='tanh')",
        latent=50,
        objective="iwae(samples=50)",
        lr=2e-3,
        eps=1e-4,
        schedule="cosine(warmup=500, final=0.01)",
    )


@published("burda2016iwae")
def iwae_2() -> Config:
    """Two-layer IWAE: 784-200-200-100, then 100-100-50, tanh, k = 50.

    The paper reports an NLL of 82.90 after 3280 epochs, and 85.33 with k = 1.
    """
    return iwae().replace(latent=100, latents="bottom-up(upper=50, hidden=(100, 100))")


@published("rainforth2018tighter")
def miwae() -> Config:
    """MIWAE: mean of 8 importance-weighted bounds with 8 samples each, for the one-layer IWAE model.

    A public repository reports an NLL of 84.97 ± 0.10 after 3280 epochs.
    """
    return iwae().replace(objective="miwae(m=8, k=8)")


@published("rainforth2018tighter")
def ciwae() -> Config:
    """CIWAE: 0.05 ELBO + 0.95 IWAE with 64 samples, for the one-layer IWAE model.

    A public repository reports an NLL of 84.57 ± 0.09.
    """
    return iwae().replace(objective="ciwae(samples=64, beta=0.05)")


@published("rainforth2018tighter")
def piwae() -> Config:
    """PIWAE: IWAE with 64 samples for the decoder and MIWAE(8, 8) for the encoder, for the one-layer model.

    A public repository reports an NLL of 84.46 ± 0.06.
    """
    return iwae().replace(objective="piwae(m=8, k=8)")


@published("tucker2019dreg", "burda2016iwae")
def dreg() -> Config:
    """DReG: doubly reparameterized gradients of IWAE with 50 samples, for the one-layer model with 100 latents.

    A public implementation reports an NLL of 84.32, and 84.59 with the usual gradient of IWAE.
    """
    return iwae().replace(objective="dreg(samples=50)", latent=100)
