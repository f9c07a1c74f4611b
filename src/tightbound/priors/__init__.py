"""Priors p(z)."""

from tightbound.priors.learned import LearnedNormal, Mixture
from tightbound.priors.normal import Prior, StandardNormal

__all__ = ["LearnedNormal", "Mixture", "Prior", "StandardNormal"]
