"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.categorical import RelaxedCategorical
from tightbound.posteriors.covariance import FullNormal
from tightbound.posteriors.hamiltonian import Hamiltonian
from tightbound.posteriors.normal import DiagonalNormal
from tightbound.posteriors.point import Point
from tightbound.posteriors.sphere import PowerSphericalPosterior, VonMisesFisherPosterior

__all__ = [
    "DiagonalNormal",
    "FullNormal",
    "Hamiltonian",
    "Point",
    "Posterior",
    "PowerSphericalPosterior",
    "RelaxedCategorical",
    "VonMisesFisherPosterior",
]
