"""Annealed importance sampling, and bidirectional Monte Carlo: log p(x) without the encoder, and how far off it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.annealing import Annealing, Chains, check_annealable
from tightbound.analysis.bounds.estimator import at_once
from tightbound.analysis.estimate import Analysis, Array, Estimate, estimate, mean
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches, evaluating
from tightbound.inference.infer import contexts

DESCRIPTIONS = {
    "ais": "log p(x) by annealed importance sampling from p(z): a lower bound in expectation, whatever q(z|x) is",
    "iwae_same_data": "importance-weighted lower bound on log p(x) of the same data",
    "ais_minus_iwae": "paired difference: by how much the IWAE bound is looser, where it is above 0",
    "acceptance": "Hamiltonian Monte Carlo moves that were accepted; about 0.65 is best",
    "ess": "effective number of chains an example, (sum w)^2 / sum w^2; near 1, add temperatures",
    "bdmc_lower": "of data drawn from the model: log p(x) by AIS, a lower bound in expectation",
    "bdmc_upper": "of the same drawn data: the chain back from the z they were made of, an upper bound in expectation",
    "bdmc_gap": "upper - lower: AIS is off by no more than this, on data like the model's own",
}


@dataclass(frozen=True)
class Annealed(Analysis):
    """What annealing found: numbers by name, and what they are means of."""

    per_example: Mapping[str, Array]  # (N,) each


def ais(
    model: VAE,
    data: Source,
    *,
    temperatures: int = 1000,
    chains: int = 16,
    leapfrog: int = 10,
    seed: int = 0,
    against: Evaluation | None = None,
    progress: bool = False,
) -> Annealed:
    """log p(x) by annealed importance sampling between p(z) and p(z) p(x|z), with Hamiltonian Monte Carlo moves.

    The mean weight of the chains is an unbiased estimate of p(x), so that its log is a lower bound in expectation, as
    the IWAE bound is; but q(z|x) has no part in it. Step sizes are tuned, by example and temperature, in a pilot run of
    its own and then held: chains that adapt as they go would not be unbiased. Codes of hierarchies move in all groups
    at once. An autoencoder has a p(x), too: that of its decoder under its prior, which its codes need not follow.

    The noise of an example depends on the seed and its index, so that numbers do not change with batching, except where
    rounding turns the acceptance of a move.

    Arguments:
        data: A split, or raw data (N, *shape).
        temperatures, chains, leapfrog: See `Annealing`.
        against: An evaluation that holds the IWAE bound of these data, by their index: adds the paired difference.
        progress: Show a progress bar on standard error.

    Returns:
        numbers `ais` (nats), `acceptance`, `ess`, and of `against` `iwae_same_data` and `ais_minus_iwae`;
        of each example `index`, `ais`, `acceptance`, `ess`.

    Raises:
        CompositionError: codes that do not lie in R^L (on a sphere, one-hot).
        InputError: no data, a number below 1, or data that `against` is not of.

    References:
        Annealed importance sampling (Neal 2001), https://arxiv.org/abs/physics/9803008;
        On the quantitative analysis of decoder-based generative models (Wu et al. 2017),
        https://arxiv.org/abs/1611.04273
    """
    how = Annealing(temperatures, chains, leapfrog, seed)
    check_annealable(model)
    found = _Found()
    with evaluating(model), _bar(data, how, 1, progress) as bar:
        for batch in batches(model, data, at_once(model, chains)):
            seen = model.observe(batch, Noise("ais", seed))
            chain = Chains(model, seen, batch.positions(), how, "ais", bar.update)
            found.add(index=batch.positions(), **chain.forward("ais"))
    if not found.parts:
        raise InputError("there are no data to estimate log p(x) of; give at least one example")
    per_example = found.arrays()
    facts = {"target": model.target_name, "samples": chains}
    numbers = {"ais": mean(per_example["ais"], unit="nats", estimator=f"AIS: log-mean-exp of {how.description()}",
                           reason=model.observation.not_a_likelihood, **facts)}  # fmt: skip
    if against is not None:
        numbers |= _paired(per_example, against, numbers["ais"])
    return _explained(numbers | _health(per_example, how), per_example)


def bdmc(
    model: VAE,
    n: int = 50,
    *,
    temperatures: int = 1000,
    chains: int = 16,
    leapfrog: int = 10,
    seed: int = 0,
    like: Source | None = None,
    progress: bool = False,
) -> Annealed:
    """How far off AIS can be, by bidirectional Monte Carlo: on data (z, x) drawn from the model, AIS on x gives a
    lower bound on log p(x) in expectation, and the chain back from z, an exact draw from p(z|x), an upper bound.

    The gap bounds the error of AIS with these settings on such data: real data may be harder.

    Arguments:
        n: Data that are drawn. The first ones are the same whatever n is.
        temperatures, chains, leapfrog: See `Annealing`.
        like: Data whose contexts and missing entries those drawn shall have, in turn; None: none are missing, and a
            conditional model is shown its examples, such as each class in turn.
        progress: Show a progress bar on standard error.

    Returns:
        numbers `bdmc_lower`, `bdmc_upper`, `bdmc_gap` (nats), `acceptance`, `ess`; of each example `lower`, `upper`,
        `gap`, `acceptance`, `ess`.

    Raises:
        CompositionError: codes that do not lie in R^L (on a sphere, one-hot).
        InputError: a number below 1, or no `like` where the model needs a context that only data have.

    References:
        Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al. 2015),
        https://arxiv.org/abs/1511.02543; Wu et al. 2017, Section 4, https://arxiv.org/abs/1611.04273
    """
    how = Annealing(temperatures, chains, leapfrog, seed)
    check_annealable(model)
    whole("n", n, least=1)
    found, size = _Found(), at_once(model, chains)
    with evaluating(model), _bar(range(n), how, 2, progress) as bar:
        given = _given(model, n, like)
        for rows in torch.arange(n).split(size):
            seen, codes = _simulate(model, rows, given, seed)
            chain = Chains(model, seen, rows, how, "bdmc", bar.update)
            found.add(**chain.forward("lower"), upper=chain.backward(codes))
    per_example = found.arrays()
    per_example["gap"] = per_example["upper"] - per_example["lower"]
    target = "data drawn from the model" + ("" if model.context is None else f", {model.context.description}")
    facts = {"unit": "nats", "target": target, "samples": chains}
    numbers = {
        "bdmc_lower": mean(per_example["lower"], estimator=f"AIS: log-mean-exp of {how.description()}", **facts),
        "bdmc_upper": mean(
            per_example["upper"], estimator=f"reverse AIS from the exact z: {how.description()}", **facts
        ),
        "bdmc_gap": mean(per_example["gap"], estimator="mean of paired differences, upper - lower", **facts),
    }
    return _explained(numbers | _health(per_example, how), per_example)


@dataclass
class _Found:
    """Values of each example, batch by batch."""

    parts: list[dict[str, Tensor]] = field(default_factory=list)

    def add(self, **values: Tensor) -> None:
        self.parts.append({name: value.cpu() for name, value in values.items()})

    def arrays(self) -> dict[str, Array]:
        return {name: torch.cat([part[name] for part in self.parts]).numpy() for name in self.parts[0]}


def _given(model: VAE, n: int, like: Source | None) -> Batch:
    """Contexts and masks for n data, as an observed batch; its x are not used."""
    if like is None:
        context = contexts(model, n)
        like_weights = next(model.parameters(), torch.empty(0))
        return Batch(torch.empty(n, 0), context=None if context is None else context.to(like_weights))
    parts = []
    for batch in batches(model, like, n):
        parts.append(model.observe(batch, Noise("bdmc")))
        if sum(map(len, parts)) >= n:
            break
    if not parts:
        raise InputError("there are no data to draw others like; give at least one example")
    take = torch.arange(n, device=model.device) % sum(map(len, parts))

    def column(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else torch.cat(values)[take]

    return Batch(torch.empty(n, 0), context=column("context"), mask=column("mask"))


def _simulate(model: VAE, rows: Tensor, given: Batch, seed: int) -> tuple[Batch, Tensor]:
    """Observed data, and the codes (B, L) that they were made of: each by noise of its own."""
    contexts = [None if given.context is None else given.context[i : i + 1] for i in rows.tolist()]
    noises = [Noise("bdmc", "simulate", seed, i) for i in rows.tolist()]
    codes = [model.latents.draw(1, noise, context) for noise, context in zip(noises, contexts, strict=True)]
    x = [draw(model.decode(z, c), (), noise) for noise, c, z in zip(noises, contexts, codes, strict=True)]
    part = rows.to(model.device)
    context, mask = (None if t is None else t[part] for t in (given.context, given.mask))
    return Batch(torch.cat(x), context=context, mask=mask), torch.cat(codes)


def _bar(data: Any, how: Annealing, ways: int, shown: bool) -> Any:
    """A progress bar over the temperatures of all data, on the pilot run and on this many ways along the path."""
    from tqdm.auto import tqdm

    try:
        total = len(data) * ((1 + ways) * how.temperatures - 1)
    except TypeError:  # a stream
        total = None
    return tqdm(total=total, disable=not shown or None, unit="temperature", unit_scale=True, leave=False)


def _paired(per_example: Mapping[str, Array], against: Evaluation, ais: Estimate) -> dict[str, Estimate]:
    """The IWAE bound of the same data, and the difference."""
    facts: dict[str, Any] = {"unit": "nats", "target": ais.target}
    bound, samples = against.per_example.get("iwae"), against["iwae"].samples
    if bound is None:
        reason = f"{against['iwae'].reason}; AIS is of the decoder under the prior, which such codes need not follow"
        missing = Estimate(None, None, ais.n, estimator="none", reason=reason, **facts)
        return {"iwae_same_data": missing, "ais_minus_iwae": missing}
    place = {int(index): i for i, index in enumerate(against.per_example["index"])}
    unknown = [int(index) for index in per_example["index"] if int(index) not in place]
    if unknown:
        raise InputError(f"`against` has no example {unknown[0]}; give the evaluation of the same split")
    iwae = bound[[place[int(index)] for index in per_example["index"]]]
    by = f"log-mean-exp of {samples} importance weights from q(z|x)"
    return {
        "iwae_same_data": mean(iwae, estimator=by, samples=samples, reason=ais.reason, **facts),
        "ais_minus_iwae": mean(per_example["ais"] - iwae, estimator=f"paired: AIS less IWAE-{samples}", **facts),
    }


def _health(per_example: Mapping[str, Array], how: Annealing) -> dict[str, Estimate]:
    """How well the chains moved."""
    facts = {"target": "the chains of AIS", "samples": how.chains}
    acceptance = {"unit": "share", "estimator": "mean over moves of the probability of acceptance", **facts}
    moved = per_example["acceptance"]
    if np.isnan(moved).all():
        moves = estimate(None, None, n=len(moved), reason="no moves: one temperature is importance sampling from p(z)",
                         **acceptance)  # fmt: skip
    else:
        moves = mean(moved, **acceptance)
    return {"acceptance": moves, "ess": mean(per_example["ess"], unit="chains", estimator="Kish, by example", **facts)}


def _explained(numbers: Mapping[str, Estimate], per_example: Mapping[str, Array]) -> Annealed:
    return Annealed(
        {name: replace(number, description=DESCRIPTIONS[name]) for name, number in numbers.items()}, per_example
    )
