"""Learned priors, hierarchies, conditional models, and a remedy for posterior collapse."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import BINARIZED, vae


@published("tomczak2018vamp")
def vamp() -> Config:
    """VampPrior with 500 pseudo-inputs: two hidden layers of 300, 40 latents, warm-up, on binarized MNIST.

    The paper reports an NLL of 82.38, and 84.50 with N(0, I) (gated layers, 100 epochs of warm-up, early stopping).
    """
    return BINARIZED.replace(
        network="mlp(hidden=(300, 300), activation='silu')",
        latent=40,
        prior="vamp(components=500)",
        objective="elbo(beta=linear(share=0.2))",
        schedule="cosine(warmup=500, final=0.02)",
    )


@published("sonderby2016ladder")
def ladder() -> Config:
    """Ladder VAE: groups of 64, 32 and 16 latents, precision-weighted merge, warm-up, on binarized MNIST.

    The paper reports an NLL of 82.12 with five layers, and 81.74 after fine-tuning.
    """
    return vamp().replace(
        network="mlp(hidden=(512, 256), activation='leaky-relu')",
        latent=64,
        latents="ladder(groups=3)",
        prior="auto",
        batch_size=128,
    )


@published("gulrajani2017pixelvae", "oord2016pixelcnn")
def pixelvae() -> Config:
    """PixelVAE: a gated PixelCNN conditioned on z as the decoder, on binarized MNIST.

    The results of the paper have not been reproduced.
    """
    return BINARIZED.replace(
        network="conv(channels=(32, 64), hidden=256)",
        latent=16,
        likelihood="pixelcnn",
        objective="free-bits(free_bits=4.0, over='total', beta=linear(share=0.2))",
        epochs=20,
        batch_size=64,
    )


@published("sohn2015cvae")
def cvae() -> Config:
    """Conditional VAE that completes images: the left half is given, and the right half is modeled.

    With context="labels" the condition is the class, and with "visible(rows=(0.5, 1), columns=(0, 0.5))" it is a
    quadrant of the image. The paper reports results for quadrants, which this recipe does not reproduce.
    """
    return vae().replace(
        network="mlp(hidden=(500, 500))", latent=50, prior="learned", context="visible(columns=(0, 0.5))"
    )


@published("he2019lagging")
def lagging() -> Config:
    """Aggressive training of a lagging encoder, to prevent the posterior collapse that a PixelCNN decoder causes.

    The paper trains on binarized OMNIGLOT and on text, this recipe on binarized MNIST.
    """
    return pixelvae().replace(objective="lagging")
