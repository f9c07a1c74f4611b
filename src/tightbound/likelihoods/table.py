"""Observation of tables with columns of several kinds and missing values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.domain import Domain, as_domain
from tightbound.core.errors import InputError, number, whole
from tightbound.core.interfaces import Observation
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.nn.factor_analysis import FactorAnalysis

DENSE = ("real", "semicontinuous")  # kinds whose numbers have densities, and are standardized in the target
WIDE = 512  # numbers of an example beyond which missing ones are filled in by their means
MEASURED = ("real", "semicontinuous", "whole", "values")  # kinds whose numbers the encoder sees standardized


class Table(Observation):
    """Observation of tables with columns of several kinds, in which NaN marks a missing value.

    The encoder sees standardized real, "semicontinuous", "whole" and "values" columns, counts as log(1 + x), levels in
    [0, 1], one-hot categories, and then the mask. Missing numbers are filled in by their means given the known ones, in
    a factor analysis of the training data. In the target, real columns are standardized and missing values are masked,
    so that p(x | z) and the measure integrate them out. A "semicontinuous" column becomes (x - a) / std, where a is the
    number that recurs: a is exactly 0 in the target. It has a probability, which depends on no unit; other numbers have
    a density in the data's units.

    Args:
        kinds: The kind of each column, as for the likelihood `columns`.
        mean: Mean of each column's observed training data; used for real, "semicontinuous", "whole"
            and "values" columns.
        std: Standard deviation of each column's observed training data.
        factors: Number of factors, at most; 0: fill in the means of the columns.

    References:
        Handling incomplete heterogeneous data using VAEs (Nazabal et al. 2020), Section 3.1,
        https://arxiv.org/abs/1807.03653
    """

    no_bits = "columns of a table have different kinds, and an example may lack some"
    error_unit = "standard deviations (numbers), 0-1 scale (levels), wrong or right (categories); squared"
    target_name = "observed values, in the data's units"

    def __init__(
        self, kinds: Sequence[Any], mean: Sequence[float] = (), std: Sequence[float] = (), factors: int = 16
    ) -> None:
        super().__init__()
        columns = tuple(as_domain(kind) for kind in kinds)
        for what, given in (("means", mean), ("standard deviations", std)):
            if len(given) not in (0, len(columns)):
                raise InputError(f"{len(given)} {what} were given for {len(columns)} columns; give one per column")
        self.source = self.target = Domain("mixed", columns=columns)
        self.words = tuple(column.words for column in columns)
        for name in ("mean", "std", "center", "unit"):
            self.register_buffer(name, torch.empty(len(columns)))
        self._set(mean or [0.0] * len(columns), [number("std", s, above=0) for s in std or [1.0] * len(columns)])
        # a missing value is masked, but its replacement must lie in the support of its column
        filled = torch.tensor([0.5 if c.kind == "unit" else 0.0 for c in columns], dtype=torch.get_default_dtype())
        self.register_buffer("filled", filled, persistent=False)
        size = sum(map(_width, columns))
        kept = min(whole("factors", factors, least=0), size - 1) if size <= WIDE else 0
        for name, shape in (("expected", (size,)), ("loadings", (size, kept)), ("noise", (size,))):
            self.register_buffer(name, torch.ones(shape) if name == "noise" else torch.zeros(shape))
        for name, kind in (("nominal", "categories"), ("recurring", "semicontinuous")):
            self.register_buffer(name, torch.tensor([c.kind == kind for c in columns]), persistent=False)

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """See `Observation.normalize`."""
        self._set(mean, std)
        self.record_again(mean=mean, std=std)

    def _set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        columns = self.source.columns
        values = {
            "mean": [_origin(column, m) for column, m in zip(columns, mean, strict=True)],
            "std": [s if column.kind in DENSE else 1.0 for column, s in zip(columns, std, strict=True)],
            "center": [m if column.kind in MEASURED else 0.0 for column, m in zip(columns, mean, strict=True)],
            "unit": [_unit(column, s) for column, s in zip(columns, std, strict=True)],
        }
        for name, value in values.items():
            getattr(self, name).copy_(torch.tensor(value))

    mean: Tensor
    std: Tensor
    center: Tensor
    unit: Tensor
    nominal: Tensor
    recurring: Tensor
    filled: Tensor
    expected: Tensor
    loadings: Tensor
    noise: Tensor

    @property
    def log_slope(self) -> Tensor:
        """log |d target / d raw|: -log std for real and "semicontinuous" columns, 0 for others."""
        return -self.std.log()

    def log_det(self, seen: Batch) -> Tensor | float:
        """See `Observation.log_det`; a number that recurs has a probability, which depends on no unit."""
        dense = ~(self.recurring & (seen.x == 0))
        return super().log_det(replace(seen, mask=dense if seen.mask is None else seen.mask & dense))

    @property
    def error_scale(self) -> Tensor:
        """The unit of each column's errors."""
        return self.unit

    @property
    def metric(self) -> bool:
        """Whether no column has categories."""
        return not self.nominal.any()

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (number of values that represent the columns + D,), for the values and the mask."""
        return (sum(_width(column) for column in self.source.columns) + len(self.source.columns),)

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set input, target and mask; NaN becomes 0 in the input and a valid value in the target."""
        mask = ~torch.isnan(batch.x)
        x = ((batch.x - self.mean) / self.std).where(mask, self.filled)
        standard = ((batch.x - self.center) / self.unit).masked_fill(~mask, 0.0)
        columns = enumerate(self.source.columns)
        parts = (standard[:, i : i + 1] if c.kind in MEASURED else _written(x[:, i], c) for i, c in columns)
        written = torch.cat(list(parts), 1)
        widths = torch.tensor([_width(c) for c in self.source.columns], device=x.device)
        seen = mask.repeat_interleave(widths, 1, output_size=written.shape[1])
        known = written * seen
        if torch.compiler.is_compiling() or not mask.all():
            known = torch.where(seen, known, self.factors.completed(known, seen))
        return replace(batch, input=torch.cat([known, mask.to(x)], 1), x=x, mask=mask)

    @property
    def factors(self) -> FactorAnalysis:
        """The factor analysis that missing numbers of the encoder's input are filled in by."""
        return FactorAnalysis(self.expected, self.loadings, self.noise)

    def start_at(self, seen: Batch) -> None:
        """Fit the factor analysis to the known numbers of an observed batch."""
        if not self.loadings.shape[1]:
            return
        found = FactorAnalysis.fit(*self.numbers(seen), self.loadings.shape[1])
        self.expected.copy_(found.mean)
        self.loadings.copy_(found.loadings)
        self.noise.copy_(found.noise)

    def numbers(self, seen: Batch) -> tuple[Tensor, Tensor]:
        """See `Observation.numbers`."""
        assert seen.input is not None
        assert seen.mask is not None
        widths = torch.tensor([_width(c) for c in self.source.columns], device=seen.mask.device)
        known = seen.mask.repeat_interleave(widths, 1)
        return seen.input[:, : known.shape[1]], known

    def restore(self, target: Tensor) -> Tensor:
        """Return targets with real columns in their original units."""
        return target * self.std + self.mean

    def deviations(self, x: Tensor) -> Tensor:
        """See `Observation.deviations`; 0 for columns that the encoder does not see standardized."""
        measured = torch.tensor([column.kind in MEASURED for column in self.source.columns], device=x.device)
        return ((x - self.center) / self.unit) * measured

    def possible(self, x: Tensor) -> Tensor:
        """Return means, with "values" and "whole" columns moved to the nearest number that they can hold."""
        pairs = zip(x.unbind(-1), self.source.columns, strict=True)
        return torch.stack([c.nearest(part) if c.kind in ("values", "whole") else part for part, c in pairs], -1)

    def error(self, restored: Tensor, raw: Tensor, seen: Batch) -> Tensor:
        """Return errors (B,); a wrong category counts as 1."""
        wrong = raw + (restored != raw) * self.error_scale
        return super().error(torch.where(self.nominal, wrong, restored), raw, seen)


def _origin(column: Domain, mean: float) -> float:
    """Return the number that is 0 in the target."""
    return column.atom or 0.0 if column.kind == "semicontinuous" else mean if column.kind == "real" else 0.0


def _width(column: Domain) -> int:
    """Return how many numbers represent a column in the input."""
    return (column.levels or 1) if column.kind == "categories" else 1


def _unit(column: Domain, std: float) -> float:
    """Return the unit of a column's errors."""
    return std if column.kind in (*MEASURED, "counts") else column.high if column.kind == "levels" else 1.0


def _written(x: Tensor, column: Domain) -> Tensor:
    """Return the encoder's input (B, width) for a column (B,)."""
    if column.kind == "categories":
        return F.one_hot(x.long(), column.levels or 1).to(x)
    return {"counts": torch.log1p, "levels": lambda v: v / column.high}.get(column.kind, lambda v: v)(x).unsqueeze(1)
