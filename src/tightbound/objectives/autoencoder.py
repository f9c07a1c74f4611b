"""Reconstruction alone, for the comparison with a VAE."""

from __future__ import annotations

from torch import Tensor

from tightbound.core.errors import whole
from tightbound.core.interfaces import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import Objective, require_fixed_prior, require_single_group, require_vae


class Autoencoder(Objective):
    """log p(x | z) with z from the posterior and no rate: a plain autoencoder with posterior 'point'.

    It is no bound on log p(x).

    Arguments:
        samples: Of a posterior that is not a point.
    """

    def __init__(self, samples: int = 1) -> None:
        self.samples = whole("samples", samples, least=1)

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Refuses a learned prior, which it would not train."""
        require_fixed_prior(require_vae(model, "autoencoder"), "autoencoder")

    def check(self, terms: Terms) -> None:
        """Needs one group: it would not train what infers those above the first."""
        require_single_group(terms, "autoencoder")

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        return terms.log_likelihood.mean(0)
