"""Draw code indices by inverting the distribution function, with optional temperature and top-k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from tightbound.core.dispatch import Dispatched
from tightbound.core.errors import CompositionError, number, whole
from tightbound.core.noise import Noise


@dataclass(frozen=True)
class Sharpening:
    """Temperature and top-k for drawing code indices; densities are not affected.

    Draws with a temperature other than 1, or with top_k, do not follow the model's distribution: with a temperature
    below 1, or with top_k, they are more typical and less varied.

    Args:
        temperature: Divisor of the logits; near 0, the most probable index is always drawn.
        top_k: Draw only the k most probable indices; None: all.

    Raises:
        InputError: If temperature is not above 0, or top_k is less than 1.
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        number("temperature", self.temperature, above=0)
        if self.top_k is not None:
            whole("top_k", self.top_k, least=1)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the changed logits (..., K), not normalized."""
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            kept = logits.topk(self.top_k, -1)
            logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
        if self.temperature != 1:  # shift the largest logit to 0 first, to prevent overflow
            least = torch.finfo(logits.dtype).tiny
            logits = (logits - logits.amax(-1, keepdim=True)) / max(self.temperature, least)
        return logits


@Dispatched
def draw_codes(distribution: Distribution, samples: Sequence[int], noise: Noise, sharpening: Sharpening) -> Tensor:
    """Draw code indices (*samples, *batch, P, depth), using one uniform number per index.

    Raises:
        CompositionError: If the distribution is not a distribution of code indices.
    """
    raise CompositionError(
        f"code indices cannot be drawn from a {type(distribution).__name__}; needed: the distribution that a code "
        "prior returns, or one with a method registered by draw_codes.register"
    )


@draw_codes.register
def _(distribution: Independent, samples: Sequence[int], noise: Noise, sharpening: Sharpening) -> Tensor:
    base = distribution.base_dist
    if not isinstance(base, Categorical):
        return draw_codes(base, samples, noise, sharpening)
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    logits = base.logits.to(torch.promote_types(base.logits.dtype, torch.float32))
    return invert(sharpening(logits).expand(*shape, -1), noise.uniform(shape, logits))


def invert(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the smallest index (...) at which the distribution function exceeds a uniform number (...)."""
    cumulative = logits.softmax(-1).cumsum(-1)
    # scale by the total, which rounding keeps from 1, so that the last index is not drawn if it has probability 0
    target = uniform.unsqueeze(-1) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)
