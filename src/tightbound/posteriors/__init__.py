"""Approximate posteriors q(z | x)."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.posteriors.base import Posterior as Posterior
    from tightbound.posteriors.categorical import RelaxedCategorical as RelaxedCategorical
    from tightbound.posteriors.covariance import FullNormal as FullNormal
    from tightbound.posteriors.covariance import LowRankNormal as LowRankNormal
    from tightbound.posteriors.flow import Flow as Flow
    from tightbound.posteriors.hamiltonian import Hamiltonian as Hamiltonian
    from tightbound.posteriors.normal import DeltaNormal as DeltaNormal
    from tightbound.posteriors.normal import DiagonalNormal as DiagonalNormal
    from tightbound.posteriors.planar import Planar as Planar
    from tightbound.posteriors.planar import Sylvester as Sylvester
    from tightbound.posteriors.point import Point as Point
    from tightbound.posteriors.pushforward import Pushforward as Pushforward
    from tightbound.posteriors.sphere import PowerSphericalPosterior as PowerSphericalPosterior
    from tightbound.posteriors.sphere import VonMisesFisherPosterior as VonMisesFisherPosterior

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["posterior"])
