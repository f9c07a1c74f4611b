"""Nearest training examples of samples and of test examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, estimate, mean_error, share
from tightbound.analysis.samples.neighbors import as_data, inputs, nearest_and_gap, observed, realized
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches
from tightbound.inference.infer import sample

SHOWN = 12  # samples that are shown above their nearest training examples
FITTED = 10_000  # training examples that principal components are fitted to, at most


class Copies(NamedTuple):
    """How near samples are to training examples, compared with test examples.

    Attributes:
        estimates: Estimates by name.
        distance: "samples" (n,) and "test" (N,): distances to the nearest training example.
        closest: The samples (SHOWN, *shape) that are nearest to a training example.
        neighbors: Those training examples (SHOWN, *shape).
    """

    estimates: Mapping[str, Estimate]
    distance: Mapping[str, Array]
    closest: Tensor
    neighbors: Tensor


def memorization(
    model: VAE,
    train: Source,
    test: Source,
    *,
    n_samples: int = 1000,
    components: int | None = None,
    seed: int = 0,
    samples: Tensor | None = None,
) -> Copies:
    """Compare the distances to the nearest training example of samples and of test examples.

    Samples are draws of x, not means of p(x|z): a mean is smoother than any example, and so nearer to all of them. Test
    examples are taken as the likelihood sees them (as bits, if binarization is "expected"). Values that are missing in
    the test examples are removed from the samples too. Distances are Euclidean, between encoder inputs. Held-out data
    from the same source give a z-score of about N(0, 1); clearly negative ones are copying. A model that fits badly has
    a positive one: its samples are far from all data, which does not make them novel.

    Args:
        model: The model.
        train: Data that the model was trained on.
        test: Examples from the same source that it was not trained on.
        n_samples: See `Memorization`, like `components` and `seed`.
        samples: Samples (n, *shape) from elsewhere, instead of the model's.

    Raises:
        InputError: If there are fewer than two samples or test examples, or the samples have another shape.
        CompositionError: If the model completes examples, so that its samples contain a part of them.
    """
    held = [batch.to("cpu") for batch in batches(model, test, 1000)]
    check_held("n_samples", whole("n_samples", n_samples, least=2), math.prod(model.shape), of="samples")
    drawn = _samples(model, held, n_samples, seed) if samples is None else samples
    total = sum(map(len, held))
    if tuple(drawn.shape[1:]) != tuple(model.shape) or total < 2 or len(drawn) < 2:
        raise InputError(
            f"samples have shape {tuple(drawn.shape)} and there are {total} test examples; "
            f"needed: two or more of each, with examples of shape {tuple(model.shape)}"
        )
    real = torch.cat([realized(model, batch, seed) for batch in held])
    lacking = drawn.masked_fill(torch.isnan(real)[_spread(len(drawn), total)], torch.nan)
    project = _projection(model, train, components, seed)
    compared = [as_data(model, part).to(model.device) for x in (lacking, real) for part in x.split(1000)]
    points = torch.cat([project(observed(model, part, seed)) for part in compared])

    def blocks() -> Iterator[Tensor]:
        return (project(block) for block in inputs(model, train, seed))

    distance, where, between = nearest_and_gap(points, blocks)
    apart = distance.double().numpy(), between.double().numpy()
    best = distance[: len(drawn)].argsort(stable=True)[:SHOWN]
    space = "encoder inputs" if components is None else f"{components} principal components"
    return Copies(
        nearness(*apart, len(drawn), space),
        {"samples": apart[0][: len(drawn)], "test": apart[0][len(drawn) :]},
        drawn[best],
        _rows(model, train, where[best]).x,
    )


def mann_whitney(x: Array, y: Array) -> tuple[float, float]:
    """Return P(X < Y) + P(X = Y) / 2, and the z-score of the Mann-Whitney test, negative if x tends to be less than y.

    References:
        On a test of whether one of two random variables is stochastically larger than the other (Mann and Whitney 1947)
    """
    from scipy.stats import rankdata, tiecorrect

    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    greater = ranks[:n].sum() - n * (n + 1) / 2
    spread = math.sqrt(max(n * m / 12 * (n + m + 1) * tiecorrect(ranks), 1e-300))
    return 1 - greater / (n * m), (greater - n * m / 2) / spread


def _samples(model: VAE, held: list[Batch], n: int, seed: int) -> Tensor:
    """Return draws of x; if the model is conditional, given the contexts of test examples."""
    if model.context is None:
        return sample(model, n, draw=True, seed=seed)
    if model.context.completes:
        raise CompositionError(
            "samples of a model that completes examples contain a part of them, so that all are near to the data"
        )
    told = [batch.beside for batch in held if batch.beside is not None]
    given = torch.cat(told) if told else None
    return sample(model, n, draw=True, seed=seed, context=None if given is None else given[_spread(n, len(given))])


def _spread(n: int, total: int) -> Tensor:
    """Return n positions (n,) spread evenly over `total` examples."""
    return torch.arange(n) * total // n


def _rows(model: VAE, data: Source, where: Tensor) -> Batch:
    """Return the raw examples at positions (Q,), which may repeat, reading the data once."""
    out: dict[str, Tensor] = {}
    start = 0
    for batch in batches(model, data, 1000):
        hit = (where >= start) & (where < start + len(batch))
        for name, value in (("x", batch.x.cpu()), ("origin", batch.origins().cpu())):
            out.setdefault(name, value.new_zeros(len(where), *value.shape[1:]))
            out[name][hit] = value[where[hit] - start]
        start += len(batch)
    return Batch(out["x"], origin=out["origin"])  # observations that draw bits use it


def _projection(model: VAE, train: Source, components: int | None, seed: int) -> Callable[[Tensor], Tensor]:
    """Return the projection onto leading principal components of the training data, or the identity."""
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
        raise InputError(f"components = {components}; needed: at most {min(x.shape)}, for inputs of shape {x.shape}")
    fitted = PCA(components, random_state=key_seed("memorisation", seed) % 2**32).fit(x)
    center, axes = (torch.from_numpy(value).float() for value in (fitted.mean_, fitted.components_))
    return lambda x: (x - center.to(x.device)) @ axes.to(x.device).T


def nearness(distance: Array, between: Array, n: int, space: str) -> dict[str, Estimate]:
    """Compare the distance of n samples to the nearest training example with that of test examples.

    Args:
        distance: Distance (n + m,) of each sample, then of each test example, to the nearest training example.
        between: Distance (n + m,) of this training example to its nearest other training example.
        n: Number of samples.
        space: Space in which distances are measured, for captions.
    """
    drawn, held = distance[:n], distance[n:]
    by = f"Euclidean distance to the nearest training example, {space}; {n:,} samples, {len(held):,} test examples"
    probability, z = mann_whitney(drawn, held)
    # variance of P(X < Y): over x, of its share of larger y; over y, of its share of smaller x
    above = [1 - np.searchsorted(np.sort(held), drawn) / len(held), np.searchsorted(np.sort(drawn), held) / n]
    stderr = math.hypot(*map(mean_error, above))
    ratio = drawn.mean() / max(held.mean(), 1e-300)
    relative = [mean_error(values) / max(values.mean(), 1e-300) for values in (drawn, held)]
    facts = {"n": len(held), "target": "draws of x from the model against test examples"}
    estimates = {
        "copying_z": estimate(
            z, 1.0, unit="standard errors", estimator=f"Mann-Whitney z-score; {by}", **facts,
            description="nearness of samples to training examples, compared with test examples; below -3: copies, "
            "about 0: "
            "equally near",
        ),
        "nearer_than_test": estimate(
            probability, stderr, unit="probability", estimator=f"Mann-Whitney U / (n m); {by}", **facts,
            description="a sample is nearer to the training data than a test example is; 0.5: equally near",
        ),
        "distance_ratio": estimate(
            ratio, ratio * math.hypot(*relative), unit="ratio", **facts,
            estimator=f"ratio of means, delta method; {by}",
            description="distance of samples to the nearest training example over that of test examples; 0: copies",
        ),
    }  # fmt: skip
    same = "equal to a training example, or nearer to one than that one is to any other"
    parts = (("too_near", slice(None, n), "samples"), ("too_near_test", slice(n, None), "test examples"))
    for name, part, what in parts:
        too_near = (distance[part] < between[part]) | (distance[part] == 0)
        estimates[name] = share(
            too_near, unit="share", target=what, estimator=f"{same}; {space}",
            description=f"{what} that are {same} (1 - authenticity)",
        )  # fmt: skip
    return estimates
