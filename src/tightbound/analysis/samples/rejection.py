"""Selection of samples: many are drawn, and those that a classifier recognizes best are kept."""

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
    """Samples that were kept.

    Attributes:
        x: Samples (n, *shape).
        classes: Class of each (n,): the one that was asked for, else the most probable one.
        drawn: Number of samples that were drawn.
        before: Mean probability of their class, over all samples that were drawn.
        after: The same, over those that were kept.
        judge: Name of the classifier.
    """

    x: Tensor
    classes: Tensor
    drawn: int
    before: float
    after: float
    judge: str


def best_samples(
    model: VAE,
    data: Data,
    n: int,
    *,
    keep: float = 0.25,
    draw: bool = False,
    seed: int = 0,
    context: infer.Values | None = None,
    codes: Draw | None = None,
    label: int | str | None = None,
    progress: bool = False,
) -> Kept:
    """Draw n / keep samples, and keep those of each class that a classifier assigns to it with the highest probability.

    The class of a sample is the one that was asked for, else the most probable one. Samples that are kept are no longer
    draws from the model: they are more typical of their class, and less diverse.

    Args:
        model: The model.
        data: Labeled data that the classifier is trained on; it is stored for the next time (see `fit_features`).
        n: Number of samples to keep.
        keep: Share of the samples to keep, above 0 and below 1.
        codes, draw, context, seed: See `infer.sample`.
        label: Class of all samples from `codes`, if it is known.
        progress: Show a progress bar of the classifier's training on standard error.

    Raises:
        InputError: If the data have no class labels or not this class, or the model is conditioned on something other
            than classes.

    References:
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3.4,
        https://arxiv.org/abs/1906.00446
    """
    whole("n", n, least=1)
    number("keep", keep, above=0, below=1)
    infer.check_samples(model, math.ceil(n / keep), "n / keep")
    if model.context is not None and not model.context.classes:
        raise InputError(
            f"keep= selects samples by class, and the model describes x {model.context.description}; leave out keep="
        )
    check_fits(model, data)
    classes = class_count(data.train)
    if classes < 2:
        raise InputError(
            f"keep= selects samples with a classifier of the data's labels, and {data.name} has no class labels (one "
            "whole number per example, two or more classes, 10 examples per class on average); leave out keep=, or "
            "give labels"
        )
    asked = None
    if model.context is not None:
        asked = torch.as_tensor(model.schema.class_numbers(model.context.examples(n) if context is None else context))
        infer.contexts(model, n, asked)  # rejects values that are not classes
    elif label is not None:
        asked = torch.tensor([model.schema.class_number(label)])
    if asked is not None and int(asked.max()) >= classes:
        raise InputError(f"class {int(asked.max())} was asked for; the data have classes 0 to {classes - 1}")
    features = fit_features(data, "classifier", progress=progress)

    def drawn(total: int, wanted: Tensor | None) -> Tensor:
        given = wanted if model.context is not None else None
        return infer.sample(model, total, draw=draw, seed=seed, context=given, codes=codes)

    def probabilities(x: Tensor) -> Tensor:
        return torch.cat([features.probabilities(features.of(part)) for part in x.split(BATCH)])

    return keep_best(drawn, probabilities, n, keep, asked, named(features, data, 0))


def keep_best(
    draw: Callable[[int, Tensor | None], Tensor],
    probabilities: Callable[[Tensor], Tensor],
    n: int,
    keep: float,
    asked: Tensor | None,
    judge: str,
) -> Kept:
    """Draw n / keep samples and keep the best of each class, in proportion to how often the classes were drawn.

    Args:
        draw: Draws samples (total, *shape), given their number and, if classes were asked for, the class of each.
        probabilities: Probabilities (N, classes) of samples (N, *shape).
        n: Number of samples to keep.
        keep: Share of the samples to keep.
        asked: Classes that were asked for, repeated up to n; None for the most probable ones.
        judge: Name of the classifier.
    """
    if asked is None:
        x = draw(math.ceil(n / keep), None)
        score, own = probabilities(x).max(1)
        quota = whole_quotas(own.bincount(), n)
        chosen = torch.cat([_best(score, own == c, int(most)) for c, most in enumerate(quota)]).sort().values
    else:
        turns = asked[torch.arange(n) % len(asked)].long()
        own = torch.cat([c.repeat(math.ceil(int((turns == c).sum()) / keep)) for c in turns.unique()])
        x = draw(len(own), own)
        score = probabilities(x).gather(1, own.unsqueeze(1)).squeeze(1)
        chosen = torch.empty(n, dtype=torch.long)
        for c in turns.unique():  # in the order in which they were asked for
            chosen[turns == c] = _best(score, own == c, int((turns == c).sum())).sort().values
    return Kept(x[chosen], own[chosen], len(x), float(score.mean()), float(score[chosen].mean()), judge)


def _best(score: Tensor, among: Tensor, most: int) -> Tensor:
    """Return the positions of the highest scores among some."""
    places = among.nonzero().squeeze(1)
    return places[score[places].topk(most).indices]


def whole_quotas(counts: Tensor, n: int) -> Tensor:
    """Distribute n in proportion to counts, in whole numbers, by largest remainder."""
    exact = counts.double() * n / counts.sum()
    quotas = exact.floor().long()
    more = (exact - quotas).argsort(descending=True, stable=True)[: n - int(quotas.sum())]
    quotas[more] += 1
    return quotas
