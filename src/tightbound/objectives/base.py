"""Base class of objectives, and the parameter groups that they train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.components import name_of
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError
from tightbound.core.latents import Trainable
from tightbound.core.model import VAE
from tightbound.core.noise import draw, unkeyed
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import LatentTerms, Terms, code_terms

T = TypeVar("T")
Loss = Callable[[Terms, Knobs], Tensor]


def always(step: int) -> bool:
    """Return True at every step."""
    return True


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that exactly one loss trains."""

    params: list[nn.Parameter]
    loss: Loss  # scalar, to be minimized
    due: Callable[[int], bool] = always  # whether the parameters are updated at this step
    optim: Mapping[str, Any] = field(default_factory=dict)  # optimizer settings that differ from the run's


class Objective(Component, ABC):
    """Base class of objectives, functions (Terms, Knobs) -> (B,) in nats that training maximizes.

    The trainer averages once over the batch. Random numbers come from torch's default generator, which the trainer
    seeds at each step.
    """

    samples: int = 1  # number of latent samples S per example in training
    has_best_epoch: bool = True  # False if the value depends on an adversary, so that epochs are not comparable
    pointwise: bool = True  # whether an example's value is independent of the rest of its batch
    min_batch_size: int = 1
    trains_proposal: bool = False  # whether q(z | x) is trained as a proposal, and so wider than with the ELBO
    needs_density: bool = False  # whether a posterior that is a point mass is refused
    needs_draws: bool = False  # whether a deterministic posterior is refused: its importance weights are equal
    needs_one_group: bool = False  # whether hierarchies and code indices are refused
    fixed_prior: bool = False  # whether a learned prior is refused, which the objective would not train
    context: str | None = None  # name of the required context; None: any or none
    separate_parameters: bool = False  # whether parameters that p and q share are refused
    schedules: Mapping[str, Schedule] = {}
    networks: nn.Module | None = None  # the objective's own networks (an adversary) and state, saved in checkpoints

    @property
    def name(self) -> str:
        """The name in the table of components, or an import path."""
        return name_of(type(self)).rpartition("/")[2]

    @abstractmethod
    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Prepare the objective for a model, before training.

        Args:
            model: The model.
            n_examples: Number of training examples; None: unknown.

        Raises:
            CompositionError: If the model does not fit this objective.
        """
        if self.fixed_prior:
            _require_fixed_prior(require_vae(model, self.name), self.name)
        if self.separate_parameters:
            _require_separate_parameters(model, self.name)

    def rows(self, labels: Tensor | None) -> Tensor | None:
        """Return the positions of the examples in an epoch, given all labels; None: each example once."""

    def end_epoch(self, terms: Iterable[Terms]) -> None:
        """Update the objective's state after an epoch, from the terms of held-out batches (computed on demand)."""

    def check(self, terms: Terms) -> None:
        """Check that a model, given by its terms on a few examples, fits this objective.

        Raises:
            CompositionError: If the model does not fit.
        """
        if self.needs_density:
            _require_density(terms, self.name)
        if self.needs_draws:
            _require_draws(terms, self.name)
        if self.needs_one_group:
            require_single_group(terms, self.name)

    def loss(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the scalar loss: the negative mean of the objective, plus the model's own penalty (for a codebook)."""
        loss = -self(terms, knobs).mean()
        return loss if terms.penalty is None else loss + terms.penalty.mean()

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return the parameter groups with their losses, by default one group with all parameters."""
        return [ParameterGroup(list(model.parameters()), self.loss)]


def split_groups(model: Trainable, encoder: Loss, others: Loss) -> list[ParameterGroup]:
    """Return two groups: all other parameters, then those of q(z | x); omit a group with nothing to train."""
    inner = {id(p) for p in model.inference_parameters()}
    sides = [([p for p in model.parameters() if id(p) not in inner], others), (model.inference_parameters(), encoder)]
    return [ParameterGroup(params, loss) for params, loss in sides if any(p.requires_grad for p in params)]


def _require_separate_parameters(model: Trainable, name: str) -> None:
    """Raise CompositionError if p and q share parameters."""
    if model.shares_parameters:
        raise CompositionError(
            f"objective '{name}' trains the parameters of q(z | x) separately from those of p(x, z), but in this model "
            "they share some; use objective 'iwae' or 'elbo', or a prior, latents and networks that share none"
        )


def _require_density(terms: Terms, name: str) -> None:
    """Raise CompositionError if the posterior is a point mass."""
    if not all(group.has_density for group in terms.latents):
        raise CompositionError(
            f"objective '{name}' needs a posterior with a density, and this one is a point mass; "
            "use posterior 'normal', or objective 'autoencoder'"
        )


def _require_draws(terms: Terms, name: str) -> None:
    """Raise CompositionError if the posterior is deterministic, so that all importance weights are equal."""
    if terms.deterministic:
        raise CompositionError(
            f"objective '{name}' averages over draws from q(z | x), and with this deterministic posterior it would be "
            "the ELBO; use objective 'elbo', or quantizer 'gumbel'"
        )


def require_rate(terms: Terms, name: str) -> None:
    """Raise CompositionError if training cannot change the rate."""
    if terms.deterministic:
        raise CompositionError(
            f"objective '{name}' controls the rate, and the rate of a deterministic posterior is constant until the "
            "code prior is trained; use objective 'elbo', or quantizer 'gumbel'"
        )


def _discrete_error(name: str) -> CompositionError:
    return CompositionError(
        f"objective '{name}' needs z to be a vector of real numbers, and these latents are code indices; "
        "use objective 'elbo', or latents 'flat'"
    )


def require_single_group(terms: Terms, name: str) -> LatentTerms:
    """Return the only group of latent variables; raise CompositionError for hierarchies and discrete latents."""
    if code_terms(terms.latents):
        raise _discrete_error(name)
    if len(terms.latents) != 1:
        raise CompositionError(
            f"objective '{name}' compares z with the prior and needs one group of latent variables, and this model "
            f"has {len(terms.latents)}; use latents 'flat'"
        )
    return terms.latents[0]


def require_vae(model: Trainable, name: str) -> VAE:
    """Return the model if it can encode and decode; raise CompositionError otherwise."""
    if not isinstance(model, VAE):
        raise CompositionError(f"objective '{name}' needs a VAE and was given a {type(model).__name__}; pass a VAE")
    return model


def generative_parameters(model: Trainable) -> list[nn.Parameter]:
    """Return all parameters except those of q(z | x)."""
    inference = {id(p) for p in model.inference_parameters()}
    return [p for p in model.parameters() if id(p) not in inference]


def _require_fixed_prior(model: VAE, name: str) -> None:
    """Raise CompositionError if the prior has parameters, which the objective would not train."""
    if model.latents.support == "codebook":
        raise _discrete_error(name)
    inference = {id(p) for p in model.latents.inference_parameters()}
    if any(p.requires_grad and id(p) not in inference for p in model.latents.parameters()):
        raise CompositionError(
            f"objective '{name}' does not train the prior, and this prior has parameters; use prior 'normal'"
        )


def draw_prior(group: LatentTerms) -> Tensor:
    """Draw z from the prior, in the group's shape, with torch's default generator."""
    if group.prior is None:
        raise CompositionError("draws from the prior are needed, and these latents have no prior; use prior 'normal'")
    return draw(group.prior, group.z.shape[: 2 - len(group.prior.batch_shape)], unkeyed())


def prepared(value: T | None, name: str) -> T:
    """Return what `prepare` made for an objective; raise CompositionError if it was not called."""
    if value is None:
        raise CompositionError(f"objective '{name}' was not prepared for a model; call prepare() first")
    return value


def require_evaluable_posterior(group: LatentTerms, name: str) -> Distribution:
    """Return q(z | x) if its density is known at the z of other examples; raise CompositionError otherwise."""
    if group.posterior is None:
        raise CompositionError(
            f"objective '{name}' needs q(z | x) at z of other examples, and the density of this posterior is known "
            "only at its own draws; use posterior 'normal'"
        )
    return group.posterior
