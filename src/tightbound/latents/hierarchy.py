"""Base class of hierarchies of latent variables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError
from tightbound.core.latents import Latents, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Schedule
from tightbound.priors import LearnedNormal, Prior, StandardNormal

Take = Callable[[int, Distribution], Tensor]  # (i, p(z_i+1 | groups above)) -> z_i+1; i counts from 0


class Hierarchy(Latents):
    """Base class of hierarchies of groups z_1 .. z_N, bottom first, with p(z) = p(z_N) prod_i p(z_i | groups above).

    A flat latent code holds all groups, z_1 first. The mean of q(z | x) has no closed form, so `moments` returns the
    mean and variance of each group given the means of the groups drawn before it.

    Args:
        sizes: Sizes of z_1 .. z_N.
        top: p(z_N); None: N(0, I), or with a context N(m(c), diag s^2(c)), initially N(0, I).
        context: Size of the context; 0: no context.

    Raises:
        CompositionError: The top prior has the wrong size, is not on R^L, or uses an encoder.
    """

    moments_of = "q(z|x), each group given the means of the groups drawn before it,"

    def __init__(self, sizes: tuple[int, ...], top: Prior | None, context: int) -> None:
        super().__init__()
        self.sizes, self.latent = sizes, sum(sizes)
        if top is None:
            top = LearnedNormal(sizes[-1], context) if context else StandardNormal(sizes[-1])
        if top.latent != sizes[-1]:
            raise CompositionError(
                f"the top group has {sizes[-1]} dimensions and its prior has {top.latent}; pass it latent={sizes[-1]}"
            )
        if top.needs_encoder or top.support != "real":
            raise CompositionError(
                f"{type(top).__name__} cannot be the prior of a hierarchy's top group, which lies in R^L and has no "
                "encoder of its own; use a prior such as 'normal', 'learned' or 'mixture'"
            )
        self.top = top

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules of the top prior, by knob name."""
        return self.top.schedules

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """Return `state` of `local`."""
        return self.state(self.local(x), context)

    @abstractmethod
    def down(self, top: Tensor, context: Tensor | None, take: Take) -> Tensor:
        """Return the features (..., features) of the path from z_N (..., sizes[-1]) to the bottom.

        Args:
            top: The top group z_N.
            context: Contexts (B, *context); None: no context.
            take: Function that returns each further z_i, from index N - 2 to 0, given p(z_i | groups above).
        """

    def top_prior(self, context: Tensor | None) -> Distribution:
        """Return p(z_N) given contexts (B, *context)."""
        return self.top(None if context is None else context.flatten(1))

    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Return n ancestral draws (n, latent), z_1 first."""
        prior = self.top_prior(context)
        groups = [draw(prior, () if prior.batch_shape else (n,), noise)]

        def take(_: int, p: Distribution) -> Tensor:
            groups.append(draw(p, (), noise))
            return groups[-1]

        self.down(groups[0], context, take)
        return torch.cat([*reversed(groups)], dim=-1)

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z_N) + sum log p(z_i | groups above) (B,)."""
        groups = z.split(self.sizes, dim=-1)
        parts = [self.top_prior(context).log_prob(groups[-1])]

        def take(i: int, p: Distribution) -> Tensor:
            parts.append(p.log_prob(groups[i]))
            return groups[i]

        self.down(groups[-1], context, take)
        return torch.stack(parts).sum(0)
