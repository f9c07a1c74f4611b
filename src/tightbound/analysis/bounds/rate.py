"""What the rate is made of: nats that tell data apart, dependence of dimensions, distance of each from the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Analysis, Array, Estimate, mean
from tightbound.core.errors import DensityUnknown, InputError, NotABound, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, log_factors
from tightbound.core.world import shared
from tightbound.data.feed import Source, each, evaluating
from tightbound.information import AggregateStream

CODES, DEAR_CODES = 1000, 100  # draws of q(z | x), and where each of their densities takes passes through a network
ROWS = 500  # data encoded at once
CHUNK = 100  # codes in one block of pairs
ELEMENTS = 1 << 19  # codes x data x dimensions in one block

DESCRIPTIONS = {
    "mutual_information": "I(x; z): nats of the rate that tell data apart",
    "information_upper": "the other end: I(x; z) of the population lies between the two",
    "aggregate_kl": "KL(q(z) || p(z)) of the aggregate posterior: the rest of the rate; samples suffer from it",
    "total_correlation": "dependence of the dimensions under q(z): one part of aggregate_kl",
    "dimension_wise_kl": "sum over dimensions of q(z_d) against the prior: the other part",
    "marginal_kl": "by latent dimension, KL(q(z_d) || p(z_d))",
}


@dataclass(frozen=True)
class Rate(Analysis):
    """The rate in parts, and what they are means of."""

    per_draw: Mapping[str, Array]  # (n,) each: `index` of the example, `rate` log q(z|x) - log p(z), and its parts


def rate_decomposition(model: VAE, data: Source, *, codes: int | None = None, seed: int = 0) -> Rate:
    """KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), and the latter as total correlation + dimension-wise KL.

    q(z) is the mean of q(z | x) over all N data: over these as the data set, the parts are exact up to the Monte Carlo
    error of the draws, and add up to the rate of the same draws. I(x; z) is then at most log N. As estimates for the
    population that the data are drawn from, the mutual information is a lower bound, and with each example left out of
    its own q(z) an upper one; the bracket is wide where I is near log N.

    Memory: the variational parameters of all data, and one block of pairs.

    Arguments:
        data: A split, or raw data (N, *shape).
        codes: Draws, one for each of this many data picked at random (at most N); None: 1000, or 100 where a density
            at another example's code takes passes through a network.

    Raises:
        InputError: no data, or fewer than one draw.

    References:
        ELBO surgery (Hoffman and Johnson 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf;
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 2, https://arxiv.org/abs/1802.04942;
        On variational bounds of mutual information (Poole et al. 2019), the multi-sample bounds with a known
        conditional density, https://arxiv.org/abs/1905.06922
    """
    gathered = Gathered(model, codes, seed)

    def encoded(batch: Batch, number: int) -> Encoded:
        seen = model.observe(batch, Noise("rate", seed))
        return gathered.encoded(seen, model.encode_local(seen))

    gathered.take(each(model, data, ROWS, encoded))
    with evaluating(model):
        return gathered.rate()


class Encoded(NamedTuple):
    """A batch of B data."""

    positions: Tensor  # (B,) of each example in its split
    local: Tensor | None  # (B, ...) variational parameters, on the CPU
    why: str | None  # there is no aggregate posterior to compare with


class Gathered:
    """The variational parameters of data that come by, and then their rate: arguments as above. Several processes may
    each encode some of the data; all take all."""

    def __init__(self, model: VAE, codes: int | None, seed: int) -> None:
        self.model, self.seed = model, seed
        self.codes = codes if codes is None else whole("codes", codes, least=1)
        self._encoded: Sequence[Encoded] = ()
        self._why: list[str | None] = []  # once it is known

    def encoded(self, seen: Batch, local: Tensor) -> Encoded:
        """An observed batch, with the variational parameters (B, ...) of its data, as `take` needs it."""
        if not self._why:
            self._why = [self._cannot(seen[:1], local[:1])]
        (why,) = self._why
        return Encoded(seen.positions().cpu(), local.cpu() if why is None else None, why)

    def take(self, encoded: Sequence[Encoded]) -> None:
        """All batches, in order."""
        self._encoded = encoded

    def _cannot(self, seen: Batch, local: Tensor) -> str | None:
        """Why there is none, from one example; None: there is."""
        model, noise = self.model, ExampleNoise("rate", self.seed, index=seen.positions())
        state = model.latents.state(local, seen.context)
        groups, _ = model.infer(seen, state, 1, noise, Knobs.final(model.schedules))
        if not all(group.has_density for group in groups):
            return "the posterior is a point mass, which has no density: there is no rate"
        if seen.context is not None and any(group.prior is not None and group.prior.batch_shape for group in groups):
            return "the prior depends on the context: q(z) would have to be an average over data of one context each"
        try:
            model.latents.log_pairs(_flat(groups), local)
        except (NotABound, DensityUnknown) as error:
            return str(error)
        return None

    def rate(self) -> Rate:
        """Of all data that were added.

        Raises:
            InputError: none were.
        """
        if not self._encoded:
            raise InputError("there are no data to decompose the rate on; give at least one example")
        if (why := self._encoded[0].why) is not None:
            return _nothing(why, sum(len(part.positions) for part in self._encoded))
        latents, positions = self.model.latents, torch.cat([part.positions for part in self._encoded])
        local = torch.cat([part.local for part in self._encoded if part.local is not None]).to(self.model.device)
        n = min(len(local), self.codes or (DEAR_CODES if latents.expensive_pairs else CODES))
        pick = np.sort(np.random.default_rng(key_seed("rate", self.seed)).permutation(len(local))[:n])
        own = torch.from_numpy(pick)
        noise = ExampleNoise("rate", self.seed, index=positions[own])
        state = latents.state(local[own.to(local.device)])
        groups, _ = latents.infer(state, 1, noise, Knobs.final(self.model.schedules))
        return _summarize(self.model, groups, local, own, positions[own])


def _flat(groups: tuple[LatentTerms, ...]) -> Tensor:
    """(B, latent) the first draw of all groups."""
    return torch.cat([group.z[0].flatten(1) for group in groups], dim=1)


def _summarize(model: VAE, groups: tuple[LatentTerms, ...], local: Tensor, own: Tensor, index: Tensor) -> Rate:
    z, size = _flat(groups), len(local)
    log_prior = torch.stack([precise(group.log_prior[0]) for group in groups if group.log_prior is not None]).sum(0)

    def about(chunk: tuple[Tensor, Tensor]) -> dict[str, Tensor | None]:
        stream = _stream(model, *chunk, local)
        found = {name: getattr(stream, name) for name in ("own", "aggregate", "without_own", "by_dimension")}
        return {name: None if value is None else value.cpu() for name, value in found.items()}

    streams = shared(about, list(zip(z.split(CHUNK), own.split(CHUNK), strict=True)))

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
    numbers = _numbers(per_draw, size)
    facts = {"unit": "nats", "target": numbers["aggregate_kl"].target, "samples": 1}
    drawn = f"over one draw for each of {len(own):,} data, q(z) and q(z_d) being means over all {size:,}"
    if any(stream["by_dimension"] is None for stream in streams):
        why = "q(z|x) does not factorize over the latent dimensions, so that its marginals are not known"
        for name in ("total_correlation", "dimension_wise_kl", "marginal_kl"):
            numbers[name] = Estimate(None, None, len(own), estimator="none", reason=why, **facts)
    else:
        marginals = array("by_dimension")
        per_draw["total_correlation"] = aggregate - marginals.sum(1)
        per_draw["dimension_wise_kl"] = marginals.sum(1) - prior
        numbers["total_correlation"] = mean(
            per_draw["total_correlation"], **facts, reason=numbers["aggregate_kl"].reason,
            estimator=f"mean of log q(z) - sum_d log q(z_d) {drawn}: exact for these data up to Monte Carlo error; of "
            "the population too high, as log q(z) is by its own example's share",
        )  # fmt: skip
        by_dimension = _by_dimension(model, groups, marginals, facts, drawn)
        numbers["dimension_wise_kl"] = mean(
            per_draw["dimension_wise_kl"], **facts,
            reason=by_dimension.reason and f"{by_dimension.reason}: this is no KL, and may be negative",
            estimator=f"mean of sum_d log q(z_d) - log p(z) {drawn}: exact for these data up to Monte Carlo error; of "
            "the population too high by what N densities in one dimension leave, which vanishes with N",
        )  # fmt: skip
        numbers["marginal_kl"] = by_dimension
    return Rate(
        {name: replace(numbers[name], description=description) for name, description in DESCRIPTIONS.items()}, per_draw
    )


def _stream(model: VAE, codes: Tensor, own: Tensor, local: Tensor) -> AggregateStream:
    stream = AggregateStream(own.to(codes.device), model.latents.latent)
    for part in local.split(max(1, ELEMENTS // codes.numel())):
        stream.add(model.latents.log_pairs(codes, part))
    return stream


def _numbers(per_draw: Mapping[str, Array], size: int) -> dict[str, Estimate]:
    n, most = len(per_draw["rate"]), math.log(size)
    facts = {"unit": "nats", "target": f"q(z|x) over {size:,} data", "samples": 1}
    information, upper = per_draw["mutual_information"], per_draw["information_upper"]
    near = float(information.mean()) > most - 1
    drawn = f"over one draw of q(z|x) for each of {n:,} data, q(z) being the mean over all {size:,}"
    exact = "exact for these data up to Monte Carlo error"
    close = f"near log N = {most:.2f}, the most that {size:,} data can show" if near else None
    numbers = {
        "mutual_information": mean(
            information, **facts, reason=close,
            estimator=f"mean of log q(z|x) - log q(z) {drawn}: {exact}; of the population a lower bound, at most log N",
        ),
        "aggregate_kl": mean(
            per_draw["aggregate_kl"], **facts, reason=close and "of these data; that of the population may be far "
            "lower",
            estimator=f"mean of log q(z) - log p(z) {drawn}: {exact}; of the population an upper bound",
        ),
    }  # fmt: skip
    if size > 1:
        numbers["information_upper"] = mean(
            upper, **facts, estimator=f"mean of log q(z|x) - log q(z) {drawn} but the example itself: of the population "
            "an upper bound",
        )  # fmt: skip
    else:
        why = "of one example, nothing is left without it"
        numbers["information_upper"] = Estimate(None, None, n, estimator="none", reason=why, **facts)
    return numbers


def _by_dimension(
    model: VAE, groups: tuple[LatentTerms, ...], marginals: Array, facts: Mapping[str, Any], drawn: str
) -> Estimate:
    """Where the prior has marginals, too: of one group, whose dimensions are independent."""
    prior = groups[0].prior
    factors = log_factors(prior, groups[0].z[0]).cpu().double().numpy() if prior is not None else marginals[:, :0]
    if factors.shape[1] != model.latents.latent:
        why = "the prior does not factorize over the latent dimensions"
        return Estimate(None, None, len(marginals), estimator="none", reason=why, **facts)
    return mean(marginals - factors, **facts, estimator=f"mean of log q(z_d) - log p(z_d) {drawn}")


def _nothing(why: str, n: int) -> Rate:
    facts = {"n": n, "unit": "nats", "target": "q(z|x) over the data", "samples": 1, "estimator": "none", "reason": why}
    return Rate(
        {name: Estimate(None, None, description=description, **facts) for name, description in DESCRIPTIONS.items()}, {}
    )
