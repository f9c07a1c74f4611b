"""The base of hierarchies."""

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

Take = Callable[[int, Distribution], Tensor]  # (i, p(z_i+1 | groups above)) -> z_i+1, counted from 0


class Hierarchy(Latents):
    """Groups z_1 .. z_N of latent variables, from the bottom up: p(z) = p(z_N) prod_i p(z_i | groups above).

    A flat latent code is all groups, z_1 first. The mean of q(z | x) has no closed form: `moments` are the mean and the
    variance of each group given those drawn before it at their means, so that they are deterministic.

    Args:
        sizes: Sizes of z_1 .. z_N.
        top: p(z_N); None: N(0, I), or with a context N(m(c), diag s^2(c)), initially N(0, I).
        context: Size of the context; 0: there is none.

    Raises:
        CompositionError: The top prior has another size, is not on R^L, or is made of an encoder.
    """

    moments_of = "q(z|x), each group given those drawn before it at their means,"

    def __init__(self, sizes: tuple[int, ...], top: Prior | None, context: int) -> None:
        super().__init__()
        self.sizes, self.latent = sizes, sum(sizes)
        if top is None:
            top = LearnedNormal(sizes[-1], context) if context else StandardNormal(sizes[-1])
        if top.latent != sizes[-1]:
            raise CompositionError(
                f"the top group has {sizes[-1]} dimensions and its prior {top.latent}; give it latent={sizes[-1]}"
            )
        if top.needs_encoder or top.support != "real":
            raise CompositionError(
                f"{type(top).__name__} cannot be the prior of a hierarchy's top group, which lies in R^L and has no "
                "encoder of its own; use one such as 'normal', 'learned' or 'mixture'"
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
            top: z_N.
            context: (B, *context); None: there is none.
            take: Gives each further z_i, from index N - 2 to 0, when it is shown p(z_i | groups above).
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
