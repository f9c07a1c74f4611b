"""Approximate posteriors q(z | x)."""

from tightbound.posteriors.base import Posterior
from tightbound.posteriors.covariance import FullNormal
from tightbound.posteriors.normal import DiagonalNormal
from tightbound.posteriors.point import Point
from tightbound.posteriors.sphere import PowerSphericalPosterior, VonMisesFisherPosterior

__all__ = ["DiagonalNormal", "FullNormal", "Point", "Posterior", "PowerSphericalPosterior", "VonMisesFisherPosterior"]
