"""Base classes of trainable models and of latents, the path from x to z and from z to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, DensityUnknown
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Batch, LatentTerms, Terms

LogLikelihood = Callable[[Tensor], Tensor]  # features (S, B, features) -> (S, B) log p(x | features)
Draw = Callable[[int, Noise, Tensor | None], Tensor]  # (n, noise, contexts (n, *context)) -> z (n, latent)
State = Any  # the value that Latents.encode returns and Latents.infer takes; other code must not look inside


class Trainable(nn.Module, ABC):
    """Model that one stage of a run trains: a VAE or its prior."""

    unit: str = "dim"  # the unit of an example that `bits` is per
    trains_on: str = "train loss"  # what training minimizes, in progress; validation shows the validation loss
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
        """Whether p and q share parameters; some gradient estimators require that they do not."""
        return False

    def bits(self, nats: float) -> float | None:
        """Convert the log-likelihood of an example to bits per `unit`; return None if bits are undefined."""
        return None

    @property
    def baselines(self) -> Mapping[str, float]:
        """Mean log-likelihoods of simple reference models, in nats per example, by name."""
        return {}


class SecondStage(Trainable):
    """Prior as a model of its own, which is trained after the rest of the model on draws from q(z | x)."""

    learned: Tensor  # 0-d, boolean: whether the prior is in use, instead of the one of the first stage
    title: str = "prior"  # its name in progress and messages
    before: str = "N(0, I)"  # the prior of the first stage, in words
    draws: int = 1  # draws of each example, of which an epoch takes one
    validated: int | None = None  # validation examples that are used, at most; None: all
    suits: ClassVar[Mapping[str, Any]] = {}  # training options where the user's are "auto" or None
    exact: bool = True  # whether its log-likelihood in evaluation mode is log p itself, not an estimate

    @abstractmethod
    def codes(self, groups: Sequence[LatentTerms]) -> Tensor:
        """Return the training examples (S, B, ...) for the terms of S draws."""

    def dtype(self, codes: Tensor) -> torch.dtype:
        """Return the type in which training examples are stored."""
        return codes.dtype

    def start_at(self, codes: Tensor) -> None:
        """Initialize what depends on training examples (N, ...)."""

    def disable(self) -> None:
        """Use the prior of the first stage, and freeze this one."""
        self.learned.fill_(False)
        self.requires_grad_(False)

    def enable(self) -> None:
        """Use this prior, and make it trainable."""
        self.learned.fill_(True)
        self.requires_grad_(True)


class LatentDensity:
    """Base class of what has a density p(z): how it is trained and computed."""

    @property
    def second_stage(self) -> SecondStage | None:
        """The prior as a model to train after the rest; None: it is trained with the rest, or has no parameters."""
        return None

    @property
    def solved(self) -> bool:
        """Whether log p(z) is the solution of an equation, with a numerical error beyond rounding."""
        return False

    @property
    def estimated(self) -> bool:
        """Whether log p(z) is only known as an unbiased estimate, so that importance weights are not."""
        return False

    @property
    def density_passes(self) -> int:
        """Passes through the prior's network that log p(z) takes, about, if they are many."""
        return 0

    def numerical_error(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return an estimate of the error (B,) of log p(z) at z (B, latent), if it is `solved`."""
        return z.new_zeros(len(z))


class Latents(LatentDensity, Component, nn.Module, ABC):
    """Path from x to z through q(z | x), and from z to the likelihood's features, with the prior p(z).

    A subclass sets `features` and `latent` and defines five methods: `encode`, `infer`, `draw`, `decode` and `moments`.
    The other methods are optional. If an analysis or an objective needs one without a default implementation, it raises
    an error that names the method to define. `tightbound.testing.check_latents` runs the laws.

    Shapes: B examples, S samples per example, `latent` numbers in a flat latent code z (all groups of latent
    variables, concatenated).
    """

    features: int  # size of the feature vector that the likelihood takes
    latent: int  # size of the flat latent code of an example
    moments_of: str = "q(z|x)"  # name of the distribution that `moments` describes, for reports
    local_of: str = "q(z|x)"  # name of the distribution that `local` parametrizes, for reports
    maps: ClassVar[bool] = False  # whether the features are feature maps; a context then enters only the prior

    # Required

    @abstractmethod
    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """Run the deterministic part of inference on x (B, *shape), once for any number of samples."""

    @abstractmethod
    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Draw from q(z | x).

        Args:
            state: The value that `encode` returned.
            samples: Number of samples S per example.
            noise: Source of all random numbers.
            knobs: Current values of `schedules`.
            log_likelihood: log p(x | features) of the batch, for a q that depends on the model (Hamiltonian).

        Returns:
            One `LatentTerms` for each group of latent variables, and features (S, B, features).
        """

    @abstractmethod
    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Return n ancestral draws z (n, latent) from the prior."""

    @abstractmethod
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features (B, features) at z (B, latent), such as a posterior mean."""

    @abstractmethod
    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the mean and the variance of q(z | x), each (B, latent)."""

    # Optional, without a default implementation

    def local(self, x: Tensor) -> Tensor:
        """Return each example's variational parameters (B, ...) for x (B, *shape); `state` builds q from them."""
        self._missing("local(x)")

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return the state, as `encode` does, from variational parameters that were encoded or fitted per example."""
        self._missing("state(local, context)")

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z) (B,) at z (B, latent), summed over groups."""
        self._missing("log_prior(z, context)", DensityUnknown)

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Return log q(z_i | x_j) for all pairs, summed over groups.

        Only for latents whose q depends on the context through `local` alone.

        Args:
            z: Latent codes (M, latent).
            local: Variational parameters (N, ...) of any examples.

        Returns:
            (M, N, F): per dimension (F = latent) if q factorizes over the dimensions of z, else F = 1.

        Raises:
            NotABound, DensityUnknown: q has no density, or its density is unknown at z of other examples.
        """
        self._missing("log_pairs(z, local)", DensityUnknown)

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of q(z | x), which `encoder_lr=` applies to."""
        self._missing("inference_parameters()")

    # Optional, with a default

    @classmethod
    def network_for(cls, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> str | None:
        """Return the default network for data of a shape and arguments of these latents; None: any will do."""
        return None

    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize data-dependent parameters (such as pseudo-inputs) from encoder inputs x (N, *shape)."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that the prior and the posterior declare, by knob name."""
        return {}

    def replace_prior(self, prior: str | Sequence[str] | None) -> None:
        """Replace the prior by an untrained one that is trained in a second stage.

        Args:
            prior: Prior as text, or one for each level; None: like the present one.

        Raises:
            CompositionError: The latents have no such prior, or it does not fit.
            InputError: The prior is unknown.
        """
        raise CompositionError(
            f"the prior of latents {type(self).__name__} cannot be replaced; train a model with latents 'flat' and "
            "prior 'flow-matching', or with latents 'quantized'"
        )

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
        """Whether p(z) and q(z | x) share parameters; some gradient estimators require that they do not."""
        return False

    @property
    def expensive_pairs(self) -> bool:
        """Whether each pair in `log_pairs` costs passes through a network."""
        return False

    @property
    def description(self) -> str:
        """The size of z in words."""
        return f"{self.latent} latents"

    def implements(self, method: str) -> bool:
        """Return whether the class defines an optional method, such as "log_prior"."""
        return getattr(type(self), method) is not getattr(Latents, method)

    def _missing(self, method: str, error: type[CompositionError] = CompositionError) -> NoReturn:
        raise error(f"latents {type(self).__name__} do not define {method}, which is needed here; define that method")


class DiscreteLatents(Latents):
    """Latents whose z is a grid of code indices, each embedded as a vector.

    p and q share the embeddings. A context enters only the prior, p(z | c): encoder and decoder do not see it.
    """

    maps = True

    @classmethod
    def network_for(cls, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> str | None:
        """Return a network whose grid of code indices is at least 4 x 4."""
        if len(shape) != 3 or min(shape[1:]) < 8:
            return None
        return "resnet" if min(shape[1:]) >= 16 else "resnet(halvings=(1,))"

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) has all its mass at one point, so that more samples do not tighten the ELBO."""
        return True

    @property
    def support(self) -> str:
        """The set that z lies in: the vectors of a codebook."""
        return "codebook"

    @property
    def shares_parameters(self) -> bool:
        """True: p and q share the codebooks, and the networks that decode a level for the level below."""
        return True
