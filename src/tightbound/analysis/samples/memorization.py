"""Whether samples are copies of training data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Analysis, Array, Estimate, estimate, mean
from tightbound.analysis.samples.neighbors import as_data, inputs, nearest, observed, realized
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches
from tightbound.inference.infer import sample

SHOWN = 8  # samples that are kept beside their neighbors
FITTED = 10_000  # training data that principal components are fitted to, at most


@dataclass(frozen=True)
class Memorization(Analysis):
    """How near samples are to training data, against how near test data are."""

    distance: Mapping[str, Array]  # "samples" (n,), "test" (N,): to the nearest training example
    closest: Tensor  # (SHOWN, *shape) the samples that are nearest to training data
    neighbors: Tensor  # (SHOWN, *shape) those training data

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings: the distances by their percentiles."""
        at = np.linspace(0, 100, 101)
        return {
            **super().to_json(),
            "percentiles": {name: np.percentile(values, at).tolist() for name, values in self.distance.items()},
        }


def memorization(
    model: VAE,
    train: Source,
    test: Source,
    *,
    n: int = 1000,
    components: int | None = None,
    seed: int = 0,
    samples: Tensor | None = None,
) -> Memorization:
    """Compares distances to the nearest training example: of samples, and of test data, which cannot be copies.

    Samples are draws of x, not means of p(x | z): a mean is smoother than any example, and so nearer to all of them. Test
    data are as the likelihood sees them: in mode "expected" of binarization, bits. Samples lack what test data lack.
    Distances are Euclidean, between these as the encoder sees them. Held-out data from the same source give a z-score
    of about N(0, 1); clearly negative ones are copying. A model that fits badly has a positive one, which says that its
    samples are far from all data, not that they are novel.

    Arguments:
        train: What the model was trained on.
        test: Data that it was not, from the same source.
        n: Samples.
        components: Compare this many principal components of the training data; None: all elements.
        samples: (n, *shape) in place of the model's own, from anywhere.

    Raises:
        InputError: fewer than two data, or samples of another shape.
        CompositionError: a model that completes data, whose samples hold a part of them.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3 (the test on
        one cell), https://arxiv.org/abs/2004.05675; authenticity: How faithful is your synthetic data? (Alaa et al.
        2022), Section 3, https://arxiv.org/abs/2102.08921
    """
    held = [batch.to("cpu") for batch in batches(model, test, 1000)]
    drawn = _samples(model, held, whole("n", n, least=2), seed) if samples is None else samples
    total = sum(map(len, held))
    if tuple(drawn.shape[1:]) != tuple(model.shape) or total < 2 or len(drawn) < 2:
        raise InputError(
            f"samples have shape {tuple(drawn.shape)} and there are {total} test data; "
            f"needed: two or more of each, of shape {tuple(model.shape)}"
        )
    real = torch.cat([realized(model, batch, seed) for batch in held])
    lacking = drawn.masked_fill(torch.isnan(real)[_spread(len(drawn), total)], torch.nan)
    project = _projection(model, train, components, seed)
    compared = [as_data(model, part).to(model.device) for x in (lacking, real) for part in x.split(1000)]
    points = torch.cat([project(observed(model, part, seed)) for part in compared])

    def blocks() -> Iterator[Tensor]:
        return (project(block) for block in inputs(model, train, seed))

    distance, where = nearest(points, blocks())
    neighbors = _rows(model, train, where)
    seen = [observed(model, neighbors[i : i + 1000].to(model.device), seed) for i in range(0, len(where), 1000)]
    between, _ = nearest(project(torch.cat(seen)), blocks(), own=where)
    apart = distance.double().numpy(), between.double().numpy()
    best = distance[: len(drawn)].argsort(stable=True)[:SHOWN]
    return Memorization(
        _numbers(model, *apart, len(drawn), components, seed),
        {"samples": apart[0][: len(drawn)], "test": apart[0][len(drawn) :]},
        drawn[best],
        neighbors.x[best],
    )


