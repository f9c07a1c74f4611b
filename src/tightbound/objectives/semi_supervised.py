"""Objective of models whose class labels are known for some examples only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tightbound.contexts.inferred import InferredLabels
from tightbound.core.errors import CompositionError, number
from tightbound.core.latents import Trainable
from tightbound.core.model import VAE
from tightbound.core.noise import unkeyed
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import Batch, Terms
from tightbound.objectives.base import prepared, require_vae
from tightbound.objectives.elbo import ELBO, KL


class M2(ELBO):
    """Bounds on log p(x, y) of labeled and log p(x) of unlabeled examples, plus the classifier's log-probability.

    A labeled example contributes L(x, y) + alpha log q(y | x), where L is the ELBO of log p(x | y) plus log p(y). An
    unlabeled example contributes sum_y q(y | x) (L(x, y) - log q(y | x)), with a sum over all classes. The context
    'inferred-labels' provides the labels; -1 means unknown. If there are few labeled examples, they are repeated within
    an epoch.

    Args:
        alpha: Weight of log q(y | x) of labeled examples, in nats.
        share: Minimum share of labeled examples in an epoch.
        beta: Weight of the rate, or its schedule.
        samples: Latent samples per example and class.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Semi-supervised learning with deep generative models (Kingma et al. 2014), Eqs. 6 to 9,
        https://arxiv.org/abs/1406.5298
    """

    context = "inferred-labels"

    def __init__(
        self,
        alpha: float = 1.0,
        share: float = 0.3,
        beta: float | Schedule = 1.0,
        samples: int = 1,
        kl: KL = "auto",
    ) -> None:
        super().__init__(beta, samples, kl)
        self.alpha = number("alpha", alpha, least=0)
        self.share = number("share", share, least=0, below=1)
        self._model: VAE | None = None

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require a model that infers class labels."""
        super().prepare(model, n_examples)
        self._model = require_vae(model, self.name)
        self._labels(self._model)

    def rows(self, labels: Tensor | None) -> Tensor | None:
        """Return the positions of examples in an epoch, in which labeled ones are repeated up to their share."""
        if labels is None or not self.share:
            return None
        known = torch.nonzero(labels >= 0)[:, 0]
        others = len(labels) - len(known)
        times = round(self.share / (1 - self.share) * others / max(1, len(known)))
        return torch.cat([torch.arange(len(labels)), known.repeat(max(0, times - 1))])

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        model = prepared(self._model, self.name)
        labels, seen = self._labels(model), terms.batch
        assert seen.context is not None
        log_q, log_p = labels.log_probabilities(seen), labels.log_shares
        joint = super().__call__(terms, knobs) + seen.context @ log_p + self.alpha * (seen.context * log_q).sum(-1)
        unknown = labels.unknown(seen)
        if not unknown.any():
            return joint
        rows = torch.nonzero(unknown)[:, 0]
        bounds = self.bounds(model, seen[rows], knobs) + log_p
        chosen = log_q[rows]
        return joint.index_put((rows,), (chosen.exp() * (bounds - chosen)).sum(-1))

    def bounds(self, model: VAE, seen: Batch, knobs: Knobs) -> Tensor:
        """Return the ELBO (B, classes) of log p(x | y) of an observed batch for each class y."""
        classes = self._labels(model).classes
        every = seen[torch.arange(len(seen), device=seen.x.device).repeat_interleave(classes)]
        every = replace(every, context=torch.eye(classes).to(seen.x).repeat(len(seen), 1))
        terms = model.terms_from(every, model.encode_state(every), self.samples, unkeyed(), knobs)
        return super().__call__(terms, knobs).unflatten(0, (len(seen), classes))

    @staticmethod
    def _labels(model: VAE) -> InferredLabels:
        if not isinstance(model.context, InferredLabels):
            raise CompositionError("objective 'm2' needs a model that infers labels; use context 'inferred-labels'")
        return model.context
