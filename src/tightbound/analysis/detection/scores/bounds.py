"""Scores made of the bound on log p(x) and of the reconstruction."""

from __future__ import annotations

from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.core.model import VAE


class NLL(Score):
    """Negative log-likelihood, -IWAE-k, or -ELBO where codes are a function of x.

    It fails as a test of membership where data are simple: a model of clothes gives digits a higher likelihood.

    References:
        Do deep generative models know what they don't know? (Nalisnick et al. 2019),
        https://arxiv.org/abs/1810.09136
    """

    name = "nll"
    description = "negative log-likelihood"

    def estimator(self, data: View, train: View) -> str:
        """-IWAE-k, or -ELBO."""
        return data.nll_estimator

    def __call__(self, data: View, train: View) -> Array:
        """(N,) nats."""
        return -data.bound


class NegativeELBO(Score):
    """Negative ELBO: it also counts what the encoder loses."""

    name = "elbo"
    description = "negative ELBO = rate + distortion"

    def estimator(self, data: View, train: View) -> str:
        """-ELBO."""
        return f"-({data.evaluation['elbo'].estimator})"

    def __call__(self, data: View, train: View) -> Array:
        """(N,) nats."""
        return -data.evaluation.per_example["elbo"]


class Typicality(Score):
    """|NLL(x) - H|, where H is the mean NLL of training data: an example that is too likely is unusual, too.

    The paper's test takes M data together; this is M = 1. Values of H are those of at most as many training data as
    were picked, at random.

    References:
        Detecting out-of-distribution inputs to deep generative models using typicality (Nalisnick et al. 2019),
        Eq. 5, https://arxiv.org/abs/1906.02994
    """

    name = "typicality"
    description = "|NLL - mean NLL of training data|"

    def estimator(self, data: View, train: View) -> str:
        """|NLL - H|."""
        return f"{data.nll_estimator}; against its mean over {len(train.batch):,} training data"

    def __call__(self, data: View, train: View) -> Array:
        """(N,) nats."""
        return abs(data.bound - train.bound.mean())


class Reconstruction(Score):
    """Squared error of decoding the posterior mean, a mean over elements: it needs no bound."""

    name = "reconstruction"
    description = "squared error of decoding the posterior mean"

    def unit(self, model: VAE) -> str:
        """Of squared errors."""
        return model.observation.error_unit

    def estimator(self, data: View, train: View) -> str:
        """Mean over elements."""
        return "mean over elements"

    def target(self, model: VAE) -> str:
        """What is compared."""
        return "E[x|z] at the posterior mean, against x"

    def label(self, model: VAE) -> str | None:
        """An error is what it is, whatever the target."""
        return None

    def lacks(self, data: View) -> str | None:
        """Nothing is needed."""
        return None

    def __call__(self, data: View, train: View) -> Array:
        """(N,)."""
        return data.evaluation.per_example["reconstruction_mse"]
