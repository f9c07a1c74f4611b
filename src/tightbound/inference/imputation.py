"""Fill in the missing entries of tables with their conditional means, by importance sampling."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.distributions import Independent

from tightbound.core.errors import CompositionError, whole
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.noise import draw as draw_from
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data.feed import Source
from tightbound.inference.infer import each_example
from tightbound.likelihoods.columns import ColumnsDistribution

AT_ONCE = 10**8  # numbers in the distributions of a batch, at most


def impute(
    model: VAE, source: Source, *, samples: int = 200, draw: bool = False, seed: int = 0, batch_size: int = 100
) -> Tensor:
    """Return a table (N, D), in the units of the data, with its missing entries filled and the others unchanged.

    A missing number becomes E[x | observed entries], moved to the nearest number that its column can hold; a missing
    category becomes the most probable one. Draws of z from q(z | x) are weighted by p(x, z) / q(z | x) of the observed
    entries. As the number of draws grows, the result converges to that of the model, even if q(z | x) is inaccurate.

    Args:
        model: The model.
        source: The table, whose missing entries are NaN.
        samples: Draws of z per example.
        draw: Fill in one joint draw from p(missing | observed) for each example instead of the means, by sampling
            importance resampling: from p(x | z) of one of the draws of z, picked with its weight.
        seed: Random seed.
        batch_size: Examples per batch.

    Raises:
        CompositionError: If the model was not made for a mixed table, whose entries may be missing.
        InputError: If there are no examples.

    References:
        MIWAE: Deep generative modelling and imputation of incomplete data sets (Mattei and Frellsen 2019), Section 3,
        https://arxiv.org/abs/1812.02633
    """
    whole("samples", samples, least=1)
    columns = model.observation.source.columns
    if not columns:
        raise CompositionError(
            f"the model was made for {model.observation.source}, which cannot be missing; train it on a table with "
            "missing entries, or declare the kinds of its columns with kinds="
        )

    numbers = sum(own.levels or 2 for own in columns)  # of the distribution of one sample of one example
    check_held("samples", samples, 4 * numbers)
    batch_size = max(1, min(batch_size, AT_ONCE // (samples * numbers)))

    def rows(batch: Batch, number: int) -> Tensor:
        seen = model.observe(batch, Noise("impute", seed))
        noise = ExampleNoise("impute", seed, index=batch.positions())
        terms = model.terms_from(seen, model.encode_state(seen), samples, noise, Knobs.final(model.schedules))
        p = cast(ColumnsDistribution, cast(Independent, terms.likelihood).base_dist)
        weight = terms.log_weight.softmax(0)
        x = model.observation.restore(_picked(draw_from(p, (), noise), weight, noise) if draw else p.expected(weight))
        x = torch.stack([own.nearest(column) for column, own in zip(x.unbind(1), columns, strict=True)], 1)
        return torch.where(batch.x.isnan(), x, batch.x.to(x)).cpu()

    return torch.cat(each_example(model, source, batch_size, rows, "impute"))


def _picked(x: Tensor, weight: Tensor, noise: Noise) -> Tensor:
    """Return one of the S draws (S, B, D) of each example, picked with its weight (S, B)."""
    place = (weight.cumsum(0) < noise.uniform((1, len(weight[0])), weight)).sum(0).clamp(max=len(weight) - 1)
    return x[place, torch.arange(len(place), device=x.device)]
