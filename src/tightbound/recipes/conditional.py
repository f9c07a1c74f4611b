"""Conditional models, and remedies of posterior collapse."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import vae
from tightbound.recipes.priors import pixelvae


@published("sohn2015cvae")
def cvae() -> Config:
    """Conditional VAE that completes images: the left half is given, the right half is modeled.

    `--context labels` conditions on the class in its place, "visible(rows=(0.5, 1), columns=(0, 0.5))" on a quadrant.
    The paper's figures are of quadrants: none is a target here.
    """
    return vae().replace(
        network="mlp(hidden=(500, 500))", latent=50, prior="learned", context="visible(columns=(0, 0.5))"
    )


@published("he2019lagging")
def lagging() -> Config:
    """Aggressive training of a lagging encoder, against the collapse that a PixelCNN decoder brings.

    The paper trains on binarized OMNIGLOT and on text; here binarized MNIST.
    """
    return pixelvae().replace(objective="lagging")
