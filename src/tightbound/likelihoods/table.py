"""The observation of mixed tables with missing entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.domain import Domain, as_domain
from tightbound.core.errors import InputError, number
from tightbound.core.interfaces import Observation
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch


class Table(Observation):
    """Columns of several kinds, in which NaN marks a missing entry.

    The encoder sees real columns standardized, counts as log(1 + x), levels in [0, 1], categories one-hot, zeros for
    what is missing, and then the mask. The target has real columns standardized; its missing entries are masked, and
    their share of p(x | z) and of the measure is integrated out.

    Arguments:
        kinds: Of each column, see the likelihood `columns`.
        mean, std: Of each column's observed training data; those of real columns are used.
        names: Of the columns.

    References:
        Handling incomplete heterogeneous data using VAEs (Nazabal et al. 2020), Section 3.1,
        https://arxiv.org/abs/1807.03653
    """

    no_bits = "columns of a table are of several kinds, and an example may lack some"
    error_unit = "standard deviations (real), 0-1 scale (levels), wrong or right (categories); squared"
    target_name = "observed entries, in the data's units"

    def __init__(
        self,
        kinds: Sequence[Any],
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        columns = tuple(as_domain(kind) for kind in kinds)
        for what, given in (("means", mean), ("standard deviations", std), ("names", names)):
            if len(given) not in (0, len(columns)):
                raise InputError(f"{len(given)} {what} were given for {len(columns)} columns; give one for each")
        self.source = self.target = Domain("mixed", columns=columns)
        self.header, self.words = tuple(names), tuple(column.words for column in columns)
        means, stds = mean or [0.0] * len(columns), [number("std", s, above=0) for s in std or [1.0] * len(columns)]
        real = [column.kind == "real" for column in columns]
        center = [m if r else 0.0 for m, r in zip(means, real, strict=True)]
        scale = [s if r else 1.0 for s, r in zip(stds, real, strict=True)]
        unit = [_unit(column, s) for column, s in zip(columns, stds, strict=True)]
        for name, values in (("mean", center), ("std", scale), ("unit", unit)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.get_default_dtype()), persistent=False)
        # what stands for a missing entry is in the support of its column, and masked
        filled = torch.tensor([0.5 if c.kind == "unit" else 0.0 for c in columns], dtype=torch.get_default_dtype())
        self.register_buffer("filled", filled, persistent=False)
        self.register_buffer("nominal", torch.tensor([c.kind == "categories" for c in columns]), persistent=False)

    mean: Tensor
    std: Tensor
    unit: Tensor
    nominal: Tensor
    filled: Tensor

    @property
    def log_slope(self) -> Tensor:
        """-log std of real columns, 0 of others."""
        return -self.std.log()

    @property
    def error_scale(self) -> Tensor:
        """Of each column."""
        return self.unit

    @property
    def metric(self) -> bool:
        """Where no column holds categories."""
        return not self.nominal.any()

    @property
    def counts_bits(self) -> bool:
        """Never."""
        return False

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(numbers in which the columns are written + D,)."""
        return (sum(_width(column) for column in self.source.columns) + len(self.source.columns),)

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """NaN becomes zero in the input, False in the mask, and a number of the column's support in the target."""
        mask = ~torch.isnan(batch.x)
        x = ((batch.x - self.mean) / self.std).where(mask, self.filled)
        pairs = zip(x.unbind(1), self.source.columns, strict=True)
        written = torch.cat([_written(column, domain) for column, domain in pairs], 1)
        widths = torch.tensor([_width(c) for c in self.source.columns], device=x.device)
        seen = mask.repeat_interleave(widths, 1, output_size=written.shape[1])
        return replace(batch, input=torch.cat([written * seen, mask.to(x)], 1), x=x, mask=mask)

    def restore(self, target: Tensor) -> Tensor:
        """Real columns back in their units."""
        return target * self.std + self.mean

    def error(self, restored: Tensor, raw: Tensor, seen: Batch) -> Tensor:
        """(B,), of categories 1 where they are wrong."""
        wrong = raw + (restored != raw) * self.error_scale
        return super().error(torch.where(self.nominal, wrong, restored), raw, seen)


def _width(column: Domain) -> int:
    return (column.levels or 1) if column.kind == "categories" else 1


def _unit(column: Domain, std: float) -> float:
    """What errors of a column are measured in."""
    return {"real": std, "counts": std, "levels": column.high}.get(column.kind, 1.0)


def _written(x: Tensor, column: Domain) -> Tensor:
    """A column (B,) as the encoder sees it, (B, width)."""
    if column.kind == "categories":
        return F.one_hot(x.long(), column.levels or 1).to(x)
    return {"counts": torch.log1p, "levels": lambda v: v / column.high}.get(column.kind, lambda v: v)(x).unsqueeze(1)
