"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.covariance import FullNormal
from tightbound.posteriors.normal import DeltaNormal, DiagonalNormal
from tightbound.posteriors.point import Point

__all__ = ["DeltaNormal", "DiagonalNormal", "FullNormal", "Point", "Posterior"]
