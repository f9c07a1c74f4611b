"""The interface of a score: one number per example, the higher the more unusual."""

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
    """Examples as a model sees them. What is expensive is computed once, when a score first asks for it.

    Attributes:
        model: The model.
        batch: Raw examples, N.
        samples: Importance samples of the bound.
        seed: Random seed.
        progress: Show progress bars on standard error.
    """

    model: VAE
    batch: Batch
    samples: int
    seed: int = 0
    progress: bool = False

    @cached_property
    def evaluation(self) -> Evaluation:
        """Bounds, latent codes and errors of the examples."""
        return evaluate(self.model, self.batch, samples=self.samples, seed=self.seed, progress=self.progress)

    @property
    def has_bound(self) -> bool:
        """Whether the model bounds log p(x)."""
        return self.evaluation.bound is not None

    @property
    def bound(self) -> Array:
        """Tightest bound on log p(x) (N,), nats, which stands for log p(x)."""
        return self.evaluation.per_example[str(self.evaluation.bound)]

    @property
    def nll_estimator(self) -> str:
        """How the negative of the bound was estimated."""
        if self.evaluation.bound == "iwae":
            return f"-IWAE, {self.samples} importance samples"
        return f"-ELBO: {DETERMINISTIC}, and importance samples would add nothing"

    @cached_property
    def classes(self) -> Array | None:
        """Labels (N,), if they are classes: integers, with two or more classes of two or more examples; else None."""
        label = self.batch.label
        if label is None or label.dim() != 1 or label.is_floating_point():
            return None
        _, count = torch.unique(label, return_counts=True)
        return label.cpu().numpy() if len(count) > 1 and int(count.min()) > 1 else None


class Score(Component, ABC):
    """One number per example, HIGHER if the example is MORE UNUSUAL.

    A score is constructed from its settings. It is called with the examples to score and with training examples to
    compare them with.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    """Describe the score in one line."""
    unit: ClassVar[str] = "nats"
    """Unit of the values; "{error}": the unit of reconstruction errors."""
    target: ClassVar[str] = "{bound}"
    """The quantity that is scored; "{bound}" stands for the target of the bound, "{codes}" for that of latent codes."""
    of_bound: ClassVar[bool] = True
    """Whether it is made of the bound on log p(x), which a model may lack, or which may bound something else."""

    @abstractmethod
    def estimator(self, data: View, train: View) -> str:
        """Return how a value is estimated."""

    def facts(self, model: VAE) -> dict[str, str]:
        """Return unit, target and description of the values."""
        words = {"bound": model.target_name, "codes": model.latents.moments_of, "error": model.observation.error_unit}
        target = self.target.format(**words)
        return {"unit": self.unit.format(**words), "target": target, "description": self.description}

    def reason_missing(self, data: View) -> str | None:
        """Return why this model has no such score on these data; None: it has one."""
        return str(data.evaluation["iwae"].reason) if self.of_bound and not data.has_bound else None

    @abstractmethod
    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,); NaN for an example that cannot be scored."""
