"""Sparse matrices of SciPy: counts if they are whole, and read row by row if they are large."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import BINARY, COUNTS, Domain
from tightbound.core.terms import Batch
from tightbound.data import encoding
from tightbound.data.dataset import Arrays, Data, divided, fingerprint, from_arrays
from tightbound.data.encoding import Encoding, Seen
from tightbound.data.form import as_array
from tightbound.data.labels import coded
from tightbound.data.options import Options
from tightbound.data.splits.indexed import Indexed


class SparseSplit(Indexed):
    """Sparse matrix in memory whose batches are converted to dense tensors."""

    def __init__(
        self, matrix: Any, code: Encoding, labels: Tensor | None = None, covariates: Tensor | None = None
    ) -> None:
        """Make a split of a matrix (N, D) in compressed sparse row format, with its values stored as `code` says."""
        self.matrix, self.labels, self._code, self._covariates = matrix, labels, code, covariates
        self.shape = (matrix.shape[1],)

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        x = self._code.convert(self.matrix[indices.numpy()].toarray())
        label, context = (None if each is None else each[indices] for each in (self.labels, self._covariates))
        return Batch(torch.from_numpy(x), context=context, label=label, index=indices)


def countable(matrix: Any) -> Domain | None:
    """Return the domain of a matrix of whole numbers from 0 on, binary or counts; None if it holds other numbers."""
    values = as_array(matrix.tocsr().data if hasattr(matrix, "tocsr") else matrix)
    if values.dtype.kind not in "biuf" or not values.size or not np.isfinite(values).all():
        return None
    seen = Seen.of(values, 1, "the matrix")
    if not seen.integers or seen.low < 0:
        return None
    return BINARY if seen.high <= 1 else COUNTS


def from_sparse(matrix: Any, held: Arrays, name: str, options: Options) -> Data:
    """Return the data set of a sparse matrix (N, D); `held` has everything except the values."""
    known = options.declared or countable(matrix) or held.domain
    if matrix.shape[0] * matrix.shape[1] * 4 <= options.limits.memory or options.kinds is not None or known is None:
        return from_arrays(replace(held, x=as_array(matrix), domain=known), name, options)
    matrix = matrix.tocsr()
    fix = encoding.TRAINED if options.like else None
    code, values = encoding.judge(_seen(matrix, known, name), matrix.data[:, None], known, held.title or name, fix)
    labels, classes, legend = coded(held.y, matrix.shape[0], options, held.classes)
    whole = SparseSplit(matrix, code, labels, held.covariates)
    whole.identify(held.names, held.schema.id, None)
    shape = f"shape: {matrix.shape}, sparse; each batch becomes dense"
    beside = "" if held.covariates is None else fingerprint(held.covariates.numpy(), None, repr(held.schema.covariates))
    digest = fingerprint(np.ascontiguousarray(matrix.data), labels, fingerprint(matrix.indices, None) + beside)
    values = values if options.declared == known else f"values: taken as {known}"
    notes = (*held.notes, shape, values, *legend)
    schema = replace(held.schema, classes=classes)
    return divided(whole, held.train, name, code.domain, notes, digest, options.share(len(whole)), schema)


def _seen(matrix: Any, domain: Domain, name: str) -> Seen:
    """Return the result of a pass over the values, zeros included."""
    seen = Seen.of(as_array(matrix.data), encoding.scale_of(domain), name)
    return seen.merged(Seen(0.0, 0.0))
