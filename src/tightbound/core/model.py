"""The model, which combines latents, likelihood, observation and context."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component, signature
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Context, Likelihood, Observation
from tightbound.core.join import append, join
from tightbound.core.latents import DiscreteLatents, Latents, State, Trainable
from tightbound.core.noise import Noise, unkeyed
from tightbound.core.numerics import first_parameter
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.schema import UNNAMED, Schema
from tightbound.core.terms import Batch, LatentTerms, Terms, cycled, log_density

Layout = Literal["chw", "hwc", "hw"]  # order of the axes of an example; flat examples are "chw"


class VAE(Component, Trainable):
    """Latent-variable model with p(z), q(z | x) and p(x | z).

    Args:
        latents: The path from x to z and back to features; it owns the prior and the posterior.
        likelihood: p(x | features).
        observation: Maps raw data to the encoder's input and the likelihood's target.
        context: The variable c that x is conditioned on; None: no variable. The encoder sees x joined with c
            (`core.join`), the prior sees c, and the likelihood gets the features followed by c. With latents that are
            grids or maps, only the prior sees c.
        layout: Order of the axes of an example as the data were given; the model itself takes "chw".
        schema: Names of the columns and classes, as `Schema.recorded` writes them; None: unknown.

    Raises:
        CompositionError: The likelihood is not a density on the observation's targets, or shapes do not match.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        latents: Latents,
        likelihood: Likelihood,
        observation: Observation,
        context: Context | None = None,
        layout: Layout = "chw",
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        prior_only = latents.maps
        likelihood.check_domain(observation.target)
        if context is not None and context.completes and observation.input_shape(likelihood.shape) != likelihood.shape:
            raise CompositionError(
                f"context {type(context).__name__} shows elements of x unchanged, and {type(observation).__name__} "
                "changes their shape for the encoder; use context 'labels', or numeric data"
            )
        if context is not None and context.modeled is not None and not likelihood.elementwise:
            raise CompositionError(
                f"the context holds some elements of x, and {type(likelihood).__name__} cannot leave elements out; "
                "use a likelihood of independent elements, such as 'bernoulli' or 'discretized-logistic'"
            )
        if observation.not_a_likelihood and not likelihood.elementwise:
            raise CompositionError(
                f"{type(likelihood).__name__} predicts elements from each other; their log-probability has no closed "
                "expectation over binarizations; use the observation binarized('dynamic') or binarized('static')"
            )
        if context is not None and context.completes and prior_only:
            raise CompositionError(
                f"the decoder of {type(latents).__name__} sees only the latent code, not the part of x that context "
                f"{type(context).__name__} shows; use latents 'flat', or context 'labels'"
            )
        features = latents.features + (0 if context is None or prior_only else context.size)
        if likelihood.features is not None and likelihood.features != features:
            beside = "" if context is None else f" and the context {context.size}"
            raise CompositionError(
                f"the latents give {latents.features} features{beside}; the likelihood takes {likelihood.features}; "
                f"construct the likelihood with features={features}"
            )
        self.latents, self.likelihood, self.observation, self.context = latents, likelihood, observation, context
        self.layout: Layout = layout
        self.starter: Callable[[VAE, Any], None] | None = None  # initializes the model from a split of examples
        self.schema = Schema.of(schema or {})
        self.prepared_objectives: dict[object, Any] = {}  # the objectives that `loss` prepared, by text or object

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.likelihood.shape

    @property
    def is_table(self) -> bool:
        """Whether an example is a row of a table: a vector, not an image."""
        return len(self.shape) == 1

    def learn_names(self, schema: Schema) -> None:
        """Take over the names of the columns and classes of the training data where the model knows none."""
        self.schema = self.schema.completed(schema)
        if "schema" in signature(type(self)).parameters and self.schema != UNNAMED:
            self.record_again(schema=self.schema.recorded())

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        first = first_parameter(self)
        return torch.device("cpu") if first is None else first.device

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules that the model's components declare, by knob name."""
        return {k: s for child in self.children() for k, s in getattr(child, "schedules", {}).items()}

    @property
    def dimensions(self) -> int:
        """The number D of elements of x that are modeled; those that the context holds do not count."""
        some = None if self.context is None else self.context.modeled
        return math.prod(self.shape) if some is None else some

    @property
    def infers_context(self) -> bool:
        """Whether the context of some examples may be unknown (label -1), so that the model infers it."""
        return self.context is not None and self.context.partial

    @property
    def target_name(self) -> str:
        """The quantity that is bounded, in words."""
        return ", ".join([self.observation.target_name, *self.conditions])

    @property
    def conditions(self) -> list[str]:
        """Descriptions of what the bounded quantity is conditioned on, such as "given the class label"."""
        own = [self.likelihood.given] if self.likelihood.given else []
        return own + ([self.context.description] if self.context is not None else [])

    @property
    def summary(self) -> str:
        """Likelihood, latents and number of parameters, in one line."""
        likelihood, size = type(self.likelihood).__name__, sum(p.numel() for p in self.parameters())
        return f"{likelihood} likelihood of {self.target_name}, {self.latents.description}, {size:,} parameters"

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) has all its mass at one point, so that more samples do not tighten the ELBO."""
        return isinstance(self.latents, DiscreteLatents) and self.latents.deterministic

    @property
    def trained_later(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the tensors in the state dict that the second stage trains."""
        later = self.latents.second_stage
        own = () if later is None else later.modules()
        tensors = {id(t) for m in own for t in (*m._parameters.values(), *m._buffers.values())}
        return frozenset(n for n, t in self.state_dict(keep_vars=True).items() if id(t) in tensors)

    def bits(self, nats: float) -> float | None:
        """Return -nats / (D ln 2), or None if bits are undefined for the observation."""
        return -nats / (self.dimensions * math.log(2)) if self.observation.counts_bits else None

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of q(z | x), which `encoder_lr=` applies to."""
        return self.latents.inference_parameters()

    @property
    def shares_parameters(self) -> bool:
        """Whether p and q share parameters, in the latents or in a likelihood that is tied to the encoder."""
        encoder = {id(p) for p in self.inference_parameters()}
        return self.latents.shares_parameters or any(id(p) in encoder for p in self.likelihood.parameters())

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the terms of a raw batch.

        Args:
            batch: Raw data.
            samples: Latent samples per example.
            noise: Source of the draws; None: seeded by torch's default generator.
            knobs: Values of the schedules; None: their final values.
        """
        noise = noise or unkeyed()
        knobs = Knobs.final(self.schedules) if knobs is None else knobs
        seen = self.observe(batch, noise)
        return self.terms_from(seen, self.encode_state(seen), samples, noise, knobs)

    terms = forward

    def observe(self, batch: Batch, noise: Noise, *, context: bool = True) -> Batch:
        """Add the encoder's `input`, the likelihood's target `x` and the context to a raw batch.

        Args:
            batch: Raw data.
            noise: Source of the draws.
            context: Whether to add the context; if False, the data need not contain it.
        """
        first = first_parameter(self)
        x = batch.x if first is None else batch.x.to(first.dtype)
        seen = self.observation(replace(batch, x=x), noise, self.training)
        seen = self.context(seen) if context and self.context is not None else replace(seen, context=None)
        offset = self.likelihood.offset(seen)
        return seen if offset is None else replace(seen, offset=offset)

    def start_at(self, seen: Batch, *, likelihood: bool = True) -> None:
        """Initialize pseudo-inputs and, with `likelihood`, the likelihood's marginals from an observed batch."""
        with torch.no_grad():
            self.latents.start_at(self.encoder_input(seen), seen.context)
        if likelihood:
            self.likelihood.start_at(seen.x if seen.mask is None else cycled(seen.x, seen.mask))

    def encode_state(self, seen: Batch) -> State:
        """Run the deterministic part of inference, once for any number of samples."""
        return self.latents.encode(self.encoder_input(seen), seen.context)

    def encode_local(self, seen: Batch) -> tuple[Tensor | None, State]:
        """Return the variational parameters (B, ...) and the encoded state of an observed batch.

        The parameters are None if the latents do not define `Latents.local`.
        """
        if not self.latents.implements("local"):
            return None, self.encode_state(seen)
        local = self.latents.local(self.encoder_input(seen))
        return local, self.latents.state(local, seen.context)

    def encoder_input(self, seen: Batch) -> Tensor:
        """Return the encoder's input: the batch's `input`, joined with the context if the encoder sees it."""
        if seen.input is None:
            raise CompositionError("the batch has not been observed; call model.observe(batch, noise) first")
        return join(seen.input, self._shown(seen.context))

    def terms_from(self, seen: Batch, state: State, samples: int, noise: Noise, knobs: Knobs) -> Terms:
        """Return the terms of an observed batch, from its encoded state."""
        groups, features = self.infer(seen, state, samples, noise, knobs)
        likelihood = self._likelihood_at(features, seen.context, seen.offset)
        value = log_density(likelihood, seen.x, seen.mask) + self.observation.log_det(seen)
        return Terms(value, groups, likelihood, seen)

    def log_likelihood(self, seen: Batch, z: Tensor) -> Tensor:
        """Return log p(x | z) (S, B) of an observed batch at z (S, B, latent), in the measure of the raw data.

        This serves algorithms that move z, such as Markov chains. For draws from q(z | x), use `terms_from`.
        """
        context = None if seen.context is None else seen.context.expand(len(z), *seen.context.shape).flatten(0, 1)
        features = self.latents.decode(z.flatten(0, 1), context).unflatten(0, z.shape[:2])
        value = log_density(self._likelihood_at(features, seen.context, seen.offset), seen.x, seen.mask)
        return value + self.observation.log_det(seen)

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z) (S, B) at z (S, B, latent), given contexts (B, *context.shape)."""
        given = None if context is None else context.expand(len(z), *context.shape).flatten(0, 1)
        return self.latents.log_prior(z.flatten(0, 1), given).unflatten(0, z.shape[:2])

    def infer(
        self, seen: Batch, state: State, samples: int, noise: Noise, knobs: Knobs
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Draw from q(z | x) for an observed batch; return each group's terms, and features (S, B, features)."""

        def log_likelihood(features: Tensor) -> Tensor:
            return log_density(self._likelihood_at(features, seen.context, seen.offset), seen.x, seen.mask)

        return self.latents.infer(state, samples, noise, knobs, log_likelihood)

    def generate(self, n: int, noise: Noise, context: Tensor | None = None) -> Distribution:
        """Return p(x | z, context), batch shape (n,), for n ancestral draws of z.

        Args:
            n: Number of draws.
            noise: Source of the draws.
            context: Contexts (n, *context.shape), for a conditional model.

        Raises:
            InputError: The shape of context= is wrong, or context= is missing or not expected.
        """
        self._check_context(n, context)
        features = self.latents.decode(self.latents.draw(n, noise, context), context)
        return self._likelihood_at(features, context, self.likelihood.draw_offset(n, noise))

    def decode(self, z: Tensor, context: Tensor | None = None, offset: Tensor | None = None) -> Distribution:
        """Return p(x | z, context), batch shape (B,).

        Args:
            z: Latent codes (B, latent).
            context: Contexts (B, *context.shape), for a conditional model.
            offset: Numbers (B,) that p(x | z) is conditioned on, `Batch.offset` of observed examples; None: a typical
                number.
        """
        self._check_context(len(z), context)
        return self._likelihood_at(self.latents.decode(z, context), context, offset)

    def _shown(self, context: Tensor | None) -> Tensor | None:
        """Return the context that encoder and decoder see."""
        return None if self.latents.maps else context

    def _likelihood_at(self, features: Tensor, context: Tensor | None, offset: Tensor | None = None) -> Distribution:
        context = self._shown(context)
        typical = self.likelihood(append(features, context), context)
        return typical if offset is None else self.likelihood.at(typical, offset)

    def _check_context(self, n: int, context: Tensor | None) -> None:
        needed = None if self.context is None else (n, *self.context.shape)
        given = None if context is None else tuple(context.shape)
        if needed != given:
            raise InputError(
                f"context= has shape {given} and the model needs {needed}; compute it with model.context.encode(values)"
            )
