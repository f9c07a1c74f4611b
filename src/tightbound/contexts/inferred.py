"""Class labels that are known for some examples and inferred for the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.contexts.labels import Labels
from tightbound.core.errors import InputError, number
from tightbound.core.terms import UNKNOWN, Batch
from tightbound.nn.base import Architecture, fold
from tightbound.nn.modules import posterior_network


class InferredLabels(Labels):
    """One-hot class label of an example; if it is -1 (unknown), the most probable class of a classifier q(y | x).

    The objective 'm2' trains the classifier together with the rest of the model.

    Args:
        classes: Number of classes.
        known: Labels of the classes, in increasing order. Default: 0 .. classes - 1.
        input_shape: Shape of the classifier's input, one example.
        network: Architecture of the classifier; a linear layer is added to it.
        noise: Standard deviation of the Gaussian noise that is added to the classifier's input in training.
        shares: Probability p(y) of each class. Default: equal probabilities.

    References:
        Semi-supervised learning with deep generative models (Kingma et al. 2014), https://arxiv.org/abs/1406.5298
    """

    description = "given the class label, inferred where it is unknown"
    nested: ClassVar = {"network": "network"}
    partial = True
    log_shares: Tensor

    def __init__(
        self,
        classes: int = 0,
        known: Sequence[int] = (),
        input_shape: Sequence[int] = (),
        network: Architecture | None = None,
        noise: float = 0.0,
        shares: Sequence[float] = (),
    ) -> None:
        super().__init__(classes, known)
        shape = tuple(input_shape)
        body = nn.Flatten() if network is None else network.encoder(shape)
        self.network = posterior_network(body, shape, (self.classes,), "of the labels", accepts_pair=False)
        self._dims, self.noise = len(shape), number("noise", noise, least=0)
        given = [number("shares", share, above=0) for share in shares] or [1.0] * self.classes
        if len(given) != self.classes:
            raise InputError(f"shares holds {len(given)} numbers; needed: one for each of the {self.classes} classes")
        self.register_buffer("log_shares", torch.tensor(given).log().log_softmax(0), persistent=False)

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, classes) to one-hot vectors of `label` (B,), or of the inferred class."""
        found = self.log_probabilities(seen).argmax(1)
        if seen.label is not None:
            unknown = self.unknown(seen)
            labels = seen.label.where(~unknown, torch.full_like(seen.label, min(self._known, default=0)))
            found = found.where(unknown, self.encode(labels).argmax(1))
        return replace(seen, context=F.one_hot(found, self.classes).to(seen.x))

    def unknown(self, seen: Batch) -> Tensor:
        """Return a mask (B,) of the examples whose class is unknown."""
        if seen.label is None:
            return torch.ones(len(seen), dtype=torch.bool, device=seen.x.device)
        return seen.label == UNKNOWN

    def log_probabilities(self, seen: Batch) -> Tensor:
        """Return log q(y | x) (B, classes) of an observed batch."""
        assert seen.input is not None
        x = seen.input
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        return fold(self.network, x, self._dims).log_softmax(-1)
