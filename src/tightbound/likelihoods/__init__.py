"""Likelihoods p(x | features), all normalised, and the observations that go with them."""

from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from tightbound.likelihoods.discretized_logistic import DiscretizedLogistic
from tightbound.likelihoods.levels import Binomial, Categorical
from tightbound.likelihoods.location_scale import Gaussian, Laplace
from tightbound.likelihoods.observation import Binarized, Identity, Levels, Standardized
from tightbound.likelihoods.pixelcnn import PixelCNN

__all__ = [
    "Bernoulli",
    "Binarized",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "ElementwiseLikelihood",
    "Gaussian",
    "Identity",
    "Laplace",
    "Levels",
    "PixelCNN",
    "Standardized",
]
