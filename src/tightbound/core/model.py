"""The model: latents, likelihood and observation."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Latents, Likelihood, Observation, State, Trainable
from tightbound.core.noise import Noise
from tightbound.core.parts import Part
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Batch, Terms


class VAE(Part, Trainable):
    """A latent-variable model: p(z), q(z | x) and p(x | z).

    Arguments:
        latents: The walk from x to z and back to features; owns prior and posterior.
        likelihood: p(x | features).
        observation: Maps raw data to the encoder's input and the likelihood's target.

    Raises:
        CompositionError: where the likelihood is no density on the observation's targets, or the shapes differ.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), https://arxiv.org/abs/1312.6114
    """

    def __init__(self, latents: Latents, likelihood: Likelihood, observation: Observation) -> None:
        super().__init__()
        likelihood.check_domain(observation.target)
        if observation.not_a_likelihood and not likelihood.elementwise:
            raise CompositionError(
                f"{type(likelihood).__name__} predicts elements from each other, and its log-probability has no closed "
                "expectation over binarizations; observe with binarized('dynamic') or binarized('static')"
            )
        if likelihood.features is not None and likelihood.features != latents.features:
            raise CompositionError(
                f"the latents give {latents.features} features and the likelihood takes {likelihood.features}; "
                f"construct the likelihood with features={latents.features}"
            )
        self.latents, self.likelihood, self.observation = latents, likelihood, observation

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one datum."""
        return self.likelihood.shape

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules that the model's parts declare, by the knob's name."""
        return {k: s for part in self.children() for k, s in getattr(part, "schedules", {}).items()}

    def bits(self, nats: float) -> float | None:
        """-nats / (D ln 2), where the observation counts bits."""
        return -nats / (math.prod(self.shape) * math.log(2)) if self.observation.counts_bits else None

    def inference_parameters(self) -> list[nn.Parameter]:
        """The parameters of q(z | x): what an encoder learning rate applies to."""
        return self.latents.inference_parameters()

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """The terms of a raw batch with this many latent samples for each datum.

        Arguments:
            noise: Where the draws come from; None: keyed by torch's default generator.
            knobs: Values of the schedules; None: their final ones.
        """
        noise = noise or unkeyed()
        knobs = Knobs.final(self.schedules) if knobs is None else knobs
        seen = self.observe(batch, noise)
        return self.terms_from(seen, self.encode_state(seen), samples, noise, knobs)

    terms = forward

    def observe(self, batch: Batch, noise: Noise) -> Batch:
        """Raw batch -> batch with the encoder's `input` and the likelihood's target `x`."""
        dtype = next((p.dtype for p in self.parameters()), batch.x.dtype)
        return self.observation(replace(batch, x=batch.x.to(dtype)), noise, self.training)

    def encode_state(self, seen: Batch) -> State:
        """The deterministic part of inference, run once however many samples follow."""
        if seen.input is None:
            raise CompositionError("the batch has not been observed; call model.observe(batch, noise) first")
        return self.latents.encode(seen.input, seen.context)

    def terms_from(self, seen: Batch, state: State, samples: int, noise: Noise, knobs: Knobs) -> Terms:
        """The terms of an observed batch, from its encoded state."""
        groups, features = self.latents.infer(state, samples, noise, knobs)
        likelihood = self.likelihood(features, seen.context)
        log_likelihood = likelihood.log_prob(seen.x) + self.observation.log_det
        return Terms(log_likelihood, groups, likelihood, seen)

    def generate(self, n: int, noise: Noise, context: Tensor | None = None) -> Distribution:
        """p(x | z) for n ancestral draws of z; batch shape (n,)."""
        return self.likelihood(self.latents.generate(n, noise, context), context)


def unkeyed() -> Noise:
    """Noise that follows torch's default generator, for calls that name no key."""
    return Noise("unkeyed", int(torch.randint(2**62, ())))
