"""Context of covariates: categories one-hot, numbers standardized."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError, suggestion
from tightbound.core.interfaces import Context
from tightbound.core.schema import Schema, listed
from tightbound.core.terms import Batch

EXAMPLES = 256  # number of training examples whose covariates are stored for sampling


class Covariates(Context):
    """Covariates of an example, such as batch, donor and age: categories one-hot, numbers standardized.

    Args:
        covariates: Name of each covariate, and its words in order; () for a number.
    """

    def __init__(self, covariates: Sequence[tuple[str, Sequence[str]]] = ()) -> None:
        super().__init__()
        if not covariates:
            raise CompositionError("context 'covariates' needs data with covariates; name their columns in covariates=")
        self.columns = tuple((str(name), tuple(words)) for name, words in covariates)
        self.shape = (sum(len(words) or 1 for _, words in self.columns),)
        self.description = f"given {listed([name for name, _ in self.columns])}"  # pyright: ignore
        self.register_buffer("mean", torch.zeros(len(self.columns)))
        self.register_buffer("std", torch.ones(len(self.columns)))
        self.register_buffer("seen", torch.zeros(EXAMPLES, len(self.columns)))

    mean: Tensor  # (C,) mean of each numeric covariate; 0 for categories
    std: Tensor  # (C,) standard deviation of each numeric covariate; 1 for categories
    seen: Tensor  # (EXAMPLES, C) covariates of training examples

    @torch.no_grad()
    def start_at(self, raw: Batch) -> None:
        """Fit the mean and the standard deviation of numeric covariates to training examples."""
        if raw.context is None:
            return
        values = raw.context.to(self.seen)
        self.seen.copy_(values[torch.arange(EXAMPLES, device=values.device) % len(values)])
        for i, (_, words) in enumerate(self.columns):
            if not words:
                spread = values[:, i].std(correction=0)
                self.mean[i], self.std[i] = values[:, i].mean(), spread if spread > 0 else 1.0

    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, K) to the encoded covariates (B, C) of a raw batch."""
        if seen.context is None:
            names = listed([name for name, _ in self.columns])
            raise InputError(f"the model is conditioned on {names}, and the data lack these columns; add them")
        return replace(seen, context=self.encode(seen.context).to(seen.x))

    def encode(self, values: Tensor) -> Tensor:
        """Return contexts (n, K) of covariates (n, C): numbers, and positions of words."""
        values = torch.atleast_2d(torch.as_tensor(values)).to(self.mean)
        if values.dim() != 2 or values.shape[1] != len(self.columns):
            raise InputError(f"covariates have shape {tuple(values.shape)}; needed: (n, {len(self.columns)})")
        parts = []
        for i, (name, words) in enumerate(self.columns):
            column = values[:, i]
            if not words:
                parts.append(((column - self.mean[i]) / self.std[i]).unsqueeze(1))
                continue
            if not bool(((column == column.round()) & (column >= 0) & (column < len(words))).all()):
                raise InputError(f"the covariate {name!r} must be one of {listed(words, 20)}, by position from 0")
            parts.append(F.one_hot(column.long(), len(words)).to(values))
        return torch.cat(parts, 1)

    def numbers(self, values: Any, schema: Schema) -> Any:
        """Return covariates by name as numbers (n, C).

        Args:
            values: A mapping {"batch": "b1", "age": 30}, a sequence of such mappings, or words "batch=b1", "age=30".
            schema: Names of the model's training data.
        """
        if isinstance(values, Mapping):
            return torch.tensor([self._row(values)])
        words = [values] if isinstance(values, str) else values
        if isinstance(words, Sequence) and words and all(isinstance(value, Mapping) for value in words):
            return torch.tensor([self._row(cast(Mapping[str, Any], value)) for value in words])
        if isinstance(words, Sequence) and words and all(isinstance(value, str) for value in words):
            pairs = [value.partition("=") for value in words]
            return torch.tensor([self._row({name: value for name, _, value in pairs})])
        return values

    def _row(self, given: Mapping[str, Any]) -> list[float]:
        known = dict(self.columns)
        for name in given:
            if name not in known:
                raise InputError(f"context= names {name!r}, which the model lacks; {suggestion(name, known)}")
        row = []
        for name, words in self.columns:
            if name not in given:
                raise InputError(f"context= lacks the covariate {name!r}; give all of {listed(known)}")
            value = given[name]
            if words and str(value) not in words:
                raise InputError(f"context= has {value!r} for covariate {name!r}; known: {listed(words, 20)}")
            try:
                entry = float(words.index(str(value)) if words else value)
            except (TypeError, ValueError):
                entry = math.nan
            if not math.isfinite(entry):
                raise InputError(f"context= has {value!r} for covariate {name!r}; needed: a number")
            row.append(entry)
        return row

    def examples(self, n: int) -> Tensor:
        """Return the covariates of the first n stored training examples."""
        return self.seen[:n].cpu()
