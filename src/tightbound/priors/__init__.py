"""Priors p(z)."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.priors.base import Prior as Prior
    from tightbound.priors.categorical import CategoricalPrior as CategoricalPrior
    from tightbound.priors.flow import Flow as Flow
    from tightbound.priors.normal import LearnedNormal as LearnedNormal
    from tightbound.priors.normal import Mixture as Mixture
    from tightbound.priors.normal import StandardNormal as StandardNormal
    from tightbound.priors.sphere import Sphere as Sphere
    from tightbound.priors.vamp import Exemplar as Exemplar
    from tightbound.priors.vamp import VampPrior as VampPrior

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["prior"])
