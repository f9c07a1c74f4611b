"""Posteriors other than the diagonal Gaussian."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import BINARIZED, vae


def _flow(posterior: str) -> Config:
    return BINARIZED.replace(
        network="mlp(hidden=(400, 400), activation='silu')",
        latent=40,
        posterior=posterior,
        objective="elbo(beta=linear(share=0.1))",
        schedule="cosine(warmup=500, final=0.02)",
    )


@published("kingma2016iaf")
def iaf() -> Config:
    """Inverse autoregressive flow posterior with an MLP encoder.

    The paper uses a deep ResNet.
    """
    return _flow("flow(kind='iaf', transforms=4)")


@published("rezende2015flows")
def planar() -> Config:
    """Planar flow posterior with 10 maps.

    The paper reports 87.5 on static MNIST (85.1 with 80 maps) for a deep latent Gaussian model with 40 latents.
    """
    return _flow("planar(flows=10)")


@published("davidson2018svae")
def s_vae() -> Config:
    """Hyperspherical VAE: von Mises-Fisher posterior, uniform prior on the sphere.

    The results of the paper have not been reproduced.
    """
    return vae().replace(
        network="mlp(hidden=(256, 128))", latent=11, prior="sphere", posterior="von-mises-fisher", epochs=40
    )


@published("caterini2018hvae")
def hvae() -> Config:
    """Hamiltonian VAE: leapfrog steps on log p(x, z) from a draw of the encoder's Gaussian.

    The results of the paper have not been reproduced.
    """
    return vae().replace(posterior="hamiltonian(steps=3)", network="conv(channels=(16, 32, 32), hidden=450)", latent=64)


@published("jang2017gumbel", "maddison2017concrete")
def categorical() -> Config:
    """Categorical latents: 30 variables of 10 classes, relaxed by straight-through Gumbel-softmax.

    The results of the papers have not been reproduced.
    """
    return vae().replace(
        network="mlp(hidden=(512, 256))",
        latent=300,
        prior="categorical(groups=30)",
        posterior="relaxed-categorical(groups=30, temperature=linear(start=1.0, stop=0.5, share=0.5))",
        objective="elbo(beta=linear(share=0.2))",
    )
