"""Move sampled numbers of tables into the range of the training data."""

from __future__ import annotations

import math
from collections.abc import Container

import torch
from torch import Tensor

from tightbound.core.model import VAE


def in_range(x: Tensor, model: VAE, given: Container[str] = ()) -> Tensor:
    """Move the numbers of rows (N, D) into the range of their column in the training data, if it is known.

    The range of a "semicontinuous" column leaves out the number that recurs, so that draws beyond the range do not
    become that number.

    Args:
        x: Rows, in the units of the data.
        model: The model that generated the rows.
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
