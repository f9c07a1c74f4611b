"""Normalizing flows: invertible networks with a tractable Jacobian, from zuko."""

from __future__ import annotations

from torch import nn
from torch.distributions import Distribution

from tightbound.core.errors import InputError, suggestion, whole
from tightbound.nn.base import as_sizes

FLOWS = {"maf": "MAF", "nsf": "NSF", "realnvp": "RealNVP"}


def build_flow(kind: str, features: int, context: int, transforms: int, hidden: tuple[int, ...]) -> nn.Module:
    """Build a normalizing flow that starts as the identity.

    The result is a module. Called with a context (..., context) or None, it returns a bijection of R^features as a
    torch Transform with `inv` and `call_and_ladj`. An autoregressive flow takes one pass towards the noise and
    `features` passes back; a coupling flow takes one pass in each direction.

    Args:
        kind: "maf" (Papamakarios et al. 2017, https://arxiv.org/abs/1705.07057), "nsf" (Durkan et al. 2019,
            https://arxiv.org/abs/1906.04032; autoregressive, the identity outside [-5, 5]) or "realnvp" (Dinh et al.
            2017, https://arxiv.org/abs/1605.08803).
        features: Dimension of the space.
        context: Size of the context; 0: no context.
        transforms: Number of transforms; the order of the features alternates between them.
        hidden: Widths of the hidden layers of each transform.

    Raises:
        InputError: If the kind is unknown or a size is invalid.
    """
    if kind not in FLOWS:
        raise InputError(f"flow {kind!r} is unknown; {suggestion(str(kind), FLOWS)}")
    steps, widths = whole("transforms", transforms, least=1), as_sizes("hidden", hidden)
    validate = Distribution._validate_args
    import zuko  # turns validation off for all of torch.distributions

    Distribution.set_default_validate_args(validate)
    flow = getattr(zuko.flows, FLOWS[kind])(features, context, transforms=steps, hidden_features=widths)
    for step in flow.transform.transforms:
        # for one feature without a context, the step has free parameters instead of a network
        for last in step.hyper[-1].parameters() if hasattr(step, "hyper") else step.phi:
            nn.init.zeros_(last)
    return flow.transform
