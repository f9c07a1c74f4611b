"""Types of the data that tightbound reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.terms import Batch
from tightbound.data.dataset import Data
from tightbound.data.splits.base import Split


class Frame(Protocol):
    """A data frame of pandas, polars or another package that narwhals knows."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""
        ...

    def __len__(self) -> int: ...


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy."""

    def tocsr(self) -> Any:
        """Return the matrix in compressed sparse row format."""
        ...


class Annotated(Protocol):
    """An AnnData object: cells by genes."""

    @property
    def X(self) -> Any:
        """Counts or other numbers."""
        ...

    @property
    def obs(self) -> Any:
        """Columns that describe the cells."""
        ...

    @property
    def var_names(self) -> Any:
        """Names of the genes."""
        ...


Array: TypeAlias = np.ndarray[Any, Any] | Tensor | Sequence[Any]
Source: TypeAlias = (
    Array
    | Frame
    | SparseMatrix
    | Annotated
    | str
    | os.PathLike[str]
    | Dataset[Any]
    | DataLoader[Any]
    | Data
    | Split
    | Batch
)
