"""What latents, likelihoods and observations must offer. Bases of the parts in the folders below."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.numerics import precise
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Batch, CodeGrid, LatentTerms, Terms

LogLikelihood = Callable[[Tensor], Tensor]  # features (S, B, features) -> (S, B) log p(x | features)
Draw = Callable[[int, Noise, Tensor | None], Tensor]  # (n, noise, contexts (n, *context)) -> flat codes (n, latent)
State = Any  # what Latents.encode gives and Latents.infer takes: opaque to everybody else


class Trainable(nn.Module, ABC):
    """What a stage trains: a VAE, or a second model on its codes."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that the model's parts declare, by the knob's name."""
        return {}

    @abstractmethod
    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """The terms of a raw batch."""

    def inference_parameters(self) -> list[nn.Parameter]:
        """The parameters that an encoder learning rate applies to."""
        return []

    @property
    def shares_parameters(self) -> bool:
        """Whether p and q have parameters in common: some gradient estimators assume that they have not."""
        return False

    @property
    def aside(self) -> frozenset[str]:
        """Names, in its state, of what is left to a later stage: not of this one's weights."""
        return frozenset()

    unit: str = "dim"  # of which an example has many: what `bits` counts them by

    def bits(self, nats: float) -> float | None:
        """Log-likelihood of an example, nats, as bits for each `unit`, where the model counts bits."""
        return None

    @property
    def baselines(self) -> Mapping[str, float]:
        """Mean log-likelihoods, nats an example, that the model's own is seen beside, by name."""
        return {}


class SecondStage(Trainable):
    """A part of the model that is trained after the rest, on codes of the data; until then the model goes without."""

    @abstractmethod
    def set_aside(self) -> None:
        """The model goes without it, and does not train it."""

    @abstractmethod
    def take_up(self) -> None:
        """The model uses it."""

    @property
    @abstractmethod
    def entries(self) -> int:
        """Values 0, 1, ... that a code can take, at most."""

    @abstractmethod
    def codes(self, groups: Sequence[LatentTerms]) -> Tensor:
        """(B, N) integers: what it is trained on, of one sample of a batch's latents."""


