"""Categorical priors, over one-hot vectors."""

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
    """z is `groups` one-hot vectors side by side, independent a priori: uniform, or with learned probabilities.

    Arguments:
        latent: Size of z, groups * classes.
        groups: Number of one-hot vectors.
        learned: Learn the logits, which are 0 at first. A context shifts them by a network.

    Raises:
        CompositionError: where the groups do not divide `latent` into at least two classes each.
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
        """Batch shape (), or (B,) given a context."""
        if self.shift is None:
            return OneHotGroups(self.logits)
        return OneHotGroups(self.logits + self.shift(context).unflatten(-1, self.logits.shape))


def one_hot_space(latent: int, groups: int) -> tuple[str, tuple[int, int]]:
    """The name of the support of vectors of this size, and (groups, classes).

    Raises:
        CompositionError: where the groups do not divide `latent` into at least two classes each.
    """
    classes = latent // whole("groups", groups, least=1)
    if latent != groups * classes or classes < 2:
        near = groups * max(2, classes)
        raise CompositionError(
            f"latent = {latent} is not groups = {groups} times a number of classes of at least 2; give latent={near}"
        )
    return "one-hot" if groups == 1 else f"{groups} one-hot vectors of {classes} classes", (groups, classes)


class OneHotGroups(Independent):
    """Independent one-hot vectors side by side, (..., groups * classes), with logits (..., groups, classes)."""

    def __init__(self, logits: Tensor) -> None:
        base = Categorical(logits=logits, validate_args=False)
        super().__init__(base, 1, validate_args=False)
        self._event_shape = torch.Size([logits.shape[-2] * logits.shape[-1]])

    @property
    def has_enumerate_support(self) -> bool:
        """It has."""
        return True

    @property
    def logits(self) -> Tensor:
        """(..., groups, classes), normalized."""
        return self.base_dist.logits

    @property
    def mean(self) -> Tensor:
        """(..., groups * classes) probabilities."""
        return self.base_dist.probs.flatten(-2)

    @property
    def variance(self) -> Tensor:
        """(..., groups * classes) p (1 - p)."""
        return self.mean * (1 - self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """(...) nats, at one-hot vectors (..., groups * classes); its gradient by them is that of z . log p."""
        return (value.unflatten(-1, self.logits.shape[-2:]) * self.logits).sum((-2, -1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """(classes^groups, ..., groups * classes): every vector; with expand=False, 1 in place of the batch."""
        groups, classes = self.logits.shape[-2:]
        codes = torch.cartesian_prod(*[torch.arange(classes, device=self.logits.device)] * groups)
        every = F.one_hot(codes.reshape(-1, groups), classes).to(self.logits).flatten(-2)
        every = every.reshape(-1, *[1] * len(self.batch_shape), groups * classes)
        return every.expand(-1, *self.batch_shape, -1) if expand else every

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """One-hot vectors, from torch's default generator."""
        return draw(self, tuple(sample_shape), Noise(int(torch.randint(2**62, ()))))


def perturbed(logits: Tensor, samples: Sequence[int], noise: Noise) -> Tensor:
    """(*samples, ..., classes) logits (..., classes) with Gumbel noise added: the largest is a draw (Gumbel-max)."""
    u = noise.uniform((*samples, *logits.shape), logits).clamp_min(torch.finfo(logits.dtype).tiny)
    return logits - (-u.log()).log()


def one_hot(perturbed: Tensor) -> Tensor:
    """(..., groups, classes) -> (..., groups * classes), with a one at each group's largest."""
    return F.one_hot(perturbed.argmax(-1), perturbed.shape[-1]).to(perturbed).flatten(-2)


@draw.register
def _(distribution: OneHotGroups, samples: Sequence[int], noise: Noise) -> Tensor:
    return one_hot(perturbed(distribution.logits, samples, noise))
