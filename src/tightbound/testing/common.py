"""Shared checks of law suites: gradients that reach every parameter, refusals, and rebuilding from a description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tightbound.components import describe, foreign, rebuild
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Likelihood


def gradients_of(value: Tensor, leaves: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the gradients of `value` with respect to `leaves`.

    Raises:
        AssertionError: A gradient is missing or not finite; the message names the leaf.
    """
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True) if leaves else ()
    found = []
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name} of shape {tuple(leaf.shape)}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} of shape {tuple(leaf.shape)} is not finite"
        found.append(gradient)
    return found


def check_rebuilt(component: Any, evaluate: Callable[[Any], Tensor]) -> None:
    """Check that the module rebuilt from a component's description, with its weights, gives the same numbers.

    Raises:
        AssertionError: It does not.
    """
    description = describe(component)
    if foreign(description):
        return
    again = rebuild(description, trust=True).double().train(component.training)
    again.load_state_dict(component.state_dict())
    assert torch.equal(evaluate(again), evaluate(component)), f"the rebuilt {type(component).__name__} differs"


def refuses(likelihood: Likelihood, target: Domain) -> bool:
    """Return whether a likelihood refuses targets of this domain."""
    try:
        likelihood.check_domain(target)
    except CompositionError:
        return True
    return False
