"""Likelihoods p(x | features), all normalized, and the observations that go with them."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.likelihoods.base import ElementwiseLikelihood as ElementwiseLikelihood
    from tightbound.likelihoods.bernoulli import Bernoulli as Bernoulli
    from tightbound.likelihoods.bernoulli import ContinuousBernoulli as ContinuousBernoulli
    from tightbound.likelihoods.beta import Beta as Beta
    from tightbound.likelihoods.columns import Columns as Columns
    from tightbound.likelihoods.counts import NegativeBinomial as NegativeBinomial
    from tightbound.likelihoods.counts import Poisson as Poisson
    from tightbound.likelihoods.counts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
    from tightbound.likelihoods.discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
    from tightbound.likelihoods.discretized_logistic import RoundedLogistic as RoundedLogistic
    from tightbound.likelihoods.levels import Binomial as Binomial
    from tightbound.likelihoods.levels import Categorical as Categorical
    from tightbound.likelihoods.location_scale import Gaussian as Gaussian
    from tightbound.likelihoods.location_scale import Laplace as Laplace
    from tightbound.likelihoods.logistic_mixture import MixtureOfLogistics as MixtureOfLogistics
    from tightbound.likelihoods.mixture import Mixture as Mixture
    from tightbound.likelihoods.observation import Binarized as Binarized
    from tightbound.likelihoods.observation import Counts as Counts
    from tightbound.likelihoods.observation import Identity as Identity
    from tightbound.likelihoods.observation import Levels as Levels
    from tightbound.likelihoods.observation import Standardized as Standardized
    from tightbound.likelihoods.pixelcnn import PixelCNN as PixelCNN
    from tightbound.likelihoods.student import StudentT as StudentT
    from tightbound.likelihoods.table import Table as Table

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["likelihood"], TABLE["observation"])
