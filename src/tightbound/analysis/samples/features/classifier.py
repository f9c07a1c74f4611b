"""Features of a classifier that is trained on the labels of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.analysis.samples.features.base import Features, Scaled
from tightbound.core.errors import InputError, number, whole
from tightbound.data.splits.base import Split
from tightbound.nn import MLP, Conv
from tightbound.nn.base import Shape

SMALLEST = 7  # pixels; smaller edges are not halved again


class Classifier(Features):
    """Last hidden layer of a small classifier, trained on the labels of the training data.

    It is convolutional for images and fully connected for tables.

    Args:
        width: Number of features.
        steps: Steps of Adam, with a learning rate that rises, then falls to zero.
        batch: Examples per step.
        lr: Highest learning rate.
        classes: Number of classes; labels are 0 .. classes - 1.
        shape: Shape of an example.
        kinds: Kinds of the columns.

    Raises:
        InputError: If the data have no class labels.
    """

    def __init__(
        self,
        width: int = 64,
        steps: int = 900,
        batch: int = 128,
        lr: float = 3e-3,
        classes: int = 0,
        shape: Sequence[int] = (),
        kinds: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        if whole("classes", classes, least=0) < 2:
            raise InputError(
                "the features 'classifier' need training data with two or more classes, given as one whole number per "
                "example, with 10 examples per class on average; use features='pca', or give labels with the data"
            )
        self.classes, self.batch = classes, whole("batch", batch, least=2)
        self.steps, self.lr = whole("steps", steps, least=1, most=10**6), number("lr", lr, above=0)
        self.scaled = Scaled(shape, kinds)
        self.body = _network(self.scaled.shape, whole("width", width, least=1))
        self.head = nn.Linear(width, classes)

    def raw(self, x: Tensor) -> Tensor:
        """Return the last hidden layer (B, width)."""
        return self.body(self.scaled(x))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability of each class (B, classes), in the precision of the features."""
        with torch.no_grad():
            return self.head((features * self.unit).to(self.head.weight)).to(features).softmax(1)

    def learn(self, train: Split, seed: int, progress: bool = False) -> None:
        """Minimize the cross-entropy, in an order of the examples that follows from the seed."""
        from tqdm.auto import tqdm

        self.scaled.fit(train)
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps + 1)
        self.train()
        epoch = done = 0
        with tqdm(total=self.steps, disable=not progress or None, desc="classifier", unit="step", leave=False) as bar:
            while done < self.steps:
                for each in train.epoch(self.batch, key=("classifier", seed, epoch)):
                    assert each.label is not None  # data with classes have a label for each example
                    loss = F.cross_entropy(self.head(self.raw(each.x)), each.label.long())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.update()
                    done += 1
                    if done == self.steps:
                        break
                epoch += 1
        self.eval()


def _network(shape: Shape, width: int) -> nn.Module:
    if len(shape) != 3:
        return MLP(hidden=(256, width)).encoder(shape)
    channels, edge = [32], (min(shape[1:]) + 1) // 2
    while edge > SMALLEST:
        channels, edge = [*channels, 64], (edge + 1) // 2
    return Conv(channels=tuple(channels), hidden=width).encoder(shape)
