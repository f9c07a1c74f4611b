"""Attribute vectors, which are directions in latent space that change a label."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.model import VAE
from tightbound.core.schema import UNNAMED, Schema
from tightbound.core.terms import class_numbers

Direction = Literal["means", "probe"]


def vector_of_codes(
    codes: Tensor,
    labels: Tensor,
    label: int,
    against: int | None = None,
    *,
    names: Schema = UNNAMED,
    direction: Direction = "means",
) -> Tensor:
    """Return the vector (latent,) from one class to another, given latent codes (N, latent) and labels (N,).

    Args:
        codes: Latent codes (N, latent).
        labels: Class (N,) of each latent code.
        label: Class to move to.
        against: Class to move from; None: all other classes.
        names: Names of the classes, for messages.
        direction: "means": difference of the class means. "probe": normal of the plane by which logistic regression on
            standardized codes separates the classes, with the length of the distance between the means along it. A
            probe contains less of other attributes that are correlated with this one.
    """
    if direction not in get_args(Direction):
        raise InputError(f"direction = {direction!r}; needed: one of {', '.join(get_args(Direction))}")
    there = labels == label
    here = ~there if against is None else labels == against
    for name, rows in ((label, there), ("others" if against is None else against, here)):
        if not rows.any():
            known = ", ".join(names.class_name(v) for v in labels.unique().tolist()[:20])
            given = name if isinstance(name, str) else names.class_name(name)
            raise InputError(f"no example has label {given}; known labels: {known}")
    if label == against:
        raise InputError(f"label= and against= are both {label}; pass two labels, or leave out against= for all others")
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
    """Return class labels (N,) as whole numbers, taking one factor if there are several.

    Raises:
        InputError: If there are no class labels.
    """
    if labels is None:
        raise InputError("the examples have no labels; pass labeled examples")
    numbers = class_numbers(labels)
    if factor is None and numbers is not None:
        return numbers
    if labels.dim() == 2:
        if factor is None or not 0 <= factor < labels.shape[1]:
            raise InputError(
                f"labels have {labels.shape[1]} factors; choose one with factor=, from 0 to {labels.shape[1] - 1}"
            )
        labels = labels[:, factor]
    elif factor is not None:
        raise InputError(f"factor = {factor}, but each example has one label; leave out factor=")
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise InputError("the labels are not whole numbers; pass class labels")
    return labels.long()


def refuse_completion(model: VAE) -> None:
    """Raise CompositionError if latent codes describe only the hidden part of examples."""
    if model.context is not None and model.context.completes:
        raise CompositionError(
            "the latent codes of a model that completes examples depend on the visible part; use another model"
        )