class Latents(Component, nn.Module, ABC):
    """Owns the walk from x to z (q) and from z to features (p)."""

    features: int  # size of the vector that the likelihood takes
    latent: int  # size of the flat code of an example
    coded_by: str = "q(z|x)"  # what `moments` are those of
    fitted: str = "q(z|x)"  # what `local` are the parameters of
    builds: ClassVar[tuple[str, ...]] = ()  # arguments that are parts, given as specs, for sizes that it alone knows
    on_planes: ClassVar[bool] = False  # made for encoders that give maps
    prior_only: ClassVar[bool] = False  # a context enters p(z | c) alone: given z, x does not depend on it

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules that prior and posterior declare, by the knob's name."""
        return {}

    @property
    def support(self) -> str:
        """Where flat codes lie: "real" (R^L), "sphere", ..."""
        return "real"

    @property
    def evaluable(self) -> bool:
        """Whether the density of q(z | x) is known at any code, in one piece."""
        return False

    @property
    def described(self) -> str:
        """Their size, in words."""
        return f"{self.latent} latents"

    @property
    def shares_parameters(self) -> bool:
        """Whether p(z) and q(z | x) have parameters in common: some gradient estimators assume that they have not."""
        return False

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) is one value with probability 1: the ELBO is then all that importance weights give."""
        return False

    @property
    def code_grids(self) -> Sequence[CodeGrid]:
        """Of each group, the lowest first, where z are codes; else none."""
        return ()

    @property
    def recoverable(self) -> bool:
        """Whether z can be told from a flat code exactly: else `log_prior` of one may be that of another z near by."""
        return True

    @property
    def second(self) -> SecondStage | None:
        """What is trained after the rest; None: nothing."""
        return None

    def replace_second(self, part: str | Sequence[str] | None) -> None:
        """Puts an untrained part, as text, in the place of what is trained after the rest; None: one like it.

        Raises:
            CompositionError: latents without such a part, or one that does not fit.
        """
        raise CompositionError(
            f"latents {type(self).__name__} have no prior that is trained after the rest; "
            "fit a sampler to their codes (fit-sampler), or train a model with latents 'quantized'"
        )

    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Lets parts that hold pseudo-data take them from encoder inputs x (N, *shape)."""

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """The deterministic part of inference for x (B, *shape), run once however many samples follow."""
        return self.state(self.local(x), context)

    @abstractmethod
    def local(self, x: Tensor) -> Tensor:
        """(B, ...) the variational parameters of each example of x (B, *shape): all that its own q(z | x) is made of."""

    @abstractmethod
    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """What `infer` takes, of variational parameters that the encoder gave, or that were fitted to an example."""

    @abstractmethod
    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """One record a group, and features (S, B, features), for samples of q(z | x).

        Arguments:
            log_likelihood: Of the data at given features, for a q that looks at the model (Hamiltonian).
        """

    @abstractmethod
    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Flat codes (n, latent) of n ancestral draws from the prior."""

    def sharpened(self, temperature: float = 1.0, top_k: int | None = None) -> Draw:
        """`draw` from a sharper prior than the model's: of each code, the logits over temperature, or the k likeliest
        alone. Such draws are typical rather than fair.

        Raises:
            CompositionError: of a prior that is not over codes, or not learned.
            InputError: a temperature not above 0, or top_k less than 1.
        """
        raise CompositionError(
            f"temperature and top_k are of a learned prior over codes, and latents {type(self).__name__} have none; "
            "leave them out, or train with latents='quantized' and prior='pixelcnn'"
        )

    @abstractmethod
    def log_prior(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """(B,) log p(z) of flat codes (B, latent), all groups together."""

    @abstractmethod
    def log_pairs(self, code: Tensor, local: Tensor) -> Tensor:
        """(M, N, F) log q(z_i | x_j) of flat codes (M, latent) under variational parameters (N, ...) of any data, all
        groups together; by dimension, F = latent, where q factorizes over the dimensions of z, else F = 1.

        Of latents whose groups depend on no context but through `local`.

        Raises:
            NotABound, DensityUnknown: where q has no density, or it is not known at other data's codes.
        """

    @property
    def expensive_pairs(self) -> bool:
        """Whether each of these takes passes through a network."""
        return False

    def generate(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Features (n, features) of n ancestral draws from the prior."""
        return self.decode(self.draw(n, noise, context), context)

    @abstractmethod
    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """(B, latent) mean and variance of q(z | x)."""

    @abstractmethod
    def decode(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """Features (B, features) of a flat code (B, latent), such as the posterior mean."""

    @abstractmethod
    def inference_parameters(self) -> list[nn.Parameter]:
        """The parameters of q(z | x): what an encoder learning rate applies to."""


class Likelihood(Component, nn.Module, ABC):
    """p(x | features): a module whose call returns a distribution with event shape `shape`."""

    shape: tuple[int, ...]
    features: int | None  # size of the features it takes; None: they are the distribution's parameters
    outputs: int = 1  # numbers that the network gives for each element of x

    @property
    def elementwise(self) -> bool:
        """Whether the elements of x are independent given the features."""
        return False

    @property
    def autoregressive(self) -> bool:
        """Whether it can model all dependence between the elements of x by itself, and leave the features unused."""
        return False

    @property
    def narrower(self) -> Mapping[str, Any]:
        """Arguments by which it would model less of that dependence by itself; none where there are none."""
        return {}

    @abstractmethod
    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Features (..., features) -> distribution with batch shape (...) and event shape `shape`."""

    def start_at(self, x: Tensor) -> None:
        """Lets p(x | z) of an untrained network have about the marginals of targets x (N, *shape)."""

    @abstractmethod
    def check_domain(self, target: Domain) -> None:
        """Raises CompositionError where this is no density on such targets, with the reason and the fix."""


class Context(Component, nn.Module, ABC):
    """What x is conditioned on: c in p(x | c) = E_p(z | c) p(x | z, c)."""

    shape: tuple[int, ...]  # of one example's context
    description: ClassVar[str]  # "given the class label": follows the name of what is bounded
    completes: ClassVar[bool] = False  # whether it is part of x, so that the model completes the rest
    classes: int = 0  # values are class labels 0 .. classes - 1; 0: they are something else
    modeled: int | None = None  # elements of x that are left to the model; None: all

    @property
    def size(self) -> int:
        """Numbers in the context of an example."""
        return math.prod(self.shape)

    @abstractmethod
    def forward(self, seen: Batch) -> Batch:
        """Sets `context` (B, *shape) of an observed batch; may set `mask` where the context gives part of x.

        Raises:
            InputError: where the data lack what the context is made of.
        """

    @abstractmethod
    def encode(self, values: Tensor) -> Tensor:
        """Contexts (n, *shape) of values that a person names, such as class labels (n,).

        Raises:
            InputError: values of another kind.
        """

    def examples(self, n: int) -> Tensor:
        """Up to n values for `encode`, to show the model by.

        Raises:
            InputError: where none do for any data.
        """
        raise InputError("the model is conditional: say on what, by a context (command line: --context)")


class Observation(Component, nn.Module, ABC):
    """Maps raw data to the encoder's input and the likelihood's target, and knows the measure."""

    source: Domain  # of the raw data
    target: Domain  # of what the likelihood sees
    target_name: str  # what the bound is a bound on
    needs_index: bool = False  # in training, too: its random part is fixed by each example's index
    error_unit: str = "squared units"
    no_bits: str = "bits of a density depend on the unit of x"  # why there are no bits/dim, where there are none
    header: Sequence[str] = ()  # names of the columns of a table
    words: Sequence[Sequence[str]] = ()  # by column: the words that its numbers 0, 1, ... stand for, where they do

    def check_source(self, domain: Domain) -> None:
        """Raises InputError where raw data of this domain are not what the model was made for."""
        parts = {"real": ("real", "unit"), "unit": ("binary",), "counts": ("binary", "levels")}
        within = parts.get(self.source.kind, ())
        same = domain == self.source or (domain.levels is not None and domain.levels == self.source.levels)
        if not same and domain.kind not in within:
            raise InputError(
                f"the model was made for {self.source} and the data are {domain}; "
                "convert the data, or name their domain, levels or kinds when opening them"
            )

    @property
    def log_slope(self) -> float | Tensor:
        """log |d target / d raw| of each element, nats: one number for all, or (*shape)."""
        return 0.0

    @property
    def error_scale(self) -> float | Tensor:
        """A unit for reconstruction errors, in raw units: one for all elements, or (*shape)."""
        return 1.0

    @property
    def metric(self) -> bool:
        """Whether distances between data mean something: not where elements are categories."""
        return True

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what the encoder sees of data of this shape."""
        return shape

    def log_det(self, seen: Batch) -> Tensor | float:
        """(B,), or one number for all, log |det J| over the observed elements: added to log p(target | z), it gives
        log p(raw | z)."""
        if seen.mask is None and isinstance(self.log_slope, float):
            return self.log_slope * seen.x[0].numel()
        each = torch.as_tensor(self.log_slope).to(seen.x).expand_as(seen.x)
        return (each if seen.mask is None else each.masked_fill(~seen.mask, 0.0)).flatten(1).sum(1)

    @property
    @abstractmethod
    def counts_bits(self) -> bool:
        """Whether bits/dim exist: the bound is one on the probability of discrete data."""

    @property
    def not_a_likelihood(self) -> str | None:
        """Why the bound is no bound on a likelihood of the data, where it is none."""
        return None

    @abstractmethod
    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Sets `input` and the target `x` of a raw batch, which comes in floating point.

        Random observations are fixed, by their own seed and each example's index, unless `training`.
        """

    @abstractmethod
    def restore(self, target: Tensor) -> Tensor:
        """Targets, or their means, in the units of the raw data."""

    def reference(self, raw: Tensor, seen: Batch) -> Tensor:
        """What a reconstruction is compared with, in the units of the raw data: those data themselves."""
        return raw

    def realized(self, raw: Tensor, seen: Batch, noise: Noise) -> Tensor:
        """What draws of p(x | z) are compared with, in the units of the raw data: the data as the likelihood sees
        them, NaN where they are missing."""
        return self.restore(seen.x).where(~torch.isnan(raw), torch.nan)

    def error(self, restored: Tensor, raw: Tensor, seen: Batch) -> Tensor:
        """(B,) mean over observed elements of the squared error in units of `error_scale`; NaN where none is."""
        squared = precise((restored - self.reference(raw, seen)) / self.error_scale).square()
        if seen.mask is not None:
            squared = squared.masked_fill(~seen.mask.to(squared.device), torch.nan)
        return squared.flatten(1).nanmean(1)
