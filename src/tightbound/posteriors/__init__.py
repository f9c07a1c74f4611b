"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.categorical import RelaxedCategorical
from tightbound.posteriors.covariance import FullNormal, LowRankNormal
from tightbound.posteriors.flow import Flow
from tightbound.posteriors.hamiltonian import Hamiltonian
from tightbound.posteriors.normal import DeltaNormal, DiagonalNormal
from tightbound.posteriors.planar import Planar, Sylvester
from tightbound.posteriors.point import Point
from tightbound.posteriors.pushforward import Pushforward
from tightbound.posteriors.sphere import PowerSphericalPosterior, VonMisesFisherPosterior

__all__ = [
    "DeltaNormal",
    "DiagonalNormal",
    "Flow",
    "FullNormal",
    "Hamiltonian",
    "LowRankNormal",
    "Planar",
    "Point",
    "Posterior",
    "PowerSphericalPosterior",
    "Pushforward",
    "RelaxedCategorical",
    "Sylvester",
    "VonMisesFisherPosterior",
]
