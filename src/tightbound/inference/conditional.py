"""Draw rows of a table given some of their entries, by importance resampling."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.latents import Draw
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.noise import draw as draw_from
from tightbound.core.terms import Batch, log_density
from tightbound.data.feed import evaluating
from tightbound.inference.infer import check_samples

LEAST = 10_000  # minimum number of latent codes to resample from
TIMES = 20  # latent codes per row, if that makes more


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


def sample_given(
    model: VAE, n: int, given: Tensor, *, codes: Draw | None = None, seed: int = 0, batch_size: int = 1000
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
        codes: Function (n, noise, contexts) -> (n, latent) that replaces the prior.
        seed: Random seed.
        batch_size: Latent codes per batch.

    Raises:
        CompositionError: If the model is not one of a table, or is conditional.
        InputError: If no entry is given, or the given entries are impossible.
    """
    if not model.observation.source.columns or model.context is not None:
        raise CompositionError(
            f"rows given some entries need a model of a table without a context, and this is {model.summary}"
        )
    if given.isnan().all():
        raise InputError("no entry is given; give the value of at least one column")
    check_samples(model, n)
    total = max(LEAST, TIMES * n)
    check_held("n", n, TIMES * model.latents.latent)
    with evaluating(model):
        seen = model.observe(Batch(given[None].to(model.device)), Noise("given", seed))
        z, weight = [], []
        for start in range(0, total, batch_size):
            noise, size = Noise("given", seed, start), min(batch_size, total - start)
            z.append(model.latents.draw(size, noise) if codes is None else codes(size, noise, None).to(model.device))
            weight.append(_log_given(model, seen, z[-1]))
        log_weight = torch.cat(weight).double()
        if not bool(log_weight.isfinite().any()):
            raise InputError("the given entries have probability zero under the model; give other values")
        share = (log_weight - log_weight.logsumexp(0)).exp()
        effective = 1 / share.square().sum().item()
        picked = torch.cat(z)[_spaced(share, n, Noise("given", seed, "picked"))]
        rows = []
        for start in range(0, n, batch_size):
            part = picked[start : start + batch_size]
            drawn = draw_from(model.decode(part), (), Noise("given", seed, "rows", start))
            rows.append(model.observation.possible(model.observation.restore(drawn)).cpu())
    x = torch.cat(rows)
    return Conditional(torch.where(given.isnan(), x, given.to(x)), effective, total)


def _log_given(model: VAE, seen: Batch, z: Tensor) -> Tensor:
    """Return log p(given entries | z) (n,) at z (n, latent), up to a constant."""
    assert seen.mask is not None
    return log_density(model.decode(z), seen.x.expand(len(z), -1), seen.mask.expand(len(z), -1))


def _spaced(share: Tensor, n: int, noise: Noise) -> Tensor:
    """Return n indices in random order; each occurs n times its share, rounded up or down."""
    at = (torch.arange(n, device=share.device) + noise.uniform((1,), share)) / n
    found = torch.searchsorted(share.cumsum(0), at).clamp(max=len(share) - 1)
    return found[noise.uniform((n,), share).argsort()]
