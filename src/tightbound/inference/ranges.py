"""Move sampled numbers of tables into the range of the training data."""

from __future__ import annotations

import math
from collections.abc import Container

import torch
from torch import Tensor

from tightbound.core.model import VAE


def in_range(x: Tensor, model: VAE, given: Container[str] = ()) -> Tensor:
    """Return rows (N, D) with numbers moved into the range of their column in the training data, if it is known.

    The range of a "semicontinuous" column is that of its other numbers, so that a draw beyond it does not become the
    number that recurs.

    Args:
        x: Rows, in the units of the data.
        model: The model that they come from.
        given: Columns whose entries stay as they are.
    """
    known, columns = model.schema, model.observation.source.columns
    if not known.ranges:
        return x
    low, high = torch.tensor(known.ranges, dtype=x.dtype).T
    fixed = torch.tensor([name in given for name in known.columns])
    if columns:
        atoms = torch.tensor([math.nan if own.atom is None else own.atom for own in columns])
        fixed = fixed | (x.float() == atoms)
    return torch.where(fixed, x, x.clamp(low, high))
