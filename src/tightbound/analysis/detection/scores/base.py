"""What a score is: one number an example, the higher the more unusual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.result import Evaluation
from tightbound.core.component import Component
from tightbound.core.model import VAE
from tightbound.core.terms import DETERMINISTIC, Batch

Array = np.ndarray[Any, Any]


@dataclass
class View:
    """Data as a model sees them. What costs is computed once, when a score first asks for it."""

    model: VAE
    batch: Batch  # raw, N data
    samples: int  # k of the bound
    seed: int = 0
    progress: bool = False

    @cached_property
    def evaluation(self) -> Evaluation:
        """Bounds, codes and errors of the data."""
        return evaluate(self.model, self.batch, samples=self.samples, seed=self.seed, progress=self.progress)

    @property
    def has_bound(self) -> bool:
        """Whether the model bounds log p(x)."""
        return self.evaluation.bound is not None

    @property
    def bound(self) -> Array:
        """(N,) the tightest bound on log p(x) that there is, nats: what stands for log p(x)."""
        return self.evaluation.per_example[str(self.evaluation.bound)]

    @property
    def nll_estimator(self) -> str:
        """How minus that was estimated."""
        if self.evaluation.bound == "iwae":
            return f"-IWAE, {self.samples} importance samples"
        return f"-ELBO: {DETERMINISTIC}, and importance samples would add nothing"

    @property
    def codes(self) -> Array:
        """(N, latent) posterior means."""
        return self.evaluation.per_example["mean"]

    @cached_property
    def classes(self) -> Array | None:
        """(N,) labels that name classes: whole numbers, at least two data to each of at least two; else None."""
        label = self.batch.label
        if label is None or label.dim() != 1 or label.is_floating_point():
            return None
        _, count = torch.unique(label, return_counts=True)
        return label.cpu().numpy() if len(count) > 1 and int(count.min()) > 1 else None


class Score(Component, ABC):
    """One number an example, HIGHER where it is MORE UNUSUAL.

    A score is constructed from its settings, and called on data and on training data to compare them with.
    """

    name: ClassVar[str]
    description: ClassVar[str]  # what it is, in a line

    def unit(self, model: VAE) -> str:
        """Of the values."""
        return "nats"

    @abstractmethod
    def estimator(self, data: View, train: View) -> str:
        """How a value is estimated."""

    def target(self, model: VAE) -> str:
        """What is scored."""
        return model.target_name

    def label(self, model: VAE) -> str | None:
        """What the values are not, where the model's bound is no bound on a likelihood."""
        return model.observation.not_a_likelihood

    def lacks(self, data: View) -> str | None:
        """Why there is no such score of this model on these data; None: there is one."""
        return None if data.has_bound else str(data.evaluation["iwae"].reason)

    @abstractmethod
    def __call__(self, data: View, train: View) -> Array:
        """(N,) values; NaN for an example that cannot be scored."""
