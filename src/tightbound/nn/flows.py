"""Invertible networks with a tractable Jacobian, from zuko."""

from __future__ import annotations

from torch import nn
from torch.distributions import Distribution

from tightbound.core.errors import InputError, suggestion, whole
from tightbound.nn.base import as_sizes

FLOWS = {"maf": "MAF", "nsf": "NSF", "realnvp": "RealNVP"}


def build_flow(kind: str, features: int, context: int, transforms: int, hidden: tuple[int, ...]) -> nn.Module:
    """A module whose call, given a context (..., context) or None, is a bijection of R^features: a torch Transform,
    with `inv` and `call_and_ladj`; the identity at first.

    Arguments:
        kind: "maf" (Papamakarios et al. 2017, https://arxiv.org/abs/1705.07057), "nsf" (Durkan et al. 2019,
            https://arxiv.org/abs/1906.04032; autoregressive, the identity outside [-5, 5]) or "realnvp" (Dinh et al.
            2017, https://arxiv.org/abs/1605.08803). An autoregressive one takes one pass towards the noise and
            `features` passes back; a coupling one pass either way.
        transforms: How many follow each other, in alternating order of the features.
        hidden: Widths of the hidden layers of each.

    Raises:
        InputError: an unknown kind, or sizes that are none.
    """
    if kind not in FLOWS:
        raise InputError(f"there is no flow {kind!r}; {suggestion(str(kind), FLOWS)}")
    steps, widths = whole("transforms", transforms, least=1), as_sizes("hidden", hidden)
    validate = Distribution._validate_args
    import zuko  # which turns validation off for all of torch.distributions

    Distribution.set_default_validate_args(validate)
    flow = getattr(zuko.flows, FLOWS[kind])(features, context, transforms=steps, hidden_features=widths)
    for step in flow.transform.transforms:
        # of one feature without a context, the step has no network but free parameters
        for last in step.hyper[-1].parameters() if hasattr(step, "hyper") else step.phi:
            nn.init.zeros_(last)
    return flow.transform
