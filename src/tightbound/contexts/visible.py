"""A visible part of x as context: the model completes the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError, number
from tightbound.core.interfaces import Context
from tightbound.core.terms import Batch

Share = Sequence[float]


class Visible(Context):
    """Visible rows and columns of x as context; p(x | c) is a distribution of the hidden elements.

    Bounds are on log p(hidden elements | visible elements).

    Args:
        shape: Shape of one example.
        rows: Start and end of the visible rows, as shares of the height; (0, 0.5): the first half. Vectors have columns
            only.
        columns: Start and end of the visible columns, as shares of the width.

    References:
        Learning structured output representation using deep conditional generative models (Sohn et al. 2015),
        Section 5.1; the quadrants of https://pyro.ai/examples/cvae.html
    """

    description = "hidden elements given the visible ones"
    completes = True

    def __init__(self, shape: Sequence[int] = (), rows: Share = (0, 1), columns: Share = (0, 0.5)) -> None:
        super().__init__()
        if not shape:
            raise CompositionError("context 'visible' needs data with more than one element; give shape=")
        self.shape = tuple(shape)
        visible = torch.ones(self.shape, dtype=torch.bool)
        for name, share, axis in (("columns", columns, -1), ("rows", rows, -2)):
            if axis + len(self.shape) < 0:
                continue
            if len(share) != 2 or number(name, share[0], least=0) > number(name, share[1], most=1):
                raise InputError(f"{name} = {tuple(share)!r}; needed: two shares, such as (0, 0.5)")
            edge = self.shape[axis]
            position = torch.arange(edge)
            inside = (position >= round(share[0] * edge)) & (position < round(share[1] * edge))
            visible &= inside.reshape(-1, *[1] * (-1 - axis))
        if visible.all() or not visible.any():
            state = "all" if visible.all() else "none"
            raise InputError(
                f"rows {tuple(rows)} and columns {tuple(columns)} show {state} of the {math.prod(self.shape)} elements "
                "of x; show some and hide some"
            )
        self.modeled = int((~visible).sum())
        self.register_buffer("visible", visible, persistent=False)

    visible: Tensor

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, *shape), the input with zeros for hidden elements, and `mask`, true for hidden ones."""
        if seen.input is None or tuple(seen.input.shape[1:]) != self.shape:
            given = None if seen.input is None else tuple(seen.input.shape[1:])
            raise InputError(
                f"an example has shape {given} for the encoder and context 'visible' was made for {self.shape}"
            )
        hidden = (~self.visible).expand_as(seen.input)
        mask = hidden if seen.mask is None else hidden & seen.mask
        return replace(seen, context=self.encode(seen.input), mask=mask)

    def examples(self, n: int) -> Tensor:
        """Raise InputError: the visible part comes from data."""
        raise InputError("the model completes examples instead of sampling new ones; use complete()")

    def encode(self, values: Tensor) -> Tensor:
        """Return encoder inputs (n, *shape) with zeros for hidden elements."""
        if tuple(values.shape[1:]) != self.shape:
            raise InputError(f"visible data have shape {tuple(values.shape)}; needed: (n, {self.shape})")
        return values * self.visible
