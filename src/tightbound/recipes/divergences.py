"""Autoencoders with a different divergence between posterior and prior, or a different reconstruction loss."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published

_CONV = "conv(channels=(32, 64), hidden=256)"


def _gray() -> Config:
    """Return a config with squared error on dequantized images: log N(x; m, I / 2) is -|x - m|^2 + constant."""
    return Config(
        data="mnist",
        network=_CONV,
        latent=8,
        likelihood="gaussian(scale=0.70710678)",
        epochs=20,
        batch_size=100,
        lr=1e-3,
    )


@published("zhao2019infovae")
def info_vae() -> Config:
    """InfoVAE: the ELBO minus 999 times the MMD between aggregate posterior and prior.

    The paper uses other networks.
    """
    return _gray().replace(likelihood="gaussian(scale='shared')", objective="info(alpha=0.0, lambda_=1000.0)")


@published("tolstikhin2018wae")
def wae() -> Config:
    """Wasserstein autoencoder: MMD penalty with inverse multiquadratic kernels, deterministic posterior.

    The paper judges samples of faces. The model has no bound on log p(x).
    """
    return _gray().replace(posterior="point", objective="wae-mmd(weight=10.0)")


@published("makhzani2016aae", "tolstikhin2018wae")
def aae() -> Config:
    """Adversarial autoencoder: a discriminator on z matches the aggregate posterior to the prior (WAE-GAN).

    The paper reports Parzen window estimates, which tightbound does not offer.
    """
    return _gray().replace(posterior="point", objective="aae")


@published("ghosh2020rae")
def rae() -> Config:
    """Regularized autoencoder: L2 penalty on the latent codes and on the decoder's weights.

    To draw samples, fit a latent sampler with `fit_sampler()`. The paper judges samples. The model has no bound on
    log p(x).
    """
    return _gray().replace(posterior="point", objective="rae(penalty='l2')")


@published("larsen2016vaegan")
def vae_gan() -> Config:
    """VAE-GAN: reconstruction error in the features of a discriminator.

    The paper judges samples of faces.
    """
    return _gray().replace(objective="vae-gan", latent=16, lr=3e-4)


@published("snell2017msssim")
def ms_ssim_vae() -> Config:
    """VAE with multi-scale structural similarity as its reconstruction term.

    The paper reports human judgments.
    """
    return _gray().replace(objective="ms-ssim", latent=16)
