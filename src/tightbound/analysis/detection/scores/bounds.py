"""Scores made from the bound on log p(x) and from the reconstruction."""

from __future__ import annotations

from tightbound.analysis.detection.scores.base import Array, Score, View


class NLL(Score):
    """Negative log-likelihood: -IWAE-k, or -ELBO if the posterior is deterministic.

    It fails as a test of membership if the other data are simple: a model of clothes gives digits a higher likelihood.

    References:
        Do deep generative models know what they don't know? (Nalisnick et al. 2019),
        https://arxiv.org/abs/1810.09136
    """

    name = "nll"
    description = "negative log-likelihood"

    def estimator(self, data: View, train: View) -> str:
        """Return -IWAE-k or -ELBO."""
        return data.nll_estimator

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), nats."""
        return -data.bound


class NegativeELBO(Score):
    """Negative ELBO, which also counts what the encoder loses."""

    name = "elbo"
    description = "negative ELBO = rate + distortion"

    def estimator(self, data: View, train: View) -> str:
        """Return how the ELBO was estimated."""
        return f"-({data.evaluation['elbo'].estimator})"

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), nats."""
        return -data.evaluation.per_example["elbo"]


class Typicality(Score):
    """|NLL(x) - H|, where H is the mean NLL of training examples: an example that is too likely is unusual, too.

    The test in the paper takes M examples together; this is M = 1. H is the mean over the training examples that were
    picked at random for comparison.

    References:
        Detecting out-of-distribution inputs to deep generative models using typicality (Nalisnick et al. 2019),
        Eq. 5, https://arxiv.org/abs/1906.02994
    """

    name = "typicality"
    description = "|NLL - mean NLL of training examples|"

    def estimator(self, data: View, train: View) -> str:
        """Return how |NLL - H| is estimated."""
        return f"{data.nll_estimator}; against its mean over {len(train.batch):,} training examples"

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,), nats."""
        return abs(data.bound - train.bound.mean())


class Reconstruction(Score):
    """Squared error of decoding the posterior mean, averaged over elements; it needs no bound."""

    name = "reconstruction"
    description = "squared error of decoding the posterior mean"
    target = "E[x|z] at the posterior mean, against x"
    unit = "{error}"
    of_bound = False

    def estimator(self, data: View, train: View) -> str:
        """Return how the elements are combined."""
        return "mean over elements"

    def __call__(self, data: View, train: View) -> Array:
        """Return the values (N,)."""
        return data.evaluation.per_example["reconstruction_mse"]
