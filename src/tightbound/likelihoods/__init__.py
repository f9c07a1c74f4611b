"""Likelihoods p(x | features), all normalized, and the observations that go with them."""

from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from tightbound.likelihoods.beta import Beta
from tightbound.likelihoods.columns import Columns
from tightbound.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from tightbound.likelihoods.discretized_logistic import DiscretizedLogistic
from tightbound.likelihoods.levels import Binomial, Categorical
from tightbound.likelihoods.location_scale import Gaussian, Laplace
from tightbound.likelihoods.logistic_mixture import MixtureOfLogistics
from tightbound.likelihoods.mixture import Mixture
from tightbound.likelihoods.observation import Binarized, Counts, Identity, Levels, Standardized
from tightbound.likelihoods.pixelcnn import PixelCNN
from tightbound.likelihoods.student import StudentT
from tightbound.likelihoods.table import Table

__all__ = [
    "Bernoulli",
    "Beta",
    "Binarized",
    "Binomial",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "Counts",
    "DiscretizedLogistic",
    "ElementwiseLikelihood",
    "Gaussian",
    "Identity",
    "Laplace",
    "Levels",
    "Mixture",
    "MixtureOfLogistics",
    "NegativeBinomial",
    "PixelCNN",
    "Poisson",
    "Standardized",
    "StudentT",
    "Table",
    "ZeroInflatedNegativeBinomial",
]
