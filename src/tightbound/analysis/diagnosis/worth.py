"""Value of a latent code to the decoder, and its rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.estimator import MAX_ROWS, at_once
from tightbound.analysis.estimate import Array, Estimate, mean, ratio
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import evaluating
from tightbound.inference.infer import Codes

STEP = 0.2  # of log scale: small compared with the posterior's width, and large compared with rounding
SCALES = tuple(math.exp(0.5 * k) for k in range(-6, 7) if k)  # from a twentieth to twenty


def costs(model: VAE, data: Batch, codes: Tensor, seed: int = 0, max_rows: int = MAX_ROWS) -> Array:
    """Return -log p(x | z) of raw examples (N, *shape) at flat codes (N, latent), nats (N,) in the measure of the raw
    data."""
    return -_at(model, data, codes, seed, max_rows, model.log_likelihood)


def _at(
    model: VAE, data: Batch, codes: Tensor, seed: int, max_rows: int, density: Callable[[Batch, Tensor], Tensor]
) -> Array:
    """Return a density of observed examples and their codes (1, B, latent), for all examples (N,)."""
    out, size = [], at_once(model, 1, max_rows)
    with evaluating(model):
        for start in range(0, len(data), size):
            seen = model.observe(data[start : start + size].to(model.device), Noise("evaluate", seed))
            z = codes[start : start + size].to(seen.x)
            out.append(density(seen, z.unsqueeze(0))[0].cpu().double())
    return torch.cat(out).numpy()


def swapped(model: VAE, data: Batch, codes: Tensor, seed: int = 0) -> Estimate:
    """Return how many nats more an example costs, on average, if decoded from the next one's code (N, latent).

    It is zero if the decoder ignores z. In a conditional model both have the context of the example.
    """
    own, other = costs(model, data, codes, seed), costs(model, data, codes.roll(1, 0), seed)
    return mean(
        other - own, unit="nats", target="-log p(x|z)",
        description="what decoding another example's latent code costs; 0 if z is ignored",
        estimator="paired difference, the next example's code against its own, one draw each",
    )  # fmt: skip


def constant_code(model: VAE, data: Batch, codes: Tensor, seed: int = 0, candidates: int = 8) -> Tensor:
    """Return the code (latent,) from which examples cost least if all are decoded from it.

    The mean of their codes and the first few of them are tried on the first 100 examples.
    """
    few = data[:100]
    tried = [codes.mean(0), *codes[:candidates]]
    found = [costs(model, few, code.expand(len(few), -1), seed).mean() for code in tried]
    return tried[int(np.argmin(found))]


class Exchange(NamedTuple):
    """Exchange of rate for distortion at which a posterior has settled.

    Attributes:
        rate: Nats of distortion that a nat of rate saves; missing past the turning point, where wider noise costs more
            rate.
        width: Factor on the posterior's noise that is best for the ELBO, among `SCALES` and 1.
        gain: Nats of ELBO that this factor would add.
        too_wide: Distortion minus twice the rate, if that falls, that noise wider by e^0.4 costs: above 0 if the rate
            is worth more than twice its price.
        too_narrow: Half of the rate minus the distortion, by which noise wider by e^0.4 is cheaper: above 0 if the rate
            is worth less than half of its price.
    """

    rate: Estimate
    width: Estimate
    gain: Estimate
    too_wide: Estimate
    too_narrow: Estimate


def exchange(model: VAE, data: Batch, codes: Codes, seed: int = 0, max_rows: int = MAX_ROWS) -> Exchange:
    """Estimate the exchange rate -dD/dR as the posterior's noise is rescaled around its means.

    A code z = m + (z - m) becomes m + t (z - m). Its entropy is that of q(z | x) plus L log t, whatever q is, so that
    both D(t) = -E log p(x | z) and R(t) = E[log q - log p] are known. If q minimizes D + beta R over a family that
    contains its own rescaled members, the slope is beta: 1 for an ELBO, on the data that it was trained on. R(t) has a
    minimum, at the width of the prior: noise that is wider than that costs distortion and rate, so that the slope is
    negative although the posterior is too wide. Hierarchies have no such family, since the posteriors of lower groups
    follow the draws of higher ones.

    Args:
        model: The model; its latents lie in R^L.
        data: Raw examples.
        codes: Latent codes of these examples, with a draw each.
        seed: Random seed.
        max_rows: Examples to decode at once, at most.

    References:
        Fixing a broken ELBO (Alemi et al. 2018), Section 2, https://arxiv.org/abs/1711.00464
    """
    z, center = drawn(codes).double(), codes.mean.double()

    def at(scale: float) -> tuple[Array, Array]:
        moved = center + scale * (z - center)
        log_p = _at(model, data, moved, seed, max_rows, lambda seen, z: model.log_prior(z, seen.context))
        return costs(model, data, moved, seed, max_rows), log_p + moved.shape[1] * math.log(scale)

    above, below, now = at(math.exp(STEP)), at(math.exp(-STEP)), at(1.0)
    saved, paid = above[0] - below[0], above[1] - below[1]  # R(t) = const - L log t - log p(z)
    falls = paid.mean() > 0  # the rate, as the noise widens
    description = "nats of distortion that another nat of rate would save: beta, at the optimum of D + beta R"
    facts: Any = {"unit": "nats per nat", "target": "-dD/dR on training data", "description": description}
    if not falls or paid.mean() < 1e-3:
        past = "wider noise would cost more rate, not less: the posterior is past the turning point"
        free = "the posterior's noise has no price: z carries nothing"
        rate = Estimate.missing(free if abs(paid.mean()) < 1e-3 else past, n=len(saved), **facts)
    else:
        how = f"ratio of mean differences between posterior noise scaled by e^{STEP:g} and e^-{STEP:g}, one draw each"
        rate = ratio(saved, paid, estimator=how, **facts)
    half = np.arange(len(saved)) % 2 == 0  # a scale is chosen on one half and judged on the other
    tried = {t: at(t) for t in SCALES} | {1.0: now}
    gains = {t: now[0] - cost - (now[1] - log_p) for t, (cost, log_p) in tried.items()}
    best = max(gains, key=lambda t: gains[t][half].mean())
    step: Any = {"unit": "nats", "target": f"noise scaled by e^{STEP:g} against e^-{STEP:g}, on training data"}
    return Exchange(
        rate,
        Estimate(
            best, None, n=len(saved), unit="times the noise", target="ELBO on training data",
            estimator=f"best of {len(tried)} factors, on half the data",
            description="factor on the posterior's noise that is best for the ELBO; below 1: it is too wide",
        ),
        mean(
            gains[best][~half], unit="nats", target="ELBO on training data",
            estimator=f"paired difference on half the data, noise scaled by {best:.2g}, chosen on the other half",
            description="what the ELBO would gain if the posterior were as wide as it should be",
        ),
        mean(
            saved - (2 * paid if falls else paid), estimator="distortion - 2 rate, or - rate if that rises", **step,
            description="above 0: posteriors are so wide that narrowing them pays twofold",
        ),
        mean(
            (paid / 2 if falls else paid) - saved, estimator="rate / 2, or rate if it rises, - distortion", **step,
            description="above 0: posteriors are so narrow that widening them pays twofold",
        ),
    )  # fmt: skip


def drawn(codes: Codes) -> Tensor:
    """Return the draws of q(z|x), (N, latent)."""
    if codes.sample is None:
        raise ValueError("the codes have no draws; encode with sample=True")
    return codes.sample
