"""Decomposition of the rate: mutual information, total correlation and dimension-wise KL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, mean
from tightbound.analysis.result import Result
from tightbound.core.errors import DensityUnknown, InputError, NotABound, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, log_factors
from tightbound.core.world import shared
from tightbound.data.feed import Source, each, evaluating
from tightbound.information import AggregateStream

DRAWS, EXPENSIVE_DRAWS = 1000, 100  # the latter if each density takes passes through a network

DESCRIPTIONS = {
    "mutual_information": "I(x; z): the part of the rate that tells examples apart",
    "information_upper": "upper bound; I(x; z) of the population lies between mutual_information and this",
    "aggregate_kl": "KL(q(z) || p(z)): the rest of the rate: how far the latent codes of all examples together are "
    "from "
    "the prior; samples suffer from it",
    "total_correlation": "dependence between latent dimensions over the data; the first part of aggregate_kl",
    "dimension_wise_kl": "sum over dimensions of KL(q(z_d) || p(z_d)); the second part of aggregate_kl",
    "marginal_kl": "KL(q(z_d) || p(z_d)) by latent dimension",
}


def rate_decomposition(
    model: VAE,
    data: Source,
    *,
    max_examples: int | None = None,
    seed: int = 0,
    batch_size: int = 500,
    chunk: int = 100,
    max_elements: int = 1 << 19,
) -> Result:
    """Split KL(q(z|x) || p(z)) into I(x; z) + total correlation + dimension-wise KL.

    q(z) is the mean of q(z | x) over all N examples. Over these examples as the data set, the parts are exact up to the
    Monte Carlo error of the draws and add up to the rate of the same draws; I(x; z) is then at most log N. As estimates
    for the population that the examples come from, the mutual information is a lower bound, and an upper bound if each
    example is left out of its own q(z); the bracket is wide if I is near log N.

    Memory holds the variational parameters of all examples and one block of pairs.

    Args:
        model: The model.
        data: Examples, in any form.
        max_examples, seed: See `RateDecomposition`.
        batch_size: Examples to encode at once.
        chunk: Codes in one block of pairs.
        max_elements: Codes x examples x dimensions in one block of pairs, at most.

    Returns:
        The estimates of `DESCRIPTIONS`; `per_example` holds `index`, `rate` and its parts, one row per draw.

    Raises:
        InputError: If there are no examples, or fewer than one draw is asked for.

    References:
        ELBO surgery (Hoffman and Johnson 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf;
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 2, https://arxiv.org/abs/1802.04942;
        On variational bounds of mutual information (Poole et al. 2019), the multi-sample bounds with a known
        conditional density, https://arxiv.org/abs/1905.06922
    """
    gathered = Gathered(model, max_examples, seed, chunk, max_elements)

    def encoded(batch: Batch, number: int) -> Encoded:
        seen = model.observe(batch, Noise("rate", seed))
        return gathered.encoded(seen, model.encode_local(seen)[0])

    parts = each(model, data, batch_size, encoded)
    with evaluating(model):
        return gathered.rate(parts)


class Encoded(NamedTuple):
    """An encoded batch of B examples.

    Attributes:
        positions: Positions of the examples in their split, (B,).
        local: Variational parameters (B, ...), on the CPU; None if there is no aggregate posterior.
        why: Why there is no aggregate posterior; None: there is one.
    """

    positions: Tensor
    local: Tensor | None
    why: str | None


class Gathered:
    """Brings the batches of a pass over the data into one form, then decomposes their rate; see `rate_decomposition`.

    Several processes may encode some of the examples each; all of them decompose the rate of all.
    """

    def __init__(
        self, model: VAE, max_examples: int | None, seed: int, chunk: int = 100, max_elements: int = 1 << 19
    ) -> None:
        self.model, self.seed, self.chunk, self.max_elements = model, seed, chunk, max_elements
        self.draws = max_examples if max_examples is None else whole("max_examples", max_examples, least=1)
        self._why: list[str | None] = []  # once it is known

    def encoded(self, seen: Batch, local: Tensor | None) -> Encoded:
        """Return an observed batch and its variational parameters (B, ...)."""
        if not self._why:
            missing = f"latents {type(self.model.latents).__name__} do not define local(x)"
            self._why = [missing if local is None else self._cannot(seen[:1], local[:1])]
        (why,) = self._why
        return Encoded(seen.positions().cpu(), local.cpu() if local is not None and why is None else None, why)

    def _cannot(self, seen: Batch, local: Tensor) -> str | None:
        """Return why there is no aggregate posterior, judged by one example; None: there is one."""
        model, noise = self.model, ExampleNoise("rate", self.seed, index=seen.positions())
        state = model.latents.state(local, seen.context)
        groups, _ = model.infer(seen, state, 1, noise, Knobs.final(model.schedules))
        if not all(group.has_density for group in groups):
            return "the posterior is a point mass, which has no density: there is no rate"
        if seen.context is not None and any(group.prior is not None and group.prior.batch_shape for group in groups):
            return "the prior depends on the context: q(z) would have to be a mean over examples of one context each"
        try:
            model.latents.log_pairs(_flat(groups), local)
        except (NotABound, DensityUnknown) as error:
            return str(error)
        return None

    def rate(self, encoded: Sequence[Encoded]) -> Result:
        """Decompose the rate of all batches, in order.

        Raises:
            InputError: If there are none.
        """
        if not encoded:
            raise InputError("there are no data to decompose the rate on; give at least one example")
        latents, positions = self.model.latents, torch.cat([part.positions for part in encoded])
        if (why := encoded[0].why) is not None:
            facts = {"n": len(positions), "unit": "nats", "target": "q(z|x) over the data", "samples": 1}
            none = {name: Estimate.missing(why, description=text, **facts) for name, text in DESCRIPTIONS.items()}
            return Result(none)
        local = torch.cat([part.local for part in encoded if part.local is not None]).to(self.model.device)
        n = min(len(local), self.draws or (EXPENSIVE_DRAWS if latents.expensive_pairs else DRAWS))
        pick = np.sort(np.random.default_rng(key_seed("rate", self.seed)).permutation(len(local))[:n])
        own = torch.from_numpy(pick)
        noise = ExampleNoise("rate", self.seed, index=positions[own])
        state = latents.state(local[own.to(local.device)])
        groups, _ = latents.infer(state, 1, noise, Knobs.final(self.model.schedules))
        z, prior = _flat(groups), [precise(group.log_prior[0]) for group in groups if group.log_prior is not None]

        def about(part: tuple[Tensor, Tensor]) -> list[Tensor | None]:
            codes, rows = part
            stream = AggregateStream(rows.to(codes.device), latents.latent)
            for some in local.split(max(1, self.max_elements // codes.numel())):
                stream.add(latents.log_pairs(codes, some))
            found = (stream.own, stream.aggregate, stream.without_own, stream.by_dimension)
            return [None if value is None else value.cpu() for value in found]

        parts = shared(about, list(zip(z.split(self.chunk), own.split(self.chunk), strict=True)))
        q, aggregate, without_own, marginals = (_joined(column) for column in zip(*parts, strict=True))
        log_prior = torch.stack(prior).sum(0).cpu().numpy()
        per_draw = {
            "index": positions[own].numpy(),
            "rate": q - log_prior,
            "mutual_information": q - aggregate,
            "information_upper": q - without_own,
            "aggregate_kl": aggregate - log_prior,
        }
        if marginals is not None:
            per_draw["total_correlation"] = aggregate - marginals.sum(1)
            per_draw["dimension_wise_kl"] = marginals.sum(1) - log_prior
            prior_d = None if groups[0].prior is None else log_factors(groups[0].prior, groups[0].z[0])
            if prior_d is not None and prior_d.shape[1] == latents.latent:  # one group of independent dimensions
                per_draw["marginal_kl"] = marginals - prior_d.cpu().double().numpy()
        found = _estimates(per_draw, len(local))
        per_draw.pop("marginal_kl", None)
        described = {name: replace(found[name], description=text) for name, text in DESCRIPTIONS.items()}
        return Result(described, per_example=per_draw)


def _flat(groups: tuple[LatentTerms, ...]) -> Tensor:
    """Return the first draw of all groups, (B, latent)."""
    return torch.cat([group.z[0].flatten(1) for group in groups], dim=1)


def _joined(parts: Sequence[Tensor | None]) -> Any:
    return torch.cat([part for part in parts if part is not None]).numpy() if parts[0] is not None else None


def _estimates(per_draw: Mapping[str, Array], size: int) -> dict[str, Estimate]:
    """Return the estimates from values per draw, for q(z) over `size` examples."""
    n, most = len(per_draw["rate"]), math.log(size)
    facts = {"unit": "nats", "target": f"q(z|x) over {size:,} examples", "samples": 1}
    near = float(per_draw["mutual_information"].mean()) > most - 1
    close = f"near log N = {most:.2f}, the most that {size:,} examples can show" if near else None
    far = close and "holds for these examples; the value of the population may be far lower"
    exact = "exact for these examples up to Monte Carlo error"
    drawn = f"over one draw of q(z|x) for each of {n:,} examples, where q(z) is the mean over all {size:,}"
    both = f"over one draw for each of {n:,} examples, where q(z) and q(z_d) are means over all {size:,}"
    high = f"{both}: {exact}; too high for the population"
    own = "log q(z|x) - log q(z)"
    no_kl = None if "marginal_kl" in per_draw else "the prior does not factorize over the latent dimensions"
    how = {
        "mutual_information": f"{own} {drawn}: {exact}; a lower bound for the population, at most log N",
        "information_upper": f"{own} {drawn} but the example itself: an upper bound for the population",
        "aggregate_kl": f"log q(z) - log p(z) {drawn}: {exact}; an upper bound for the population",
        "total_correlation": f"log q(z) - sum_d log q(z_d) {high}, since log q(z) contains the example's own share",
        "dimension_wise_kl": f"sum_d log q(z_d) - log p(z) {high} by an amount that vanishes with N",
        "marginal_kl": f"log q(z_d) - log p(z_d) {both}",
    }
    caveats = {"mutual_information": close, "aggregate_kl": far, "total_correlation": far}
    caveats["dimension_wise_kl"] = no_kl and f"{no_kl}: this is no KL, and may be negative"
    missing: dict[str, str | None] = {"marginal_kl": no_kl}
    if "total_correlation" not in per_draw:
        why = "q(z|x) does not factorize over the latent dimensions, so that its marginals are not known"
        missing = dict.fromkeys(("total_correlation", "dimension_wise_kl", "marginal_kl"), why)
    if size == 1:
        missing["information_upper"] = "with one example, nothing is left without it"
    return {
        name: Estimate.missing(why, n=n, **facts) if (why := missing.get(name)) else
        mean(per_draw[name], **facts, reason=caveats.get(name), estimator=f"mean of {estimator}")
        for name, estimator in how.items()
    }  # fmt: skip
