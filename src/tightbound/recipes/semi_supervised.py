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
