"""Bases of what is trained, and of latents: the path from x to z and from z to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from torch import Tensor, nn

from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, DensityUnknown
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Batch, LatentTerms, Terms

LogLikelihood = Callable[[Tensor], Tensor]  # features (S, B, features) -> (S, B) log p(x | features)
Draw = Callable[[int, Noise, Tensor | None], Tensor]  # (n, noise, contexts (n, *context)) -> z (n, latent)
State = Any  # what Latents.encode returns and Latents.infer takes: opaque to everybody else


class Trainable(nn.Module, ABC):
    """A model that one stage of a run trains: a VAE, or the code prior of one."""

    unit: str = "dim"  # what `bits` divides by: an example has many
    trained_later: frozenset[str] = frozenset()  # names in the state dict that a later stage trains

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that the model's components declare, by knob name."""
        return {}

    @abstractmethod
    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the terms of a raw batch."""

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of q(z | x), which `encoder_lr=` applies to."""
        return []

    @property
    def shares_parameters(self) -> bool:
        """Whether p and q have parameters in common; some gradient estimators need that they have none."""
        return False

    def bits(self, nats: float) -> float | None:
        """Convert the log-likelihood of an example to bits per `unit`; None if the model does not count bits."""
        return None

    @property
    def baselines(self) -> Mapping[str, float]:
        """Mean log-likelihoods of simple models, in nats per example, to compare this model with, by name."""
        return {}


class Latents(Component, nn.Module, ABC):
    """The path from x to z, q(z | x), and from z to the features that the likelihood takes, p(z).

    A subclass sets `features` and `latent` and writes five methods: `encode`, `infer`, `draw`, `decode` and `moments`.
    The other methods are optional. Those without a default implementation raise an error that names the method to
    write when an analysis or an objective needs it. `tightbound.testing.check_latents` runs the laws.

    Shapes: B examples, S samples per example, `latent` numbers in a flat latent code z (all groups of latent
    variables, concatenated).
    """

    features: int  # size of the vector that the likelihood takes
    latent: int  # size of the flat latent code of an example
    moments_of: str = "q(z|x)"  # what `moments` describes, for reports
    local_of: str = "q(z|x)"  # what `local` parametrizes, for reports

    # Required

    @abstractmethod
    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """Return the deterministic part of inference for x (B, *shape); it runs once for any number of samples."""

    @abstractmethod
    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Draw from q(z | x).

        Args:
            state: What `encode` returned.
            samples: S.
            noise: Source of all random numbers.
            knobs: Current values of `schedules`.
            log_likelihood: log p(x | features) of the batch, for a q that depends on the model (Hamiltonian).

        Returns:
            One `LatentTerms` for each group of latent variables, and features (S, B, features).
        """

    @abstractmethod
    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Return z (n, latent): n ancestral draws from the prior."""

    @abstractmethod
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features (B, features) of z (B, latent), such as a posterior mean."""

    @abstractmethod
    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the mean and the variance of q(z | x), each (B, latent)."""

    # Optional, without a default implementation

    def local(self, x: Tensor) -> Tensor:
        """Return the variational parameters (B, ...) of each example of x (B, *shape), from which `state` makes q."""
        self._missing("local(x)")

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return what `encode` returns, from variational parameters that were encoded or fitted to an example."""
        self._missing("state(local, context)")

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z) (B,) at z (B, latent), summed over groups."""
        self._missing("log_prior(z, context)", DensityUnknown)

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Return log q(z_i | x_j) for all pairs, summed over groups.

        Only for latents whose q depends on the context through `local` alone.

        Args:
            z: (M, latent).
            local: Variational parameters (N, ...) of any examples.

        Returns:
            (M, N, F): by dimension (F = latent) if q factorizes over the dimensions of z, else F = 1.

        Raises:
            NotABound, DensityUnknown: q has no density, or it is not known at z of other examples.
        """
        self._missing("log_pairs(z, local)", DensityUnknown)

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of q(z | x), which `encoder_lr=` applies to."""
        self._missing("inference_parameters()")

    # Optional, with a default

    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize what can start at data (such as pseudo-inputs) from encoder inputs x (N, *shape)."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that prior and posterior declare, by knob name."""
        return {}

    @property
    def support(self) -> str:
        """The set that z lies in: "real" (R^L), "sphere", ..."""
        return "real"

    @property
    def evaluable(self) -> bool:
        """Whether q(z | x) is one distribution whose density is known at any z."""
        return False

    @property
    def shares_parameters(self) -> bool:
        """Whether p(z) and q(z | x) have parameters in common; some gradient estimators need that they have none."""
        return False

    @property
    def expensive_pairs(self) -> bool:
        """Whether each pair of `log_pairs` takes passes through a network."""
        return False

    @property
    def description(self) -> str:
        """The size of z in words."""
        return f"{self.latent} latents"

    def implements(self, method: str) -> bool:
        """Return whether the class writes an optional method, such as "log_prior"."""
        return getattr(type(self), method) is not getattr(Latents, method)

    def _missing(self, method: str, error: type[CompositionError] = CompositionError) -> NoReturn:
        raise error(f"latents {type(self).__name__} do not implement {method}, which is needed here; write that method")


class DiscreteLatents(Latents):
    """Latents whose z are integers, each embedded as a vector.

    The embeddings belong to p and to q. A context enters the prior alone, p(z | c): encoder and decoder do not see it.
    """

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) has all its mass at one point, so that the ELBO is all that importance weights give."""
        return True

    @property
    def code_prior(self) -> Trainable | None:
        """The part of the prior that is trained after the rest of the model; None if there is none."""
        return None

    @property
    def support(self) -> str:
        """Vectors of a codebook."""
        return "codebook"

    @property
    def shares_parameters(self) -> bool:
        """Codebooks, and what decodes a level for the one below, belong to p and to q."""
        return True
