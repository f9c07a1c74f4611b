"""Records that data, model and objective exchange. Shapes: B examples, S samples per example, F factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence
from torch.distributions.constraints import Constraint

from tightbound.core.dispatch import Dispatched, cached
from tightbound.core.errors import CompositionError, NotABound
from tightbound.core.noise import draw, unkeyed
from tightbound.core.numerics import unrounded

UNKNOWN = -1  # the label of an example whose class is not known
DETERMINISTIC = "the code indices of an example are a function of it"  # why what needs a random q is undefined


@dataclass(frozen=True)
class Batch:
    """Data of one step. A loader gives raw `x`; the model's observation sets `input` and replaces `x` by the target."""

    x: Tensor  # (B, *shape)
    input: Tensor | None = None  # (B, *shape) the encoder's input; None before the observation
    context: Tensor | None = None  # (B, ...)
    label: Tensor | None = None  # (B,) or (B, factors)
    mask: Tensor | None = None  # (B, *shape) true where the target is observed; None: everywhere
    index: Tensor | None = None  # (B,) position of each example in its split
    origin: Tensor | None = None  # (B,) its position in the data that the split is a part of; None: the index
    offset: Tensor | None = None  # (B,) number that p(x | z) is conditioned on; see `Likelihood.offset`

    def __len__(self) -> int:
        return len(self.x)

    def positions(self) -> Tensor:
        """Return the index (B,) of each example, or its position in the batch if the index is unknown."""
        return torch.arange(len(self)) if self.index is None else self.index

    def origins(self) -> Tensor:
        """Return the position (B,) of each example in the undivided data, the same in all of its parts."""
        return self.positions() if self.origin is None else self.origin

    @property
    def beside(self) -> Tensor | None:
        """Input of conditional models besides x: the context of a raw batch, or otherwise the labels."""
        return self.label if self.context is None else self.context

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """Return some of the examples."""
        return self._each(lambda value: value[rows])

    def divided(self, parts: int) -> list[Batch]:
        """Divide the examples into at most this many parts of equal size, of which the last may be smaller."""
        size = -(-len(self) // min(parts, len(self)))
        return [self[start : start + size] for start in range(0, len(self), size)]

    def to(self, device: torch.device | str) -> Batch:
        """Return this batch on another device."""
        if self.x.device == torch.device(device):
            return self
        # a copy to the CPU, or one that an MPS device makes, might be read before it has arrived
        non_blocking = torch.device(device).type == "cuda"
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Concatenate batches."""
        columns = {f.name: [getattr(batch, f.name) for batch in batches] for f in fields(cls)}
        return cls(**{name: torch.cat(values) for name, values in columns.items() if values[0] is not None})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(value) for name, value in given.items() if value is not None}
        return replace(self, **changed)


class CodeGrid(NamedTuple):
    """Grid of code indices of one level: H * W positions in raster order, with `depth` indices at each."""

    height: int
    width: int
    depth: int
    codebook_size: int  # indices are 0 .. codebook_size - 1

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (P, depth), where P = H * W."""
        return self.height * self.width, self.depth

    @property
    def plane(self) -> tuple[int, ...]:
        """The shape (H, W), or (H, W, depth) if a position has several indices."""
        return (self.height, self.width, self.depth)[: 2 + (self.depth > 1)]


def class_numbers(labels: Tensor | None) -> Tensor | None:
    """Return the class (N,) of each example; None if the labels are no classes.

    Labels are classes if they are whole numbers (N,) or (N, 1), or one-hot rows (N, K).
    """
    if labels is None or labels.dim() not in (1, 2) or labels.is_complex():
        return None
    if labels.dim() == 2 and labels.shape[1] > 1:
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
        return labels.argmax(1) if one_hot else None
    flat = labels.flatten()
    return flat.long() if not flat.is_floating_point() or bool((flat == flat.round()).all()) else None


@dataclass(frozen=True)
class LatentTerms:
    """One group of latent variables, whose densities are computed on first access."""

    z: Tensor  # (S, B, *latent_shape)
    prior: Distribution | None = None  # p(z | groups above); batch shape (), (B,) or (S, B)
    posterior: Distribution | None = None  # q(z | x, groups above); None: no density (a point mass), no bound
    log_q: Tensor | None = None  # (S, B) log q at z, if drawing computed it (flows, Monte Carlo chains)
    closed: bool = True  # False: the prior depends on a draw made after z, so KL(posterior || prior) is not the rate
    penalty: Tensor | None = None  # (S, B) minimized too, for parameters without a gradient from the bound (a codebook)

    @property
    def value(self) -> Tensor:
        """The value (S, B, ...) that `prior` and `posterior` are distributions of."""
        return self.z

    @property
    def deterministic(self) -> bool:
        """Whether q has all its mass at one of countably many points, so that log q = 0 and all samples are equal."""
        return False

    @property
    def has_density(self) -> bool:
        """Whether a bound on log p(x) exists."""
        return self.prior is not None and (self.posterior is not None or self.log_q is not None)

    @cached
    def log_prior(self) -> Tensor | None:
        """log p(z | groups above), (S, B)."""
        return None if self.prior is None else self._log_prob(self.prior)

    @cached
    def log_posterior(self) -> Tensor | None:
        """log q(z | x, groups above), (S, B); None for a continuous point mass (autoencoder), which has no bound."""
        if self.log_q is not None:
            return self.log_q
        return None if self.posterior is None else self._log_prob(self.posterior)

    def _log_prob(self, distribution: Distribution) -> Tensor:
        with unrounded(self.z.device.type):
            return distribution.log_prob(self.value)

    @cached
    def kl(self) -> Tensor | None:
        """Closed-form KL (S, B, F) given the groups above, F = 1 if it does not factorize; None if unknown."""
        if self.posterior is None or self.prior is None or not self.closed:
            return None
        with unrounded(self.z.device.type):
            kl = closed_kl(self.posterior, self.prior)
        return None if kl is None else kl.expand(*self.z.shape[:2], kl.shape[-1])

    def rate(self) -> Tensor:
        """Return KL(q || p) (S, B, F), in closed form if known, else as log q - log p at the sample.

        Raises:
            NotABound: The group has no density.
        """
        return self.kl if self.kl is not None else self.log_ratio().unsqueeze(-1)

    def log_ratio(self) -> Tensor:
        """Return log q(z | x) - log p(z) (S, B) at the sample.

        Raises:
            NotABound: The group has no density.
        """
        log_posterior, log_prior = self.log_posterior, self.log_prior
        if log_posterior is None or log_prior is None:
            raise NotABound(
                "the posterior is a point mass, which has no density, so no bound on log p(x) exists; "
                "use a posterior with a density, such as 'normal', or the objective 'autoencoder'"
            )
        return log_posterior - log_prior


@dataclass(frozen=True, kw_only=True)
class CodeTerms(LatentTerms):
    """One group of code indices; z holds the code vectors that they select.

    With neither `posterior` nor `log_q`, q is deterministic: the indices are a function of x.
    """

    indices: Tensor  # (S, B, *grid) integers
    codebook_size: int  # indices are 0 .. codebook_size - 1
    shared: bool = False  # whether all positions of the grid share one codebook
    relaxed: bool = False  # whether prior and posterior are distributions of z, not of the indices
    vectors: Tensor | None = None  # (B, P, size) or (S, B, P, size) input of a nearest-code quantizer

    @property
    def value(self) -> Tensor:
        """The indices (S, B, *grid), or z if `relaxed`."""
        return self.z if self.relaxed else self.indices

    @property
    def deterministic(self) -> bool:
        """Whether the indices are a function of x, so that log q = 0 and all samples are equal."""
        return self.posterior is None and self.log_q is None

    @property
    def has_density(self) -> bool:
        """Whether a bound on log p(x) exists."""
        return self.prior is not None

    @property
    def capacity(self) -> float:
        """Information in an example's indices if all were equally probable, in nats."""
        return self.indices.shape[2:].numel() * math.log(self.codebook_size)

    @cached
    def log_posterior(self) -> Tensor | None:
        """log q(indices | x, groups above), (S, B)."""
        if self.deterministic:
            return self.z.new_zeros(self.z.shape[:2])
        if self.log_q is not None:
            return self.log_q
        return None if self.posterior is None else self._log_prob(self.posterior)

    def _log_prob(self, distribution: Distribution) -> Tensor:
        with unrounded(self.z.device.type):
            if self.deterministic:  # all samples are copies of the first
                return distribution.log_prob(self.value[:1]).expand(self.value.shape[:2])
            return distribution.log_prob(self.value)


def code_terms(groups: Iterable[LatentTerms], *, relaxed: bool = False) -> list[CodeTerms]:
    """Return the groups of code indices; `relaxed` includes groups whose z is a relaxation of one-hot vectors."""
    return [g for g in groups if isinstance(g, CodeTerms) and (relaxed or not g.relaxed)]


@dataclass(frozen=True)
class Terms:
    """Log-densities of one batch, per sample and example, in nats."""

    log_likelihood: Tensor  # (S, B) log p(x | z), in the measure of the raw data
    latents: tuple[LatentTerms, ...]
    likelihood: Distribution  # p(x | z)
    batch: Batch  # x is the likelihood's target

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) has all its mass at one point, so that more samples do not tighten the ELBO."""
        return bool(self.latents) and all(group.deterministic for group in self.latents)

    @property
    def penalty(self) -> Tensor | None:
        """Penalty (S, B) that training minimizes in addition to the objective; None if there is none."""
        penalties = [group.penalty for group in self.latents if group.penalty is not None]
        return torch.stack(penalties).sum(0) if penalties else None

    @property
    def log_weight(self) -> Tensor:
        """log p(x | z) + sum log p(z) - sum log q(z | x), (S, B).

        Raises:
            NotABound: A group has no density.
        """
        weight = self.log_likelihood
        for group in self.latents:
            weight = weight - group.log_ratio()
        return weight


class UncheckedDistribution(Distribution):
    """Base class of distributions that do not check their arguments, and have a method of `core.noise.draw`."""

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """Return no constraints."""
        return {}

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return draws (*sample_shape, *batch, *event), keyed by torch's default generator."""
        return draw(self, tuple(sample_shape), unkeyed())


