"""Data frames of any package, and tables of numbers written as they were given. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Frame: TypeAlias = Any  # a data frame of a package that narwhals knows


def as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Return X as a data frame of narwhals; None: it is none."""
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    return frame if isinstance(frame, nw.DataFrame) else None


def holds_words(frame: nw.DataFrame[Any]) -> bool:
    """Return whether a column holds anything but numbers, such as words or dates."""
    return not all(dtype.is_numeric() or dtype == nw.Boolean for dtype in frame.schema.values())


def spelled(x: Array, words: Sequence[Sequence[str]]) -> Array:
    """Return a table (N, D) with the numbers of categories replaced by their words; (): a column holds numbers."""
    if not any(words):
        return x
    out = x.astype(object)
    for i, names in enumerate(words):
        if names:
            out[:, i] = [names[round(value)] for value in x[:, i]]
    return out


def framed(x: Array, names: Sequence[str], package: Any) -> Frame:
    """Return a table (N, D) as a data frame of a package such as "pandas", with numbers where a column holds any."""
    columns = {
        name: column.tolist() if any(isinstance(value, str) for value in column) else column.astype(float)
        for name, column in zip(names, x.T, strict=True)
    }
    return nw.from_dict(columns, backend=package).to_native()
