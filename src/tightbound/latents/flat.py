"""One group of latent variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.components import describe, make, rebuild
from tightbound.core.errors import CompositionError, DensityUnknown, InputError
from tightbound.core.latents import Latents, LogLikelihood, SecondStage, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import LatentTerms, log_factors
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

SUPPORTS = {"real": "R^L", "sphere": "the unit sphere", "one-hot": "one-hot vectors", "ball": "the Poincaré ball"}


class Flat(Latents):
    """Latents with one group z, prior p(z) and posterior q(z | x); the features are z itself.

    Args:
        prior: p(z).
        posterior: q(z | x), with the same size of z. A prior that needs an encoder uses this one.

    Raises:
        CompositionError: The sizes or supports of z differ; the prior does not fit the encoder that it uses; or the
            posterior needs the prior N(0, I) and has another.
    """

    plane: tuple[int, ...] = ()  # shape (C, H, W) of z, if it is a map

    def __init__(self, prior: Prior, posterior: Posterior) -> None:
        super().__init__()
        _check_pair(prior, posterior)
        self.prior, self.posterior = prior, posterior
        self.latent = self.features = prior.latent
        if self.second_stage is not None:
            self.second_stage.disable()

    @property
    def second_stage(self) -> SecondStage | None:
        """The prior as a model to train after the rest, if it is one."""
        return self.prior.second_stage

    def replace_prior(self, prior: str | Sequence[str] | None) -> None:
        """See `Latents.replace_prior`; a prior that was trained with the rest stays."""
        if prior is not None and not isinstance(prior, str):
            raise InputError(f"prior = {list(prior)!r}; latents 'flat' have one prior; pass it as text")
        if self.second_stage is None and any(True for _ in self.prior.parameters()):
            raise CompositionError(
                f"prior {type(self.prior).__name__} was trained together with the encoder, and cannot be replaced; "
                "train a model with prior 'normal' or 'flow-matching'"
            )
        new: Prior
        if prior is None:
            new = rebuild(describe(self.prior), trust=True)
        else:
            new = make("prior", prior, latent=self.latent, context=self.prior.context, plane=self.plane)
        if new.second_stage is None:
            raise CompositionError(
                f"prior {type(new).__name__} is trained together with the encoder; pass one that is trained after it, "
                "such as 'flow-matching'"
            )
        _check_pair(new, self.posterior)
        like = next(self.posterior.parameters(), None)
        self.prior = new if like is None else new.to(like)
        self.record_again(prior=self.prior)
        if self.second_stage is not None:
            self.second_stage.disable()

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules of prior and posterior, by knob name."""
        return {**self.prior.schedules, **self.posterior.schedules}

    @property
    def support(self) -> str:
        """The set that z lies in."""
        return self.posterior.support

    @property
    def evaluable(self) -> bool:
        """Whether the posterior's density is known at any z."""
        return self.posterior.evaluable

    @property
    def shares_parameters(self) -> bool:
        """Whether the prior uses the encoder."""
        return self.prior.needs_encoder

    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the prior's pseudo-inputs from encoder inputs x (N, *shape)."""
        self.prior.start_at(x)

    def prior_given(self, context: Tensor | None) -> Distribution:
        """Return p(z | context)."""
        flat = None if context is None else context.flatten(1)
        # pass the encoder at each call: if the prior held it, its weights would be in the model twice
        return self.prior(flat, self.posterior) if self.prior.needs_encoder else self.prior(flat)

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """Return `state` of `local`."""
        return self.state(self.local(x), context)

    def local(self, x: Tensor) -> Tensor:
        """Return the parameters of the posterior for each example."""
        return self.posterior.raw(x)

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return (q(z | x), p(z))."""
        return self.posterior.at(local), self.prior_given(context)

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Return one group, and features (S, B, latent)."""
        posterior, prior = state
        group = self.posterior.terms(posterior, prior, samples, noise, knobs, log_likelihood)
        return (group,), group.z

    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Return n draws (n, latent) from the prior."""
        prior = self.prior_given(context)
        return draw(prior, () if prior.batch_shape else (n,), noise)

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z) (B,)."""
        return self.prior_given(context).log_prob(z)

    @property
    def solved(self) -> bool:
        """Whether the prior's density is."""
        return self.prior.solved

    @property
    def estimated(self) -> bool:
        """Whether the prior's density is."""
        return self.prior.estimated

    @property
    def density_passes(self) -> int:
        """The passes of the prior."""
        return self.prior.density_passes

    def numerical_error(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the error of the prior's density (B,) at z (B, latent)."""
        return self.prior.numerical_error(z, None if context is None else context.flatten(1))

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Return log q(z_i | x_j) (M, N, F); F = 1 if the posterior's dimensions depend on each other."""
        if self.posterior.has_density and not self.posterior.evaluable:
            raise DensityUnknown(
                f"the density of {type(self.posterior).__name__} is unknown at z of other examples; use a posterior "
                "such as 'normal' or 'flow'"
            )
        return log_factors(self.posterior.at(local), z.unsqueeze(1))

    @property
    def expensive_pairs(self) -> bool:
        """Whether each pair costs passes through the posterior's network."""
        return self.posterior.expensive

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the mean and variance (B, latent) of q(z | x)."""
        return state[0].mean, state[0].variance

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return z, or the nearest point of the support if z (such as a mean) lies off it."""
        return self.posterior.nearest(z)

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the posterior."""
        return list(self.posterior.parameters())


def _check_pair(prior: Prior, posterior: Posterior) -> None:
    """Raise CompositionError if the two do not fit together; see `Flat`."""
    if prior.latent != posterior.latent:
        raise CompositionError(
            f"the prior has {prior.latent} dimensions and the posterior has {posterior.latent}; "
            "pass the same latent= to both"
        )
    if prior.support not in ("any", posterior.support):
        here, there = (
            f"{type(one).__name__} is a distribution on {SUPPORTS.get(one.support, one.support)}"
            for one in (prior, posterior)
        )
        raise CompositionError(
            f"prior {here} and posterior {there}, so no bound exists; use two on the same set, such as prior "
            "'normal' with posterior 'normal', 'sphere' with 'von-mises-fisher' or 'categorical' with "
            "'relaxed-categorical'"
        )
    if posterior.needs_standard_prior and not prior.standard:
        raise CompositionError(
            f"posterior {type(posterior).__name__} needs the prior N(0, I), and this prior is "
            f"{type(prior).__name__}; use prior 'normal', or posterior 'normal'"
        )
    if prior.needs_evaluable and not posterior.evaluable:
        raise CompositionError(
            f"prior {type(prior).__name__} uses the posterior's density at any z, which is unknown for "
            f"{type(posterior).__name__}; use another posterior, such as 'normal'"
        )
    if prior.needs_encoder and prior.shape not in ((), posterior.shape):
        raise CompositionError(
            f"prior {type(prior).__name__} holds encoder inputs of shape {prior.shape}, and the encoder takes "
            f"{posterior.shape}; construct the prior with shape={posterior.shape}"
        )