def cycled(x: Tensor, chosen: Tensor) -> Tensor:
    """Replace values of x (N, *shape) that are not chosen by the chosen values of the same element, in turn."""
    out = x.flatten(1).clone() if x.dim() > 1 else x.clone().unsqueeze(1)
    for column, own in zip(out.unbind(1), chosen.reshape(out.shape).unbind(1), strict=True):
        given = column[own]
        if len(given):
            column[~own] = given[torch.arange(len(column) - len(given), device=x.device) % len(given)]
    return out.view_as(x)


@Dispatched
def log_density(distribution: Distribution, x: Tensor, observed: Tensor | None) -> Tensor:
    """Return log p (...) of the observed elements of x (B, *event), with the others integrated out.

    Args:
        distribution: The distribution p, with event shape (*event).
        x: Values (B, *event).
        observed: Mask (B, *event), true where x is observed; None: everywhere.

    Raises:
        CompositionError: Elements of this distribution cannot be integrated out.
    """
    if observed is None:
        return distribution.log_prob(x)
    raise CompositionError(
        f"{type(distribution).__name__} cannot leave out elements of x, but the data or the context mask some; "
        "use a likelihood with independent elements"
    )


@log_density.register
def _(distribution: Independent, x: Tensor, observed: Tensor | None) -> Tensor:
    base, dims = distribution.base_dist, distribution.reinterpreted_batch_ndims
    if observed is not None and base.event_shape:
        raise CompositionError(
            f"{type(base).__name__} couples elements of x, but the data or the context mask some; "
            "use a likelihood with independent elements"
        )
    return summed_log_prob(base, x, observed, dims)


