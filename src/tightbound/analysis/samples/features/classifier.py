"""Features of a classifier that is trained on the data's own labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.analysis.samples.features.base import Features, Scaled
from tightbound.core.errors import InputError, number, whole
from tightbound.data.split import Split
from tightbound.nn import MLP, Conv
from tightbound.nn.base import Shape

SMALLEST = 7  # pixels of an edge, below which images are not halved again


class Classifier(Features):
    """The last hidden layer of a small network that is trained on the labels of the training data: convolutions for
    images, fully connected for tables.

    Arguments:
        width: Features.
        steps: Of Adam, with a learning rate that rises, then falls to zero.
        batch: Data a step.
        lr: Highest learning rate.
        classes: Labels are 0 .. classes - 1.
        shape, kinds: Of the data.

    Raises:
        InputError: data without class labels.
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
                "features 'classifier' need training data with two or more classes, one whole number an example, each of "
                "10 data on average; use features 'pca', or give labels with the data"
            )
        self.classes, self.batch = classes, whole("batch", batch, least=2)
        self.steps, self.lr = whole("steps", steps, least=1), number("lr", lr, above=0)
        self.scaled = Scaled(shape, kinds)
        self.body = _network(self.scaled.shape, whole("width", width, least=1))
        self.head = nn.Linear(width, classes)

    def raw(self, x: Tensor) -> Tensor:
        """(B, width)."""
        return self.body(self.scaled(x))

    def probabilities(self, features: Tensor) -> Tensor:
        """(B, classes), in the precision of the features."""
        with torch.no_grad():
            return self.head((features * self.unit).to(self.head.weight)).to(features).softmax(1)

    def learn(self, train: Split, seed: int, progress: bool = False) -> None:
        """A number of steps on the cross-entropy, from weights and in an order that the seed gives."""
        from tqdm.auto import tqdm

        self.scaled.fit(train)
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps + 1)
        self.train()
        epoch = done = 0
        with tqdm(total=self.steps, disable=not progress or None, desc="classifier", unit="step", leave=False) as bar:
            while done < self.steps:
                for each in train.epoch(self.batch, key=("classifier", seed, epoch)):
                    assert each.label is not None  # where there are classes, each example has its own
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
