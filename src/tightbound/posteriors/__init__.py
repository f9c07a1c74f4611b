"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.covariance import FullNormal, LowRankNormal
from tightbound.posteriors.flow import Flow
from tightbound.posteriors.normal import DeltaNormal, DiagonalNormal
from tightbound.posteriors.planar import Planar, Sylvester
from tightbound.posteriors.point import Point
from tightbound.posteriors.pushforward import Pushforward

__all__ = [
    "DeltaNormal",
    "DiagonalNormal",
    "Flow",
    "FullNormal",
    "LowRankNormal",
    "Planar",
    "Point",
    "Posterior",
    "Pushforward",
    "Sylvester",
]
