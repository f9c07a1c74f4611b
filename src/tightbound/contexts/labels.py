"""Class labels and attributes of the data as context."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.interfaces import Context
from tightbound.core.terms import Batch, class_numbers


class Labels(Context):
    """Class label of an example, one-hot.

    Args:
        classes: Number of classes; labels are 0 .. classes - 1.

    References:
        Learning structured output representation using deep conditional generative models (Sohn et al. 2015),
        https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html
    """

    description = "given the class label"

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        if classes == 0:
            raise CompositionError(
                "context 'labels' needs data with one class label each; give the labels with the data"
            )
        self.classes = whole("classes", classes, least=1)
        self.shape = (self.classes,)

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, classes) to one-hot vectors of `label` (B,)."""
        if seen.label is None:
            raise InputError("the model is conditioned on class labels and the data have none; give labeled data")
        return replace(seen, context=self.encode(seen.label).to(seen.x))

    def encode(self, values: Tensor) -> Tensor:
        """Return one-hot vectors (n, classes) of labels (n,), (n, 1) or one-hot (n, classes)."""
        values = torch.as_tensor(values)
        own = values.dim() == 1 or (values.dim() == 2 and values.shape[1] in (1, self.classes))
        numbers = class_numbers(values) if own else None
        if numbers is None or (len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.classes):
            given = f"{values.min().item():g} to {values.max().item():g}" if values.numel() else "none"
            raise InputError(
                f"labels must be whole numbers (n,) in 0..{self.classes - 1}; got {tuple(values.shape)}, {given}"
            )
        return F.one_hot(numbers, self.classes).to(torch.get_default_dtype())

    def examples(self, n: int) -> Tensor:
        """Return each class in turn."""
        return torch.arange(min(n, self.classes))


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
        values = seen.label if seen.context is None else seen.context
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
