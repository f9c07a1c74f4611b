"""A value far from all others of its column."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch

from tightbound.data.encoding import title
from tightbound.data.splits.base import Split

FAR = 1000.0  # times the range of the middle half of the values
READ = 200  # batches of examples that are looked at, at most


def farthest(split: Split, header: Sequence[str] = ()) -> str:
    """Describe the value of a table that is farthest from the others of its column.

    Args:
        split: Rows of numbers; other examples have no such value.
        header: Names of the columns, where they are known.

    Returns:
        The row, the column, the value and the others; "" if none is `FAR` from the others.
    """
    if len(split.shape) != 1:
        return ""
    batches = list(islice(split.dealt(1000), READ))
    x = torch.cat([batch.x for batch in batches]).double().numpy()
    seen = ~np.isnan(x).all(0)
    low, middle, high = np.zeros((3, x.shape[1]))
    low[seen], middle[seen], high[seen] = np.nanpercentile(x[:, seen], (25, 50, 75), axis=0)
    spread = np.maximum(high - low, 1e-6 * np.abs(middle))
    away = np.nan_to_num(np.abs(x - middle) / np.where(spread > 0, spread, np.inf))
    row, column = np.unravel_index(away.argmax(), away.shape)
    if away[row, column] < FAR:
        return ""
    at = torch.cat([batch.positions() for batch in batches])[row : row + 1]
    kind, found = next(iter(split.identity(at).items()))
    where = title(int(column), header)
    return (
        f"{kind} {found[0]} holds {x[row, column]:.6g} in {where}, of which half of the values are from "
        f"{low[column]:.6g} to {high[column]:.6g}"
    )
