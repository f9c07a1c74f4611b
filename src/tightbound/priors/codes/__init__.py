"""Priors over grids of codes."""

from tightbound.priors.codes.base import CodePrior
from tightbound.priors.codes.uniform import Uniform

__all__ = ["CodePrior", "Uniform"]
