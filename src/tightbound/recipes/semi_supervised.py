"""Models that learn classes from few labels."""

from __future__ import annotations

from tightbound.config import Config
from tightbound.recipes.base import published
from tightbound.recipes.lessons import BINARIZED


@published("kingma2014ssl")
def m2() -> Config:
    """Model M2: the class and a latent code generate an image, and a classifier infers unknown classes.

    `labels_fraction` sets the share of labels to train on. In your own data, examples without a label, or with the
    label -1, have an unknown class. The paper trains for thousands of epochs.
    """
    return BINARIZED.replace(
        network="mlp(hidden=(500,))",
        latent=50,
        context="inferred-labels(noise=0.3)",
        objective="m2",
        batch_size=200,
    )


@published("kingma2014ssl")
def m1_m2() -> Config:
    """Model M1+M2 on MNIST: a VAE, and then M2 on its latent codes, which learns classes from few labels.

    `labels_fraction` sets the share of labels to train on. In your own data, examples without a label, or with the
    label -1, have an unknown class. Samples come from M2; `--label` selects their class.
    """
    return BINARIZED.replace(
        network="mlp(hidden=(600, 600))",
        latent=50,
        objective="elbo",
        beta="linear(share=0.2)",
        epochs=40,
        batch_size=200,
        schedule="cosine(warmup=200, final=0.02)",
        sampler="m2",
    )
