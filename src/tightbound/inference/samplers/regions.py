"""Latent sampler with classes, to sample one class from a model that was trained without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tightbound.core.errors import InputError, whole
from tightbound.inference.samplers.base import Sampler
from tightbound.inference.samplers.mixture import GaussianMixture, fit_mixture


class ClassRegions(GaussianMixture):
    """Latent sampler with a Gaussian mixture per class, weighted by the share of the class.

    Args:
        latent: Size of a latent code.
        components: Number of components per class.
        labels: Class labels, whole numbers (default: the class labels of the data).
    """

    def __init__(self, latent: int = 1, components: int = 3, labels: Sequence[int] = ()) -> None:
        each, known = whole("components", components, least=1), tuple(labels)
        super().__init__(latent, each * max(1, len(known)))
        self.each, self.labels = each, known

    @classmethod
    def suited(cls, codes: Tensor, seed: int) -> Mapping[str, Any]:
        """Return no arguments: the defaults suit all latent codes."""
        return {}

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Fit the mixture of each class.

        Raises:
            InputError: If there are no class labels, or a class has too few examples.
        """
        if labels is None or labels.dim() != 1 or labels.is_floating_point() or len(labels) != len(codes):
            given = "none" if labels is None else f"{tuple(labels.shape)} of {labels.dtype}"
            raise InputError(
                f"'class-regions' needs class labels, whole numbers (N,), and was given {given}; pass class labels"
            )
        super(GaussianMixture, self).start_at(codes, seed)
        standard = ((codes - self.mean) / self.std).double()
        for i, label in enumerate(self.labels):
            own = standard[labels == label]
            if len(own) <= self.each:
                raise InputError(
                    f"class {label} has {len(own)} examples, and {self.each} components need more; use fewer "
                    "components, or leave out the class: 'class-regions(labels=(...))'"
                )
            log_weights, loc, scale_tril = fit_mixture(own, self.each, seed)
            rows = self._rows(i)
            self.log_weights[rows].copy_(log_weights + torch.tensor(len(own) / len(codes)).log())
            self.loc[rows].copy_(loc)
            self.scale_tril[rows].copy_(scale_tril)

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Return the log-probability (N, classes) of each class given latent codes (N, latent), by Bayes' rule."""
        standard = ((codes - self.mean) / self.std).unsqueeze(-2)
        components = MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)
        joint = self.log_weights + components.log_prob(standard)
        return joint.unflatten(-1, (len(self.labels), self.each)).logsumexp(-1).log_softmax(-1)

    def of(self, label: int) -> Sampler:
        """Return the mixture of one class.

        Raises:
            InputError: If the class is unknown.
        """
        if label not in self.labels:
            there = ", ".join(map(str, self.labels))
            raise InputError(f"there is no class {label}; known classes: {there}")
        rows, one = self._rows(self.labels.index(label)), GaussianMixture(self.latent, self.each).to(self.loc)
        for name in ("mean", "std"):
            getattr(one, name).copy_(getattr(self, name))
        for name in ("log_weights", "loc", "scale_tril"):
            getattr(one, name).copy_(getattr(self, name)[rows])
        one.log_weights.sub_(one.log_weights.logsumexp(0))
        return one.eval()

    def _rows(self, i: int) -> slice:
        return slice(i * self.each, (i + 1) * self.each)
