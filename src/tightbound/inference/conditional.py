"""Draw rows of a table given some of their entries, by importance resampling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.core.latents import Draw
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.noise import draw as draw_from
from tightbound.core.terms import Batch, log_density
from tightbound.data.feed import evaluating, first
from tightbound.inference.infer import Values, contexts

LEAST = 10_000  # minimum number of latent codes to resample from
TIMES = 20  # latent codes per row, if that makes more
FAR = 10  # given values more standard deviations than this from the mean are far from the training data
FEW = 100  # a smaller effective number of latent codes makes rows too similar


class Conditional(NamedTuple):
    """Rows given some of their entries.

    Attributes:
        x: The rows (n, D), in the units of the data.
        effective: Effective sample size of the latent codes, (sum w)^2 / sum w^2, where w = p(given | z).
        codes: Number of latent codes that were drawn.
    """

    x: Tensor
    effective: float
    codes: int

    @property
    def warning(self) -> str | None:
        """Warning for the user if few latent codes fit the given entries."""
        if self.effective >= min(FEW, len(self.x)):
            return None
        return (
            f"only about {self.effective:.0f} of {self.codes:,} latent codes fit the values in given=, so the "
            f"{len(self.x):,} rows vary less than they should; give fewer values, or more common ones"
        )


def given_row(model: VAE, given: Mapping[str, Any]) -> Tensor:
    """Return values by column as a row (D,) as the model stores it, NaN in the other columns.

    Args:
        model: A model of a table.
        given: Values by column, as in a file or as Python objects: words, numbers, dates. Columns without names are
            x1, x2, ...

    Raises:
        InputError: If the model lacks a column, or the column cannot hold the value.
    """
    import pyarrow as pa

    names = model.schema.columns or tuple(f"x{i + 1}" for i in range(math.prod(model.shape)))
    if unknown := next((name for name in given if name not in names), None):
        raise InputError(f"given= names column {unknown!r}, which the model lacks; {suggestion(unknown, names)}")
    row = torch.full((len(names),), math.nan)
    for i, name in enumerate(names):
        if name not in given:
            continue
        if not model.schema.columns:
            row[i] = _number(given[name])
            continue
        entry = pa.array([given[name]])
        other = pa.nulls(1) if model.observation.source.columns else entry  # a model of complete rows needs all
        with warnings.catch_warnings(), suppress(InputError):
            warnings.simplefilter("ignore")  # about entries that are not given, or unknown
            row[i] = first(model, pa.table({each: entry if each == name else other for each in names}), 1).x[0, i]
    check_given(model, given, names, row)
    return row


def check_given(model: VAE, given: Mapping[Any, Any], names: Sequence[Any], row: Tensor) -> None:
    """Check the given values in a row (D,), and warn about values that are far from the training data.

    Raises:
        InputError: If a given value is NaN in the row, because its column cannot hold it.
    """
    domain = model.observation.source
    far = model.observation.deviations(row.view(model.shape).to(model.device)).flatten().cpu()
    for name, value in given.items():
        i = names.index(name)
        if row[i].isnan():
            own = domain.columns[i] if domain.columns else domain
            raise InputError(f"given= has {value!r} for column {name!r}, which holds {own}; give a possible value")
        if abs(far[i]) > FAR:
            warnings.warn(
                f"given= has {value!r} for column {name!r}, which is {abs(far[i]):,.0f} standard deviations from the "
                "mean of the training data; few or no training rows have such a value",
                stacklevel=2,
            )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def sample_given(
    model: VAE,
    n: int,
    given: Tensor,
    *,
    context: Values | None = None,
    codes: Draw | None = None,
    seed: int = 0,
    batch_size: int = 1000,
) -> Conditional:
    """Draw n rows from p(x | given entries).

    Latent codes are drawn from the prior, weighted by p(given | z), and resampled with equal spacing; then the other
    entries are drawn from p(x | z). As the number of latent codes grows, the distribution of the rows converges to
    p(x | given entries). It is far from that if the given entries are so improbable that the effective sample size is
    small.

    Args:
        model: A model of a table.
        n: Number of rows.
        given: Raw values (D,) of the given entries, NaN elsewhere.
        context: For a conditional model, one value for all rows, such as a class label by number or name.
        codes: Function (n, noise, contexts) -> (n, latent) that replaces the prior.
        seed: Random seed.
        batch_size: Latent codes per batch.

    Raises:
        CompositionError: If the model is not a model of whole rows of a table, or its likelihood couples columns.
        InputError: If no entry is given, the given entries are impossible, or `context` has several values.
    """
    completes = model.context is not None and model.context.completes
    if not model.is_table or completes or not model.likelihood.elementwise:
        raise CompositionError(
            "rows with given entries need a model of whole rows of a table, whose columns are independent given z; "
            f"this is {model.summary}"
        )
    if model.context is not None and context is None:
        raise InputError("the model is conditional; pass one value for all rows as context=")
    if given.isnan().all():
        raise InputError("no entry is given; give the value of at least one column")
    check_held("n", whole("n", n, least=1), math.prod(model.shape) + TIMES * model.latents.latent)
    total = max(LEAST, TIMES * n)
    with evaluating(model):
        seen = _observed(model, given, seed)
        z, weight = [], []
        for start in range(0, total, batch_size):
            noise, size = Noise("given", seed, start), min(batch_size, total - start)
            c = _one_context(model, size, context)
            z.append((model.latents.draw if codes is None else codes)(size, noise, c).to(model.device))
            weight.append(_log_given(model, seen, z[-1], c))
        log_weight = torch.cat(weight).double()
        if not bool(log_weight.isfinite().any()):
            raise InputError("the given entries have probability zero under the model; give other values")
        share = (log_weight - log_weight.logsumexp(0)).exp()
        effective = 1 / share.square().sum().item()
        picked = torch.cat(z)[_spaced(share, n, Noise("given", seed, "picked"))]
        rows = []
        for start in range(0, n, batch_size):
            part = picked[start : start + batch_size]
            p = model.decode(part, _one_context(model, len(part), context))
            drawn = draw_from(p, (), Noise("given", seed, "rows", start))
            rows.append(model.observation.possible(model.observation.restore(drawn)).cpu())
    x = torch.cat(rows)
    return Conditional(torch.where(given.isnan(), x, given.to(x)), effective, total)


def _observed(model: VAE, given: Tensor, seed: int) -> Batch:
    """Return the given entries as an observed batch of one row, with a mask."""
    mask = ~given.isnan()
    if not model.observation.source.columns:  # the model does not read missing entries, so any number will do
        given = given.masked_fill(~mask, model.observation.source.nearest(torch.zeros(())).item())
    seen = model.observe(Batch(given[None].to(model.device)), Noise("given", seed), context=False)
    return replace(seen, mask=mask[None].to(model.device))


def _one_context(model: VAE, n: int, value: Values | None) -> Tensor | None:
    """Return one context for n rows (n, *context); None: the model is not conditional."""
    made = contexts(model, n, value)
    if made is None:
        return None
    if not bool((made == made[:1]).all()):
        raise InputError(f"context = {value} has several values; pass one for all rows with given entries")
    return made.to(model.device)


def _log_given(model: VAE, seen: Batch, z: Tensor, context: Tensor | None) -> Tensor:
    """Return log p(given entries | z) (n,) at z (n, latent), up to a constant."""
    assert seen.mask is not None
    return log_density(model.decode(z, context), seen.x.expand(len(z), -1), seen.mask.expand(len(z), -1))


def _spaced(share: Tensor, n: int, noise: Noise) -> Tensor:
    """Return n indices in random order; each occurs n times its share, rounded up or down."""
    at = (torch.arange(n, device=share.device) + noise.uniform((1,), share)) / n
    found = torch.searchsorted(share.cumsum(0), at).clamp(max=len(share) - 1)
    return found[noise.uniform((n,), share).argsort()]