def mann_whitney(x: Array, y: Array) -> tuple[float, float]:
    """P(X < Y) + P(X = Y) / 2 from samples (n,) and (m,), and the z-score of x's being greater than y: negative where
    x tends to be less. With the correction for ties.

    References:
        On a test of whether one of two random variables is stochastically larger than the other (Mann and Whitney 1947)
    """
    n, m = len(x), len(y)
    _, place, count = np.unique(np.concatenate([x, y]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # of ties, the middle one
    greater = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    ties = (count**3.0 - count).sum() / (total * (total - 1))
    spread = math.sqrt(max(n * m / 12 * (total + 1 - ties), 1e-300))
    return 1 - greater / (n * m), (greater - n * m / 2) / spread


def _samples(model: VAE, held: list[Batch], n: int, seed: int) -> Tensor:
    """Draws of x; of a model conditioned on labels, given those of test data."""
    if model.context is None:
        return sample(model, n, draw=True, seed=seed)
    if model.context.completes:
        raise CompositionError(
            "a model that completes data draws samples that hold a part of them: all are near to data"
        )
    labels = [batch.label for batch in held if batch.label is not None]
    given = torch.cat(labels) if labels else None
    return sample(model, n, draw=True, seed=seed, context=None if given is None else given[_spread(n, len(given))])


def _spread(n: int, total: int) -> Tensor:
    """(n,) rows of `total` data, from the first to the last: all alike where n is a multiple."""
    return torch.arange(n) * total // n


def _rows(model: VAE, data: Source, where: Tensor) -> Batch:
    """The raw data at these positions (Q,), which may repeat, read in one pass."""
    out: dict[str, Tensor] = {}
    start = 0
    for batch in batches(model, data, 1000):
        hit = (where >= start) & (where < start + len(batch))
        for name in ("x", "index"):
            value = getattr(batch, name).cpu()
            out.setdefault(name, value.new_zeros(len(where), *value.shape[1:]))
            out[name][hit] = value[where[hit] - start]
        start += len(batch)
    return Batch(out["x"], index=out["index"])  # observations that draw bits take those of the index


def _projection(model: VAE, train: Source, components: int | None, seed: int) -> Any:
    """Onto the leading principal components of training data, or nothing at all."""
    if components is None:
        return lambda x: x
    from sklearn.decomposition import PCA

    whole("components", components, least=1)
    blocks, count = [], 0
    for block in inputs(model, train, seed):
        blocks.append(block[: FITTED - count].cpu())
        count += len(blocks[-1])
        if count >= FITTED:
            break
    x = torch.cat(blocks).double().numpy()
    if components > min(x.shape):
        raise InputError(f"components = {components}; needed: at most {min(x.shape)}, for data of shape {x.shape}")
    fitted = PCA(components, random_state=key_seed("memorisation", seed) % 2**32).fit(x)
    center, axes = (torch.from_numpy(value).float() for value in (fitted.mean_, fitted.components_))
    return lambda x: (x - center.to(x.device)) @ axes.to(x.device).T


def _numbers(
    model: VAE, distance: Array, between: Array, n: int, components: int | None, seed: int
) -> dict[str, Estimate]:
    drawn, held = distance[:n], distance[n:]
    space = "data as the encoder sees them" if components is None else f"{components} principal components"
    by = f"Euclidean distance to the nearest training example, {space}; {n:,} samples, {len(held):,} test data"
    probability, z = mann_whitney(drawn, held)
    # variance of P(X < Y): over x the mean of its share of y above, and the other way round
    above = [1 - np.searchsorted(np.sort(held), drawn) / len(held), np.searchsorted(np.sort(drawn), held) / n]
    stderr = math.sqrt(sum(values.var(ddof=1) / len(values) for values in above))
    ratio = drawn.mean() / max(held.mean(), 1e-300)
    relative = [values.std(ddof=1) / math.sqrt(len(values)) / max(values.mean(), 1e-300) for values in (drawn, held)]
    facts = {"n": len(held), "target": "draws of x from the model against test data"}
    numbers = {
        "copying_z": estimate(
            z, 1.0, unit="standard errors", estimator=f"Mann-Whitney z-score; {by}", **facts,
            description="below -3: samples are nearer to training data than test data are, that is copies; about 0: as near",
        ),
        "nearer_than_test": estimate(
            probability, stderr, unit="probability", estimator=f"Mann-Whitney U / (n m); {by}", **facts,
            description="that a sample is nearer to the training data than a test example is; 0.5: as near",
        ),
        "distance_ratio": estimate(
            ratio, ratio * math.hypot(*relative), unit="ratio", **facts,
            estimator=f"ratio of means, delta method; {by}",
            description="distance of samples to the nearest training example, over that of test data; 0: copies",
        ),
    }  # fmt: skip
    same = "nearer to its nearest training example than that one is to any other"
    for name, part, what in (("too_near", slice(None, n), "samples"), ("too_near_test", slice(n, None), "test data")):
        numbers[name] = mean(
            (distance[part] < between[part]).astype(float), unit="share", target=what, estimator=f"{same}; {space}",
            description=f"share of {what} that are {same.replace('its', 'their')}" + " (one less authenticity)",
        )  # fmt: skip
    return numbers
