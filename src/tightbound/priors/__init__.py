"""Priors p(z)."""

from tightbound.priors.base import Prior
from tightbound.priors.categorical import CategoricalPrior
from tightbound.priors.learned import LearnedNormal, Mixture
from tightbound.priors.normal import StandardNormal
from tightbound.priors.sphere import Sphere

__all__ = ["CategoricalPrior", "LearnedNormal", "Mixture", "Prior", "Sphere", "StandardNormal"]
