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

    gathered.take(each(model, data, batch_size, encoded))
    with evaluating(model):
        return gathered.rate()


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
    """Collects the variational parameters of a pass over the data, then decomposes their rate.

    Several processes may encode some of the examples each; all of them take all. See `rate_decomposition`.
    """

    def __init__(
        self, model: VAE, max_examples: int | None, seed: int, chunk: int = 100, max_elements: int = 1 << 19
    ) -> None:
        self.model, self.seed, self.chunk, self.max_elements = model, seed, chunk, max_elements
        self.draws = max_examples if max_examples is None else whole("max_examples", max_examples, least=1)
        self._encoded: Sequence[Encoded] = ()
        self._why: list[str | None] = []  # once it is known

    def encoded(self, seen: Batch, local: Tensor | None) -> Encoded:
        """Return an observed batch and its variational parameters (B, ...) in the form that `take` needs."""
        if not self._why:
            missing = f"latents {type(self.model.latents).__name__} do not define local(x)"
            self._why = [missing if local is None else self._cannot(seen[:1], local[:1])]
        (why,) = self._why
        return Encoded(seen.positions().cpu(), local.cpu() if local is not None and why is None else None, why)

    def take(self, encoded: Sequence[Encoded]) -> None:
        """Take all batches, in order."""
        self._encoded = encoded

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

    def rate(self) -> Result:
        """Decompose the rate of all examples that were taken.

        Raises:
            InputError: If there are none.
        """
        if not self._encoded:
            raise InputError("there are no data to decompose the rate on; give at least one example")
        if (why := self._encoded[0].why) is not None:
            return _missing(why, sum(len(part.positions) for part in self._encoded))
        latents, positions = self.model.latents, torch.cat([part.positions for part in self._encoded])
        local = torch.cat([part.local for part in self._encoded if part.local is not None]).to(self.model.device)
        n = min(len(local), self.draws or (EXPENSIVE_DRAWS if latents.expensive_pairs else DRAWS))
        pick = np.sort(np.random.default_rng(key_seed("rate", self.seed)).permutation(len(local))[:n])
        own = torch.from_numpy(pick)
        noise = ExampleNoise("rate", self.seed, index=positions[own])
        state = latents.state(local[own.to(local.device)])
        groups, _ = latents.infer(state, 1, noise, Knobs.final(self.model.schedules))
        return self._decomposed(groups, local, own, positions[own])

    def _decomposed(self, groups: tuple[LatentTerms, ...], local: Tensor, own: Tensor, index: Tensor) -> Result:
        z, size = _flat(groups), len(local)
        log_prior = torch.stack([precise(group.log_prior[0]) for group in groups if group.log_prior is not None]).sum(0)

        def about(part: tuple[Tensor, Tensor]) -> dict[str, Tensor | None]:
            stream = self._stream(*part, local)
            found = {name: getattr(stream, name) for name in ("own", "aggregate", "without_own", "by_dimension")}
            return {name: None if value is None else value.cpu() for name, value in found.items()}

        streams = shared(about, list(zip(z.split(self.chunk), own.split(self.chunk), strict=True)))

        def array(name: str) -> Array:
            return torch.cat([value for stream in streams if (value := stream[name]) is not None]).numpy()

        q, aggregate, prior = array("own"), array("aggregate"), log_prior.cpu().numpy()
        per_draw = {
            "index": index.numpy(),
            "rate": q - prior,
            "mutual_information": q - aggregate,
            "information_upper": q - array("without_own"),
            "aggregate_kl": aggregate - prior,
        }
        found = _information(per_draw, size)
        factorizes = all(stream["by_dimension"] is not None for stream in streams)
        marginals = array("by_dimension") if factorizes else None
        parts, more = _by_dimension(self.model, groups, marginals, aggregate, prior, size, found["aggregate_kl"])
        found, per_draw = found | parts, per_draw | more
        return Result(
            {name: replace(found[name], description=description) for name, description in DESCRIPTIONS.items()},
            per_example=per_draw,
        )

    def _stream(self, codes: Tensor, own: Tensor, local: Tensor) -> AggregateStream:
        stream = AggregateStream(own.to(codes.device), self.model.latents.latent)
        for part in local.split(max(1, self.max_elements // codes.numel())):
            stream.add(self.model.latents.log_pairs(codes, part))
        return stream


def _flat(groups: tuple[LatentTerms, ...]) -> Tensor:
    """Return the first draw of all groups, (B, latent)."""
    return torch.cat([group.z[0].flatten(1) for group in groups], dim=1)


def _information(per_draw: Mapping[str, Array], size: int) -> dict[str, Estimate]:
    n, most = len(per_draw["rate"]), math.log(size)
    facts = {"unit": "nats", "target": f"q(z|x) over {size:,} examples", "samples": 1}
    information = per_draw["mutual_information"]
    near = float(information.mean()) > most - 1
    drawn = f"over one draw of q(z|x) for each of {n:,} examples, where q(z) is the mean over all {size:,}"
    exact = "exact for these examples up to Monte Carlo error"
    low = f"{exact}; a lower bound for the population, at most log N"
    close = f"near log N = {most:.2f}, the most that {size:,} examples can show" if near else None
    far = close and "holds for these examples; the value of the population may be far lower"
    found = {
        "mutual_information": mean(
            information, **facts, reason=close,
            estimator=f"mean of log q(z|x) - log q(z) {drawn}: {low}",
        ),
        "aggregate_kl": mean(
            per_draw["aggregate_kl"], **facts, reason=far,
            estimator=f"mean of log q(z) - log p(z) {drawn}: {exact}; an upper bound for the population",
        ),
    }  # fmt: skip
    if size > 1:
        how = f"mean of log q(z|x) - log q(z) {drawn} but the example itself: an upper bound for the population"
        found["information_upper"] = mean(per_draw["information_upper"], **facts, estimator=how)
    else:
        why = "with one example, nothing is left without it"
        found["information_upper"] = Estimate.missing(why, n=n, **facts)
    return found


def _by_dimension(
    model: VAE,
    groups: tuple[LatentTerms, ...],
    marginals: Array | None,
    aggregate: Array,
    prior: Array,
    size: int,
    of_aggregate: Estimate,
) -> tuple[dict[str, Estimate], dict[str, Array]]:
    """Return the two parts of the aggregate KL, as estimates and per draw.

    `marginals` (n, L) are log q(z_d), None if q(z|x) does not factorize; `aggregate` and `prior` (n,) are log q(z) and
    log p(z).
    """
    n, facts = len(prior), {"unit": "nats", "target": of_aggregate.target, "samples": 1}
    if marginals is None:
        why = "q(z|x) does not factorize over the latent dimensions, so that its marginals are not known"
        names = ("total_correlation", "dimension_wise_kl", "marginal_kl")
        return {name: Estimate.missing(why, n=n, **facts) for name in names}, {}
    drawn = f"over one draw for each of {n:,} examples, where q(z) and q(z_d) are means over all {size:,}"
    exact = f"{drawn}: exact for these examples up to Monte Carlo error; too high for the population"
    parts = {"total_correlation": aggregate - marginals.sum(1), "dimension_wise_kl": marginals.sum(1) - prior}
    by_dimension = _marginal_kl(model, groups, marginals, facts, drawn)
    no_kl = by_dimension.reason and f"{by_dimension.reason}: this is no KL, and may be negative"
    return {
        "total_correlation": mean(
            parts["total_correlation"], **facts, reason=of_aggregate.reason,
            estimator=f"mean of log q(z) - sum_d log q(z_d) {exact}, since log q(z) contains the example's own share",
        ),
        "dimension_wise_kl": mean(
            parts["dimension_wise_kl"], **facts, reason=no_kl,
            estimator=f"mean of sum_d log q(z_d) - log p(z) {exact} by an amount that vanishes with N",
        ),
        "marginal_kl": by_dimension,
    }, parts  # fmt: skip


def _marginal_kl(
    model: VAE, groups: tuple[LatentTerms, ...], marginals: Array, facts: Mapping[str, Any], drawn: str
) -> Estimate:
    """Return KL(q(z_d) || p(z_d)); the prior has marginals if it is one group of independent dimensions."""
    prior = groups[0].prior
    factors = log_factors(prior, groups[0].z[0]).cpu().double().numpy() if prior is not None else marginals[:, :0]
    if factors.shape[1] != model.latents.latent:
        return Estimate.missing("the prior does not factorize over the latent dimensions", n=len(marginals), **facts)
    return mean(marginals - factors, **facts, estimator=f"mean of log q(z_d) - log p(z_d) {drawn}")


def _missing(why: str, n: int) -> Result:
    facts = {"n": n, "unit": "nats", "target": "q(z|x) over the data", "samples": 1}
    return Result({name: Estimate.missing(why, description=text, **facts) for name, text in DESCRIPTIONS.items()})
