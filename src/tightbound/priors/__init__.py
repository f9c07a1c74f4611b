"""Priors p(z)."""

from tightbound.priors.normal import Prior, StandardNormal

__all__ = ["Prior", "StandardNormal"]
