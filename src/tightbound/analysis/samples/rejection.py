"""Samples that a classifier recognizes: many are drawn, and the best of each class are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tightbound.analysis.samples.features.base import BATCH
from tightbound.analysis.samples.features.fitting import class_count, fit_features, named
from tightbound.core.errors import InputError, number, whole
from tightbound.core.latents import Draw
from tightbound.core.model import VAE
from tightbound.data import Data
from tightbound.inference import infer
from tightbound.training.checks import check_fits


class Kept(NamedTuple):
    """Of the samples that were drawn, those that were kept."""

    x: Tensor  # (n, *shape)
    classes: Tensor  # (n,) what each was asked to be, else what it is most probably
    drawn: int
    before: float  # mean probability of its class, of all that were drawn
    after: float  # of those that were kept
    judge: str  # the classifier, in words


def best_samples(
    model: VAE,
    data: Data,
    n: int,
    *,
    keep: float = 0.25,
    draw: bool = False,
    seed: int = 0,
    context: Tensor | None = None,
    codes: Draw | None = None,
    label: int | None = None,
    progress: bool = False,
) -> Kept:
    """Draws n / keep samples, and keeps the share of each class to which a classifier gives that class the highest
    probability: the class that was asked for, else the most probable one.

    What is kept is no longer a draw from the model: it is more typical of its class, and less various.

    Arguments:
        data: Labeled, what the classifier is trained on; it is kept for the next time (see `fit_features`).
        keep: Share of what is drawn, above 0 and below 1.
        draw, seed, context, codes: See `infer.sample`.
        label: The class of all that `codes` draws, where it is known.
        progress: Show a progress bar of the classifier's training on standard error.

    Raises:
        InputError: data without class labels, a model that is conditioned on something else than classes, or a class
            that the data have not.

    References:
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3.4,
        https://arxiv.org/abs/1906.00446
    """
    whole("n", n, least=1)
    number("keep", keep, above=0, below=1)
    if model.context is not None and not model.context.classes:
        raise InputError(
            f"keep judges samples by their class, and the model is one of x {model.context.description}; leave out keep"
        )
    check_fits(model, data)
    classes = class_count(data.train)
    if classes < 2:
        raise InputError(
            f"keep judges samples by a classifier of the data's labels, and {data.name} has no class labels (one whole "
            "number an example, two or more classes, each of 10 data on average); leave out keep, or give labels"
        )
    asked = None
    if model.context is not None:
        asked = model.context.examples(n) if context is None else torch.as_tensor(context)
        infer.contexts(model, n, asked)  # refuses what are no classes
    elif label is not None:
        asked = torch.tensor([label])
    if asked is not None and int(asked.max()) >= classes:
        raise InputError(f"class {int(asked.max())} was asked for and the data have 0 to {classes - 1}")
    features = fit_features(data, "classifier", progress=progress)

    def drawn(total: int, wanted: Tensor | None) -> Tensor:
        given = wanted if model.context is not None else None
        return infer.sample(model, total, draw=draw, seed=seed, context=given, codes=codes)

    def probabilities(x: Tensor) -> Tensor:
        return torch.cat([features.probabilities(features.of(part)) for part in x.split(BATCH)])

    return _kept(drawn, probabilities, n, keep, asked, named(features, data, 0))


def _kept(
    draw: Callable[[int, Tensor | None], Tensor],
    probabilities: Callable[[Tensor], Tensor],
    n: int,
    keep: float,
    asked: Tensor | None,
    judge: str,
) -> Kept:
    if asked is None:
        x = draw(math.ceil(n / keep), None)
        score, own = probabilities(x).max(1)
        quota = _quotas(own.bincount(), n)
        chosen = torch.cat([_best(score, own == c, int(most)) for c, most in enumerate(quota)]).sort().values
    else:
        turns = asked[torch.arange(n) % len(asked)].long()
        own = torch.cat([c.repeat(math.ceil(int((turns == c).sum()) / keep)) for c in turns.unique()])
        x = draw(len(own), own)
        score = probabilities(x).gather(1, own.unsqueeze(1)).squeeze(1)
        chosen = torch.empty(n, dtype=torch.long)
        for c in turns.unique():  # in turn, as they were asked for
            chosen[turns == c] = _best(score, own == c, int((turns == c).sum())).sort().values
    return Kept(x[chosen], own[chosen], len(x), float(score.mean()), float(score[chosen].mean()), judge)


def _best(score: Tensor, among: Tensor, most: int) -> Tensor:
    """Places of the highest scores among some."""
    places = among.nonzero().squeeze(1)
    return places[score[places].topk(most).indices]


def _quotas(counts: Tensor, n: int) -> Tensor:
    """n in proportion to counts, in whole numbers, by largest remainder."""
    exact = counts.double() * n / counts.sum()
    quotas = exact.floor().long()
    more = (exact - quotas).argsort(descending=True, stable=True)[: n - int(quotas.sum())]
    quotas[more] += 1
    return quotas
