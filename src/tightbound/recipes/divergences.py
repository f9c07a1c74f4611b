"""Autoencoders with another divergence between codes and prior, or another reconstruction."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published

_CONV = "conv(channels=(32, 64), hidden=256)"


def _gray() -> Config:
    """Dequantized images by squared error: log N(x; m, I / 2) is -|x - m|^2 and a constant."""
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
    """InfoVAE: the ELBO, less 999 times the MMD between aggregate posterior and prior.

    The paper's figures are of other networks: none is a target here.
    """
    return _gray().replace(likelihood="gaussian(scale='shared')", objective="info(alpha=0.0, lambda_=1000.0)")


@published("tolstikhin2018wae")
def wae() -> Config:
    """Wasserstein autoencoder with an MMD penalty (inverse multiquadratic kernels) and a point posterior.

    Judged by samples of faces; no bound exists, and no figure of the paper is a target here.
    """
    return _gray().replace(posterior="point", objective="wae-mmd(weight=10.0)")


@published("makhzani2016aae", "tolstikhin2018wae")
def aae() -> Config:
    """Adversarial autoencoder: a discriminator on z leads the aggregate code to the prior (WAE-GAN).

    The paper's figures are Parzen estimates, which this library does not give: none is a target here.
    """
    return _gray().replace(posterior="point", objective="aae")


@published("ghosh2020rae")
def rae() -> Config:
    """Regularized autoencoder: L2 on the codes and on the decoder; sample by a density fitted afterwards
    (`tightbound fit-sampler`).

    Judged by samples; no bound exists, and no figure of the paper is a target here.
    """
    return _gray().replace(posterior="point", objective="rae(penalty='l2')")


@published("larsen2016vaegan")
def vae_gan() -> Config:
    """VAE-GAN: reconstruction in the features of a discriminator.

    Judged by samples of faces; no figure of the paper is a target here.
    """
    return _gray().replace(objective="vae-gan", latent=16, lr=3e-4)


@published("snell2017msssim")
def ms_ssim_vae() -> Config:
    """VAE with multi-scale structural similarity for a reconstruction term.

    Judged by people; no figure of the paper is a target here.
    """
    return _gray().replace(objective="ms-ssim", latent=16)
