"""Class labels and attributes of the data as context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.components import name_of
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.interfaces import Context
from tightbound.core.schema import listed
from tightbound.core.terms import Batch, class_numbers


class Labels(Context):
    """Class label of an example, one-hot.

    Args:
        classes: Number of classes.
        known: The labels of the classes, in increasing order; (): they are 0 .. classes - 1.

    References:
        Learning structured output representation using deep conditional generative models (Sohn et al. 2015),
        https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html
    """

    description = "given the class label"

    def __init__(self, classes: int = 0, known: Sequence[int] = ()) -> None:
        super().__init__()
        if classes == 0:
            name = name_of(type(self)).rpartition("/")[2]
            raise CompositionError(
                f"context '{name}' needs data with one class label each; give the labels with the data"
            )
        self.classes = whole("classes", classes, least=1)
        self.shape = (self.classes,)
        numbers = tuple(int(number) for number in known)
        if numbers and (len(numbers) != self.classes or numbers != tuple(sorted({*numbers}))):
            raise CompositionError(f"known = {numbers}; needed: {self.classes} labels in increasing order")
        self._known = numbers

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, classes) to one-hot vectors of `label` (B,)."""
        if seen.label is None:
            raise InputError("the model is conditioned on class labels and the data have none; give labeled data")
        return replace(seen, context=self.encode(seen.label).to(seen.x))

    def encode(self, values: Tensor) -> Tensor:
        """Return one-hot vectors (n, classes) of labels (n,), (n, 1) or one-hot (n, classes), or of one label ()."""
        values = torch.atleast_1d(torch.as_tensor(values))
        widths = (1,) if self._known else (1, self.classes)
        own = values.dim() == 1 or (values.dim() == 2 and values.shape[1] in widths)
        numbers = class_numbers(values) if own else None
        labels = torch.tensor(self.labels, device=values.device)
        unknown = values if numbers is None else numbers[~torch.isin(numbers, labels)]
        if numbers is None or len(unknown):
            given = f"{unknown.min().item():g} to {unknown.max().item():g}" if unknown.numel() else "none"
            given = given if numbers is None else listed(f"{number}" for number in unknown.unique().tolist())
            needed = listed(map(str, self._known), 20) if self._known else f"0..{self.classes - 1}"
            what = f"got {tuple(values.shape)}, {given}" if numbers is None else f"the model was not trained on {given}"
            raise InputError(f"labels must be whole numbers (n,) in {needed}; {what}")
        return F.one_hot(torch.searchsorted(labels, numbers), self.classes).to(torch.get_default_dtype())

    def examples(self, n: int) -> Tensor:
        """Return each class in turn."""
        return torch.tensor(self.labels[:n])

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of the classes, in increasing order."""
        return self._known or tuple(range(self.classes))


class Attributes(Context):
    """Numbers that describe an example: its `context` if the data have one, else its labels as numbers.

    Args:
        size: Number of attributes.
    """

    description = "given the attributes"

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        if size == 0:
            raise CompositionError("context 'attributes' needs data with attributes; give them as labels (N, size)")
        self.shape = (whole("size", size, least=1),)

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, size)."""
        values = seen.beside
        if values is None:
            raise InputError("the model is conditioned on attributes and the data have none; give them as labels")
        return replace(seen, context=self.encode(values.reshape(len(seen), -1)).to(seen.x))

    def encode(self, values: Tensor) -> Tensor:
        """Return attributes (n, size), or those of one example (size,), as numbers of the default dtype."""
        values = torch.as_tensor(values).to(torch.get_default_dtype())
        if values.dim() == 1:  # one number for each example, or the attributes of one example
            values = values.unsqueeze(-1 if self.shape == (1,) else 0)
        if tuple(values.shape[1:]) != self.shape or values.dim() != 2:
            raise InputError(f"attributes have shape {tuple(values.shape)}; needed: (n, {self.shape[0]})")
        return values
