"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.covariance import FullNormal, LowRankNormal
from tightbound.posteriors.normal import DiagonalNormal
from tightbound.posteriors.point import Point

__all__ = ["DiagonalNormal", "FullNormal", "LowRankNormal", "Point", "Posterior"]
