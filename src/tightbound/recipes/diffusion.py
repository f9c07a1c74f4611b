"""Autoencoders with latents that are maps, and flow matching in their latent space."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published


@published("rombach2022ldm")
def kl_autoencoder() -> Config:
    """KL autoencoder: z is a map of 4 channels, an eighth as wide as the image; on scenes.

    The rate has its full weight, so that the objective is a bound. The paper weights it by 1e-6 or less, adds a
    perceptual loss and an adversary, and uses larger networks and other data.
    """
    return Config(
        data="scenes",
        latents="spatial(channels=4, factor=8)",
        likelihood="discretized-logistic(scale='shared')",
        validation_size=1_000,
    )


@published("rombach2022ldm", "lipman2023flow")
def latent_flow() -> Config:
    """Flow matching in the latent space of the KL autoencoder, in place of the paper's diffusion; on scenes.

    The flow is the prior, so that bounds refer to it.
    """
    return kl_autoencoder().replace(prior="flow-matching", prior_max_examples=20_000)
