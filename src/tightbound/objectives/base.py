"""The base of objectives, and the parameter groups that they train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.components import name_of
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Trainable
from tightbound.core.model import VAE
from tightbound.core.noise import draw, unkeyed
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import LatentTerms, Terms

Loss = Callable[[Terms, Knobs], Tensor]


def always(step: int) -> bool:
    """At every step."""
    return True


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that one loss trains, and no other loss reaches."""

    params: list[nn.Parameter]
    loss: Loss  # 0-d, to be minimized
    due: Callable[[int], bool] = always  # whether it is updated at this step
    optim: Mapping[str, Any] = field(default_factory=dict)  # optimizer settings that differ from the run's


class Objective(Component, ABC):
    """(Terms, Knobs) -> (B,) nats, to be maximized. The trainer reduces over the batch, once.

    Random numbers that it draws come from torch's default generator, which the trainer seeds for each step.
    """

    samples: int = 1  # S, the latent samples that it needs in training
    has_best_epoch: bool = True  # False: its value is measured by an adversary that moves, so that no epoch is the best
    pointwise: bool = True  # an example's value does not depend on the rest of its batch
    min_batch_size: int = 1  # data in a batch
    trains_proposal: bool = (
        False  # q(z | x) is trained as an importance sampler's proposal: wider than the ELBO asks for
    )
    schedules: Mapping[str, Schedule] = {}
    networks: nn.Module | None = None  # of its own (an adversary), and state that a resumed run needs

    @property
    def name(self) -> str:
        """That of the table, or an import path."""
        return name_of(type(self)).rpartition("/")[2]

    @abstractmethod
    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Makes what the objective owns for this model, before anything is trained.

        Arguments:
            size: Number of training data; None: unknown.

        Raises:
            CompositionError: a model that it does not fit.
        """

    def end_epoch(self, terms: Iterable[Terms]) -> None:
        """Looks at held-out data after an epoch: terms of their batches, computed as they are asked for."""

    def check(self, terms: Terms) -> None:
        """Refuses a model, seen by its terms on a few data, that this objective does not fit.

        Raises:
            CompositionError: with what is needed.
        """

    def loss(self, terms: Terms, knobs: Knobs) -> Tensor:
        """0-d: -mean of the objective, and beside it what parts of the model ask for (a codebook)."""
        loss = -self(terms, knobs).mean()
        return loss if terms.penalty is None else loss + terms.penalty.mean()

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """One group: all parameters, by the loss."""
        return [ParameterGroup(list(model.parameters()), self.loss)]


def split_groups(model: Trainable, encoder: Loss, others: Loss) -> list[ParameterGroup]:
    """The parameters of q(z | x), and before them all others; a side with nothing to train is left out."""
    inner = {id(p) for p in model.inference_parameters()}
    sides = [([p for p in model.parameters() if id(p) not in inner], others), (model.inference_parameters(), encoder)]
    return [ParameterGroup(params, loss) for params, loss in sides if any(p.requires_grad for p in params)]


def require_separate_parameters(model: Trainable, name: str) -> None:
    """Refuses a model in which p and q share parameters."""
    if model.shares_parameters:
        raise CompositionError(
            f"objective '{name}' trains the parameters of q(z | x) apart from those of p(x, z), and in this model they "
            "share some; use objective 'iwae' or 'elbo', or a prior, latents and networks that share none"
        )


def require_density(terms: Terms, name: str) -> None:
    """Refuses a model with a point-mass posterior."""
    if not all(group.has_density for group in terms.latents):
        raise CompositionError(
            f"objective '{name}' needs a posterior with a density and this one is a point mass; "
            "use posterior 'normal', or objective 'autoencoder'"
        )


def require_draws(terms: Terms, name: str) -> None:
    """Refuses a model whose q(z | x) is one value, and so has but one importance weight."""
    if terms.deterministic:
        raise CompositionError(
            f"objective '{name}' averages over draws of q(z | x), and these codes are a function of x, so that it "
            "would be the ELBO; use objective 'elbo', or quantizer 'gumbel'"
        )


def require_rate(terms: Terms, name: str) -> None:
    """Refuses a model whose rate no gradient changes."""
    if terms.deterministic:
        raise CompositionError(
            f"objective '{name}' steers the rate, and that of codes which are a function of x is a constant until "
            "their prior is learned; use objective 'elbo', or quantizer 'gumbel'"
        )


def _of_codes(name: str) -> CompositionError:
    return CompositionError(
        f"objective '{name}' takes z for a vector of real numbers, and these latents are codes; "
        "use objective 'elbo', or latents 'flat'"
    )


def require_single_group(terms: Terms, name: str) -> LatentTerms:
    """The only group of latent variables, of real numbers; refuses hierarchies, and codes."""
    if any(group.discrete for group in terms.latents):
        raise _of_codes(name)
    if len(terms.latents) != 1:
        raise CompositionError(
            f"objective '{name}' compares all of z with the prior and needs one group of latent variables; these "
            f"are {len(terms.latents)}; use latents 'flat'"
        )
    return terms.latents[0]


def require_vae(model: Trainable, name: str) -> VAE:
    """The model, where it can encode and decode; refuses others."""
    if not isinstance(model, VAE):
        raise CompositionError(f"objective '{name}' decodes codes and needs a VAE, not {type(model).__name__}")
    return model


def generative_parameters(model: Trainable) -> list[nn.Parameter]:
    """All but those of q(z | x)."""
    inference = {id(p) for p in model.inference_parameters()}
    return [p for p in model.parameters() if id(p) not in inference]


def require_fixed_prior(model: VAE, name: str) -> None:
    """Refuses a prior with parameters, for objectives that do not train it."""
    if model.latents.support == "codebook":
        raise _of_codes(name)
    inference = {id(p) for p in model.latents.inference_parameters()}
    if any(id(p) not in inference for p in model.latents.parameters()):
        raise CompositionError(
            f"objective '{name}' does not train the prior, and this one is learned; use prior 'normal'"
        )


def draw_prior(group: LatentTerms) -> Tensor:
    """One draw of the prior for each of the group's, in the shape of z, from torch's default generator."""
    if group.prior is None:
        raise CompositionError("draws of the prior are needed and these latents have none; use prior 'normal'")
    return draw(group.prior, group.z.shape[: 2 - len(group.prior.batch_shape)], unkeyed())


def unprepared_error(name: str) -> CompositionError:
    """For an objective that is called before `prepare`."""
    return CompositionError(f"objective '{name}' was not prepared for a model; call prepare(model, size) first")


def require_evaluable_posterior(group: LatentTerms, name: str) -> Distribution:
    """q(z | x), where its density is known at other data's z, too; refuses others."""
    if group.posterior is None:
        raise CompositionError(
            f"objective '{name}' needs q(z | x) at other data's z, and this posterior gives its density at its own "
            "draws alone; use posterior 'normal'"
        )
    return group.posterior
