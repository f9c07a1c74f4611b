"""First models: the default on digits, the lesson, and the original VAE."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published

BINARIZED = Config(  # as for most published results on MNIST
    data="mnist", likelihood="bernoulli", observation="binarized(mode='dynamic')", epochs=60, batch_size=100, lr=1e-3
)


@published()
def digits() -> Config:
    """Default for the 8x8 digits, tuned by measurement.

    Discretized logistic likelihood with a learned scale for each pixel, SiLU, a wide decoder with light dropout, a high
    learning rate and averaged weights.
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
        validation_size=150,
    )


@published()
def lesson() -> Config:
    """Network of the lesson, 784-512-256-20, on gray MNIST with cross-entropy; Adam 1e-3, batch 128, 10 epochs.

    The cross-entropy of gray values is the expected Bernoulli log-likelihood over binarizations. Public scripts with
    one hidden layer of 400 units reach a test loss of 105.56 to 105.59.
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


@published()
def conv() -> Config:
    """Strided convolutions for images of any size, a good first model for pictures."""
    return Config(
        data="mnist",
        network="conv(channels=(32, 64), hidden=256)",
        latent=32,
        epochs=20,
        lr=1e-3,
        schedule="cosine(warmup=200, final=0.01)",
    )


@published()
def autoencoder() -> Config:
    """Network of the lesson as a plain autoencoder, for comparison: deterministic posterior, no rate, no bound."""
    return lesson().replace(posterior="point", objective="autoencoder")


@published("kingma2014vae")
def vae() -> Config:
    """Original VAE: one hidden layer of 500 tanh units, Bernoulli likelihood, on binarized MNIST.

    The paper plots bounds for several latent sizes and trains with Adagrad; this recipe uses Adam, 20 latents and 20
    epochs.
    """
    return BINARIZED.replace(network="mlp(hidden=(500,), activation='tanh')", latent=20, epochs=20)
