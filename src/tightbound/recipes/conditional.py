"""Conditional models, and remedies for posterior collapse."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import vae
from tightbound.recipes.priors import pixelvae


@published("sohn2015cvae")
def cvae() -> Config:
    """Conditional VAE that completes images: the left half is given, and the right half is modeled.

    With context="labels" the condition is the class, with "visible(rows=(0.5, 1), columns=(0, 0.5))" a quadrant of the
    image. The paper reports results for quadrants, which this recipe does not reproduce.
    """
    return vae().replace(
        network="mlp(hidden=(500, 500))", latent=50, prior="learned", context="visible(columns=(0, 0.5))"
    )


@published("he2019lagging")
def lagging() -> Config:
    """Aggressive training of a lagging encoder, to prevent the collapse that a PixelCNN decoder causes.

    The paper trains on binarized OMNIGLOT and on text, this recipe on binarized MNIST.
    """
    return pixelvae().replace(objective="lagging")
