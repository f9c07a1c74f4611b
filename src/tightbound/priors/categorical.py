"""Categorical prior over one-hot vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from tightbound.core.errors import CompositionError, whole
from tightbound.core.noise import Noise, draw
from tightbound.priors.base import Prior, conditioner


class CategoricalPrior(Prior):
    """Prior over concatenated independent one-hot vectors, with uniform or learned probabilities.

    Args:
        latent: Size of z: groups * classes.
        groups: Number of one-hot vectors.
        learned: Learn the logits, which start at 0.
        context: Size of the context; a network of the context shifts the logits.

    Raises:
        CompositionError: If the groups do not divide `latent` into at least two classes each.
    """

    support = "one-hot"
    least = 2

    def __init__(self, latent: int = 2, groups: int = 1, learned: bool = False, context: int = 0) -> None:
        super().__init__(latent, context)
        self.support, shape = one_hot_space(latent, groups)
        zeros = torch.zeros(shape)
        if learned:
            self.logits = nn.Parameter(zeros)
        else:
            self.register_buffer("logits", zeros, persistent=False)
        self.shift = conditioner(context, latent)

    logits: Tensor

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the prior; batch shape (), or (B,) if there is a context."""
        if self.shift is None:
            return OneHotGroups(self.logits)
        return OneHotGroups(self.logits + self.shift(context).unflatten(-1, self.logits.shape))


def one_hot_space(latent: int, groups: int) -> tuple[str, tuple[int, int]]:
    """Return the name of the support, and (groups, classes).

    Raises:
        CompositionError: If the groups do not divide `latent` into at least two classes each.
    """
    classes = latent // whole("groups", groups, least=1)
    if latent != groups * classes or classes < 2:
        near = groups * max(2, classes)
        raise CompositionError(
            f"latent = {latent} is not groups = {groups} times at least 2 classes; pass latent={near}"
        )
    return "one-hot" if groups == 1 else f"{groups} one-hot vectors of {classes} classes", (groups, classes)


class OneHotGroups(Independent):
    """Concatenated independent one-hot vectors (..., groups * classes), with logits (..., groups, classes)."""

    def __init__(self, logits: Tensor) -> None:
        base = Categorical(logits=logits, validate_args=False)
        super().__init__(base, 1, validate_args=False)
        self._event_shape = torch.Size([logits.shape[-2] * logits.shape[-1]])

    @property
    def has_enumerate_support(self) -> bool:
        """True: the support can be enumerated."""
        return True

    @property
    def logits(self) -> Tensor:
        """Normalized logits (..., groups, classes)."""
        return self.base_dist.logits

    @property
    def mean(self) -> Tensor:
        """Probabilities (..., groups * classes)."""
        return self.base_dist.probs.flatten(-2)

    @property
    def variance(self) -> Tensor:
        """Variance (..., groups * classes), p (1 - p)."""
        return self.mean * (1 - self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p (...) at one-hot vectors (..., groups * classes), differentiable in them as z . log p."""
        return (value.unflatten(-1, self.logits.shape[-2:]) * self.logits).sum((-2, -1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all vectors (classes^groups, ..., groups * classes); with expand=False, batch dimensions are 1."""
        groups, classes = self.logits.shape[-2:]
        codes = torch.cartesian_prod(*[torch.arange(classes, device=self.logits.device)] * groups)
        every = F.one_hot(codes.reshape(-1, groups), classes).to(self.logits).flatten(-2)
        every = every.reshape(-1, *[1] * len(self.batch_shape), groups * classes)
        return every.expand(-1, *self.batch_shape, -1) if expand else every

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw one-hot vectors with torch's default generator."""
        return draw(self, tuple(sample_shape), Noise(int(torch.randint(2**62, ()))))


def perturbed(logits: Tensor, samples: Sequence[int], noise: Noise) -> Tensor:
    """Add Gumbel noise to logits (*samples, ..., classes); the argmax of the result is a draw (Gumbel-max)."""
    u = noise.uniform((*samples, *logits.shape), logits).clamp_min(torch.finfo(logits.dtype).tiny)
    return logits - (-u.log()).log()


def one_hot(perturbed: Tensor) -> Tensor:
    """Map (..., groups, classes) to (..., groups * classes), with a one at the largest element of each group."""
    return F.one_hot(perturbed.argmax(-1), perturbed.shape[-1]).to(perturbed).flatten(-2)


@draw.register
def _(distribution: OneHotGroups, samples: Sequence[int], noise: Noise) -> Tensor:
    return one_hot(perturbed(distribution.logits, samples, noise))
