"""Priors p(z)."""

from tightbound.priors.base import Prior
from tightbound.priors.flow import Flow
from tightbound.priors.learned import LearnedNormal, Mixture
from tightbound.priors.normal import StandardNormal
from tightbound.priors.vamp import Exemplar, VampPrior

__all__ = ["Exemplar", "Flow", "LearnedNormal", "Mixture", "Prior", "StandardNormal", "VampPrior"]