@Dispatched
def summed_log_prob(distribution: Distribution, x: Tensor, observed: Tensor | None, dims: int) -> Tensor:
    """Return log p (...) of observed elements, summed over the last `dims` batch dimensions, which are independent.

    Families that need not compute the log-probability of each element register a method here.
    """
    elements = distribution.log_prob(x)
    if observed is None:
        return elements.flatten(-dims).sum(-1) if dims else elements
    return elements.masked_fill(~observed, 0.0).sum(tuple(range(-dims, 0)))


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return the closed-form KL(q || p) (..., F), per factor if both factorize, or None if torch has none."""
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            kl = kl_divergence(q.base_dist, p.base_dist)
            return kl.flatten(-max(q.reinterpreted_batch_ndims, p.reinterpreted_batch_ndims))
        return kl_divergence(q, p).unsqueeze(-1)
    except NotImplementedError:
        return None


def log_factors(distribution: Distribution, z: Tensor) -> Tensor:
    """Return the log-density (..., F) at z (..., L): F = L if the dimensions of z are independent, else 1."""
    if isinstance(distribution, Independent) and distribution.base_dist.batch_shape[-1:] == z.shape[-1:]:
        return distribution.base_dist.log_prob(z)
    return distribution.log_prob(z).unsqueeze(-1)
