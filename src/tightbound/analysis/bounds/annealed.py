"""Annealed importance sampling and bidirectional Monte Carlo: log p(x) without the encoder, and the error of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tightbound.analysis.bounds.annealing import Annealing, Chains, check_annealable
from tightbound.analysis.bounds.estimator import MAX_ROWS, at_once
from tightbound.analysis.estimate import Array, Estimate, mean
from tightbound.analysis.result import Evaluation, Result
from tightbound.core.errors import InputError, whole
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches, evaluating, first
from tightbound.inference.infer import contexts

DESCRIPTIONS = {
    "ais": "log p(x) by annealed importance sampling from p(z): a lower bound in expectation, whatever q(z|x) is",
    "iwae": "importance-weighted lower bound on log p(x) of the same examples",
    "ais_minus_iwae": "paired difference; if above 0, the IWAE bound loses at least this much",
    "acceptance": "share of the Hamiltonian Monte Carlo moves that were accepted; about 0.65 is best",
    "ess": "effective number of chains per example, (sum w)^2 / sum w^2; if near 1, use more temperatures",
    "bdmc_lower": "log p(x) by AIS of examples drawn from the model: a lower bound in expectation",
    "bdmc_upper": "reverse AIS of the same drawn examples, from the z they were decoded from: an upper bound in "
    "expectation",
    "bdmc_gap": "bdmc_upper - bdmc_lower: the error of AIS is at most this on examples like the model's own",
}


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
    max_rows: int = MAX_ROWS,
) -> Result:
    """Estimate log p(x) by annealed importance sampling between p(z) and p(z) p(x|z), with Hamiltonian moves.

    The mean weight of the chains is an unbiased estimate of p(x), so that its log is a lower bound in expectation, as
    the IWAE bound is; but q(z|x) plays no part in it. Step sizes are tuned by example and temperature in a pilot run
    and then held fixed: chains that adapt as they go would be biased. All groups of a hierarchy move at once. A plain
    autoencoder has a p(x), too: that of its decoder under its prior, which its latent codes need not follow.

    The noise of an example depends on the seed and its index, so that numbers do not change with the batch size, except
    if rounding changes the acceptance of a move.

    Args:
        model: The model.
        data: Examples, in any form.
        temperatures, chains, leapfrog, seed, progress: See `Ais`.
        against: Evaluation that contains the IWAE bound of these examples, by their index; adds the paired difference.
        max_rows: (chain, example) pairs to move at once, at most.

    Returns:
        Estimates `ais`, `acceptance` and `ess`, and with `against` also `iwae` and `ais_minus_iwae`; per example
        `index`, `ais`, `acceptance` and `ess`.

    Raises:
        CompositionError: If latent codes do not lie in R^L (on a sphere, one-hot).
        InputError: If there are no examples, a number is below 1, or `against` is of other examples.
    """
    how = Annealing(temperatures, chains, leapfrog, seed)
    check_annealable(model)
    check_held("chains", chains, math.prod(model.shape) * model.likelihood.outputs, of="decoder outputs")
    parts: list[dict[str, Tensor]] = []
    with evaluating(model), _bar(data, how, 1, progress) as bar:
        for batch in batches(model, data, at_once(model, chains, max_rows)):
            seen = model.observe(batch, Noise("ais", seed))
            chain = Chains(model, seen, batch.positions(), how, "ais", bar.update)
            parts.append({"index": batch.positions(), **chain.forward("ais")})
    if not parts:
        raise InputError("there are no data to estimate log p(x) of; give at least one example")
    per_example = _joined(parts)
    facts = {"target": model.target_name, "samples": chains, "reason": model.observation.not_a_likelihood}
    estimator = f"AIS: log-mean-exp of {how.description()}"
    estimates = {"ais": mean(per_example["ais"], unit="nats", estimator=estimator, **facts)}
    if against is not None:
        estimates |= _paired(per_example, against, estimates["ais"])
    return _explained(estimates | _health(per_example, how), per_example)


def bdmc(
    model: VAE,
    n_samples: int = 50,
    *,
    temperatures: int = 1000,
    chains: int = 16,
    leapfrog: int = 10,
    seed: int = 0,
    like: Source | None = None,
    progress: bool = False,
    max_rows: int = MAX_ROWS,
) -> Result:
    """Bound the error of AIS by bidirectional Monte Carlo, on pairs (z, x) drawn from the model.

    AIS on x gives a lower bound on log p(x) in expectation, and the chain back from z, which is an exact draw from
    p(z|x), an upper bound. The gap bounds the error of AIS with these settings on such examples; real data may be
    harder.

    Args:
        model: The model.
        n_samples: Number of examples to draw. The first ones are the same whatever the number is.
        temperatures, chains, leapfrog, seed, progress: See `Ais`.
        like: Examples whose contexts and missing entries the drawn ones get, in turn; None: nothing is missing, and a
            conditional model gets its usual contexts, such as each class in turn.
        max_rows: (chain, example) pairs to move at once, at most.

    Returns:
        Estimates `bdmc_lower`, `bdmc_upper`, `bdmc_gap` (nats), `acceptance` and `ess`; per drawn example `lower`,
        `upper`, `gap`, `acceptance` and `ess`.

    Raises:
        CompositionError: If latent codes do not lie in R^L (on a sphere, one-hot).
        InputError: If a number is below 1, or `like` is missing although the model needs a context that only data have.
    """
    how = Annealing(temperatures, chains, leapfrog, seed)
    check_annealable(model)
    check_held("chains", chains, math.prod(model.shape) * model.likelihood.outputs, of="decoder outputs")
    whole("n_samples", n_samples, least=1)
    parts, size = [], at_once(model, chains, max_rows)
    with evaluating(model), _bar(range(n_samples), how, 2, progress) as bar:
        given = _given(model, n_samples, like)
        for rows in torch.arange(n_samples).split(size):
            seen, codes = simulated(model, rows, given, seed)
            chain = Chains(model, seen, rows, how, "bdmc", bar.update)
            parts.append({**chain.forward("lower"), "upper": chain.backward(codes)})
    per_example = _joined(parts)
    per_example["gap"] = per_example["upper"] - per_example["lower"]
    target = ", ".join(["examples drawn from the model", *model.conditions])
    facts = {"unit": "nats", "target": target, "samples": chains}
    forward, reverse = f"AIS: log-mean-exp of {how.description()}", f"reverse AIS from the exact z: {how.description()}"
    estimates = {
        "bdmc_lower": mean(per_example["lower"], estimator=forward, **facts),
        "bdmc_upper": mean(per_example["upper"], estimator=reverse, **facts),
        "bdmc_gap": mean(per_example["gap"], estimator="mean of paired differences, upper - lower", **facts),
    }
    return _explained(estimates | _health(per_example, how), per_example)


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Array]:
    return {name: torch.cat([part[name].cpu() for part in parts]).numpy() for name in parts[0]}


def _given(model: VAE, n: int, like: Source | None) -> Batch:
    """Return contexts and masks for n examples, as an observed batch whose x are not used."""
    if like is None:
        context, offset = contexts(model, n), model.likelihood.draw_offset(n, Noise("bdmc", "offset"))
        like_weights = next(model.parameters(), torch.empty(0))
        context = None if context is None else context.to(like_weights)
        return Batch(torch.empty(n, 0), context=context, offset=offset)
    seen = model.observe(first(model, like, n).to(model.device), Noise("bdmc"))
    take = torch.arange(n, device=model.device) % len(seen)
    beside = {"context": seen.context, "mask": seen.mask, "offset": seen.offset}
    return Batch(torch.empty(n, 0), **{name: part[take] for name, part in beside.items() if part is not None})


def simulated(model: VAE, rows: Tensor, given: Batch, seed: int) -> tuple[Batch, Tensor]:
    """Return observed examples and the latent codes (B, L) that they were made of, each by noise of its own."""
    contexts, offsets = (
        [None if every is None else every[i : i + 1] for i in rows.tolist()] for every in (given.context, given.offset)
    )
    noises = [Noise("bdmc", "simulate", seed, i) for i in rows.tolist()]
    codes = [model.latents.draw(1, noise, context) for noise, context in zip(noises, contexts, strict=True)]
    each = zip(noises, contexts, offsets, codes, strict=True)
    x = [draw(model.decode(z, context, offset), (), noise) for noise, context, offset, z in each]
    return replace(given[rows.to(model.device)], x=torch.cat(x)), torch.cat(codes)


def _bar(data: Any, how: Annealing, ways: int, shown: bool) -> Any:
    """Return a progress bar over the temperatures of all examples: the pilot run and this many ways along the path."""
    from tqdm.auto import tqdm

    try:
        total = len(data) * ((1 + ways) * how.temperatures - 1)
    except TypeError:  # a stream
        total = None
    return tqdm(total=total, disable=not shown or None, unit="temperature", unit_scale=True, leave=False)


def _paired(per_example: Mapping[str, Array], against: Evaluation, ais: Estimate) -> dict[str, Estimate]:
    """Return the IWAE bound of the same examples, and the difference."""
    facts: dict[str, Any] = {"unit": "nats", "target": ais.target}
    bound, samples = against.per_example.get("iwae"), against["iwae"].samples
    if bound is None:
        reason = (
            f"{against['iwae'].reason}; AIS estimates p(x) of the decoder under the prior, which the latent codes of "
            "such a model need not follow"
        )
        missing = Estimate.missing(reason, n=ais.n, **facts)
        return {"iwae": missing, "ais_minus_iwae": missing}
    place = {int(index): i for i, index in enumerate(against.per_example["index"])}
    unknown = [int(index) for index in per_example["index"] if int(index) not in place]
    if unknown:
        raise InputError(f"against= has no example {unknown[0]}; give the evaluation of the same split")
    iwae = bound[[place[int(index)] for index in per_example["index"]]]
    how = f"log-mean-exp of {samples} importance weights from q(z|x)"
    return {
        "iwae": mean(iwae, estimator=how, samples=samples, reason=ais.reason, **facts),
        "ais_minus_iwae": mean(per_example["ais"] - iwae, estimator=f"paired: AIS minus IWAE-{samples}", **facts),
    }


def _health(per_example: Mapping[str, Array], how: Annealing) -> dict[str, Estimate]:
    """Return how well the chains moved."""
    facts = {"target": "the chains of AIS", "samples": how.chains}
    acceptance = mean(
        per_example["acceptance"], unit="share", estimator="mean over moves of the probability of acceptance", **facts
    )
    if how.temperatures == 1:
        why = "there are no moves: one temperature is importance sampling from p(z)"
        acceptance = Estimate.missing(why, n=acceptance.n, unit="share", **facts)
    return {
        "acceptance": acceptance,
        "ess": mean(per_example["ess"], unit="chains", estimator="Kish, by example", **facts),
    }


def _explained(estimates: Mapping[str, Estimate], per_example: Mapping[str, Array]) -> Result:
    described = {name: replace(each, description=DESCRIPTIONS[name]) for name, each in estimates.items()}
    return Result(described, per_example=per_example)
