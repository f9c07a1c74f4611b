"""What a label is in latent space: the vector that adds it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.model import VAE
from tightbound.data.feed import Source
from tightbound.inference.infer import encode

Direction = Literal["means", "probe"]


def attribute_vector(
    model: VAE,
    data: Source,
    of: int,
    against: int | None = None,
    *,
    factor: int | None = None,
    direction: Direction = "means",
    seed: int = 0,
) -> Tensor:
    """(latent,) what to add to a code so that it leaves one class for another, from the codes of labeled data.

    Arguments:
        of, against: Labels: where to, and where from; against None: from all others.
        factor: Which column of labels (N, factors) is meant.
        direction: As of `vector_of_codes`.

    Raises:
        InputError: no labels, or none of these; a model that completes data.

    References:
        Autoencoding beyond pixels (Larsen et al. 2016), Section 4.2, https://arxiv.org/abs/1512.09300
    """
    refuse_completion(model)
    codes = encode(model, data, seed=seed)
    return vector_of_codes(codes.mean, class_labels(codes.label, factor), of, against, direction=direction)


def vector_of_codes(
    codes: Tensor, labels: Tensor, of: int, against: int | None = None, *, direction: Direction = "means"
) -> Tensor:
    """(latent,) from codes (N, latent) and labels (N,).

    Arguments:
        direction: "means": the difference of the two classes' means. "probe": along the normal of the plane by which
            logistic regression on standardized codes tells the two apart, as far as the means are from each other
            along it: leaner where other attributes go along with this one in the data.
    """
    if direction not in get_args(Direction):
        raise InputError(f"direction = {direction!r}; needed: one of {', '.join(get_args(Direction))}")
    there = labels == of
    here = ~there if against is None else labels == against
    for label, rows in ((of, there), ("others" if against is None else against, here)):
        if not rows.any():
            known = ", ".join(str(v) for v in labels.unique().tolist()[:20])
            raise InputError(f"no example has label {label}; there are labels {known}")
    if of == against:
        raise InputError(f"label {of} was given against itself; give another label, or none for all others")
    if direction == "means":
        return codes[there].mean(0) - codes[here].mean(0)
    from sklearn.linear_model import LogisticRegression

    both = there | here
    mean, scale = codes[both].double().mean(0), codes[both].double().std(0).clamp_min(1e-12)
    standard = (codes.double() - mean) / scale
    fitted = LogisticRegression(max_iter=2000).fit(standard[both].numpy(), there[both].numpy())
    normal = torch.from_numpy(np.asarray(fitted.coef_)[0])
    normal = normal / normal.norm()
    length = (standard[there].mean(0) - standard[here].mean(0)) @ normal
    return (scale * normal * length).to(codes)


def class_labels(labels: Tensor | None, factor: int | None = None) -> Tensor:
    """(N,) whole labels, of a factor where there are several.

    Raises:
        InputError: where there are none.
    """
    if labels is None:
        raise InputError("the data have no labels; give data with labels")
    if labels.dim() == 2:
        if factor is None or not 0 <= factor < labels.shape[1]:
            raise InputError(f"labels have {labels.shape[1]} factors; say which, 0 to {labels.shape[1] - 1}: factor=")
        labels = labels[:, factor]
    elif factor is not None:
        raise InputError(f"factor = {factor}, but each example has one label; leave it out")
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise InputError("the labels are fractions and no classes; give whole numbers")
    return labels.long()


def refuse_completion(model: VAE) -> None:
    """Raises CompositionError where a code is that of an example's hidden part alone."""
    if model.context is not None and model.context.completes:
        raise CompositionError("the codes of a model that completes data depend on what is visible; use another model")
