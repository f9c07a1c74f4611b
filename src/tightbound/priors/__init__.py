"""Priors p(z)."""

from typing import TYPE_CHECKING, Any

from tightbound.components.exports import load_name, public_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.priors.base import Prior as Prior
    from tightbound.priors.categorical import CategoricalPrior as CategoricalPrior
    from tightbound.priors.flow import Flow as Flow
    from tightbound.priors.learned import LearnedNormal as LearnedNormal
    from tightbound.priors.learned import Mixture as Mixture
    from tightbound.priors.normal import StandardNormal as StandardNormal
    from tightbound.priors.sphere import Sphere as Sphere
    from tightbound.priors.vamp import Exemplar as Exemplar
    from tightbound.priors.vamp import VampPrior as VampPrior

_NAMES = public_names(__name__, "prior", base=["Prior"])
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_name(__name__, _NAMES, name)


def __dir__() -> list[str]:
    return __all__
