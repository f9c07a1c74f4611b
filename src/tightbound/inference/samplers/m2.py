"""Model M2 on the latent codes of another VAE, as a latent sampler."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Normal

from tightbound.contexts.inferred import UNKNOWN, InferredLabels
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import Batch
from tightbound.inference.samplers.base import Sampler
from tightbound.latents.flat import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.nn import MLP
from tightbound.objectives.semi_supervised import M2
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


class M2Sampler(Sampler):
    """Latent sampler with a second VAE that has a class variable, for data with few labels (M1+M2).

    The class y is drawn from p(y), u from N(0, I), and the latent code z of the first VAE (M1) from p(z | y, u). The
    second VAE (M2) is trained with the objective `m2`, where a classifier q(y | z) infers unknown classes. Latent
    dimensions that M1 does not use are left out of M2 and drawn from a Gaussian.

    Args:
        latent: Size of a latent code.
        labels: Class labels, whole numbers (default: the class labels of the data).
        active: Latent dimensions that M1 uses; (): all of them.
        inner: Size of u.
        hidden: Widths of the hidden layers of all networks.
        noise: Standard deviation of the noise added to the classifier's input in training.
        alpha, share: As for the objective `m2`.

    References:
        Semi-supervised learning with deep generative models (Kingma et al. 2014), https://arxiv.org/abs/1406.5298
    """

    infers_classes = True

    def __init__(
        self,
        latent: int = 1,
        labels: Sequence[int] = (),
        active: Sequence[int] = (),
        inner: int = 10,
        hidden: Sequence[int] = (500,),
        noise: float = 0.3,
        alpha: float = 20.0,
        share: float = 0.05,
    ) -> None:
        super().__init__(latent)
        self.labels = tuple(label for label in labels if label != UNKNOWN)
        self._objective = M2(alpha, share)
        self._used = list(active) or list(range(self.latent))
        self._label: int | None = None  # index of the class to draw; None: draw classes from p(y)
        size, network = len(self._used), MLP(tuple(hidden))
        classes = max(1, len(self.labels))
        inner = whole("inner", inner, least=1)
        self.vae = VAE(
            Flat(StandardNormal(inner), DiagonalNormal((size + classes,), inner, network)),
            Gaussian((size,), inner + classes, network, scale="per-dimension"),
            Identity(),
            InferredLabels(classes, self.labels, (size,), network, noise),
        )

    @property
    def trains(self) -> VAE:
        """The second VAE."""
        return self.vae

    def inputs(self, codes: Tensor) -> Tensor:
        """Return standardized latent codes, without the dimensions that M1 does not use."""
        return ((codes - self.mean) / self.std)[..., self._used]

    def options(self, n: int) -> Mapping[str, Any]:
        """Return fixed epochs and a high learning rate, since the bound says little about classification."""
        batch_size = min(250, max(16, n // 20))
        epochs = max(30, math.ceil(2000 * batch_size / n))
        warmup = epochs * n // batch_size // 20
        schedule = f"cosine(warmup={warmup}, final=0.01)"
        return {"epochs": epochs, "batch_size": batch_size, "lr": 5e-3, "schedule": schedule}

    @property
    def objective(self) -> M2:
        """The objective `m2`."""
        return self._objective

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Set mean and scale from latent codes (N, latent).

        Raises:
            InputError: If the examples have labels of fewer than two classes.
        """
        if labels is None or len(self.labels) < 2:
            given = "no class labels" if labels is None or not self.labels else "labels of one class only"
            raise InputError(
                f"the examples have {given}, and latent sampler 'm2' needs labels of some examples of each class; pass "
                "such labels, or fit another latent sampler"
            )
        super().start_at(codes, seed)

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Draw standardized latent codes (n, latent)."""
        context = self._context
        y = draw(Categorical(logits=context.log_shares), (n,), noise)
        y = y if self._label is None else torch.full_like(y, self._label)
        codes = draw(Normal(torch.zeros_like(self.mean), 1.0), (n,), noise)
        one_hot = F.one_hot(y, context.classes).to(codes)
        codes[:, self._used] = draw(self.vae.generate(n, noise, one_hot), (), noise)
        return codes

    def of(self, label: int) -> Sampler:
        """Return the sampler of one class.

        Raises:
            InputError: If the class is unknown.
        """
        if label not in self.labels:
            raise InputError(f"there is no class {label}; known classes: {', '.join(map(str, self.labels))}")
        one = copy.copy(self)
        one._label = self.labels.index(label)
        return one

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Return log q(y | z) (N, classes) for latent codes z (N, latent)."""
        seen = self.vae.observe(Batch(self.inputs(codes)), Noise("m2"), context=False)
        return self._context.log_probabilities(seen)

    @property
    def _context(self) -> InferredLabels:
        return cast("InferredLabels", self.vae.context)
