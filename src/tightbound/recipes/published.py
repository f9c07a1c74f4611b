"""Recipes: each is a config under the name of a paper or a lesson, and adapts to the shape of other data."""

from __future__ import annotations

from collections.abc import Callable

from tightbound.config import Config
from tightbound.core.errors import InputError, suggestion


def digits() -> Config:
    """What `tightbound train` runs: chosen by measurement on the 8x8 digits.

    Discretized logistic with one learned scale a pixel, silu, a wide and lightly dropped-out decoder, fast
    Adam with averaged weights.
    """
    return Config(
        data="digits",
        network="mlp(hidden=(256, 256), activation='silu', decoder_hidden=(256, 512), decoder_dropout=0.1)",
        latent=16,
        likelihood="discretized-logistic(scale='per-dimension')",
        objective="elbo(beta=linear(share=0.1))",
        epochs=250,
        batch_size=64,
        lr=4e-3,
        optimizer="adamw",
        weight_decay=0.01,
        schedule="cosine(warmup=100, final=0.02)",
        clip=100.0,
        ema=0.9995,
        validation=150,
    )


def lesson() -> Config:
    """The lesson's network, 784-512-256-20, on grey MNIST by cross-entropy; Adam 1e-3, batch 128, 10 epochs.

    The cross-entropy of grey values is the expectation over binarizations of a Bernoulli log-likelihood.
    Reaches a test loss of 105.56 to 105.59 in public scripts with one hidden layer of 400 units.
    """
    return Config(
        data="mnist",
        network="mlp(hidden=(512, 256))",
        latent=20,
        likelihood="bernoulli",
        observation="binarized(mode='expected')",
        epochs=10,
        batch_size=128,
        lr=1e-3,
        start_at_data=False,
    )


def conv() -> Config:
    """Strided convolutions for images of any size: a good first try on pictures."""
    return Config(
        data="mnist",
        network="conv(channels=(32, 64), hidden=256)",
        latent=32,
        epochs=20,
        lr=1e-3,
        schedule="cosine(warmup=200, final=0.01)",
    )


def autoencoder() -> Config:
    """The lesson's network as a plain autoencoder: a point for a posterior, no rate, no bound; for comparison."""
    return lesson().replace(posterior="point", objective="autoencoder")


def iwae() -> Config:
    """The one-layer model of Burda, Grosse and Salakhutdinov 2016 (https://arxiv.org/abs/1509.00519).

    784-200-200-50, tanh, on dynamically binarized MNIST with k = 50; NLL 84.78 after 3280 epochs in the
    paper. Here: 60 epochs with warm-up and cosine decay; `--objective elbo` gives its VAE.
    """
    return Config(
        data="mnist",
        network="mlp(hidden=(200, 200), activation='tanh')",
        latent=50,
        likelihood="bernoulli",
        observation="binarized(mode='dynamic')",
        objective="iwae(samples=50)",
        epochs=60,
        batch_size=100,
        lr=2e-3,
        eps=1e-4,
        schedule="cosine(warmup=500, final=0.01)",
    )


def beta_vae() -> Config:
    """The beta-VAE of Higgins et al. 2017 (https://openreview.net/forum?id=Sy2fzU9gl), beta = 4.

    Convolutions, 10 latents, Bernoulli pixels, Adam 1e-4, batch 64, on the re-rendered sprites; the paper
    trains 300,000 steps, this recipe 20,000.
    """
    return Config(
        data="sprites",
        network="conv(channels=(32, 32, 64, 64), hidden=256)",
        latent=10,
        likelihood="bernoulli",
        objective="elbo(beta=4.0)",
        steps=20_000,
        batch_size=64,
        lr=1e-4,
    )


RECIPES: dict[str, Callable[[], Config]] = {
    "digits": digits,
    "lesson": lesson,
    "conv": conv,
    "autoencoder": autoencoder,
    "iwae": iwae,
    "beta-vae": beta_vae,
}

OWN_RECIPE = {"digits": "digits"}  # built-in data that are trained with a recipe of their own, if none is named


def recipe(name: str) -> Config:
    """The config of a recipe.

    Raises:
        InputError: unknown name (with the nearest).
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; {suggestion(name, RECIPES)}")
    return RECIPES[name]().replace(recipe=name)
