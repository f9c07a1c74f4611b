"""Contexts, on which a model is conditioned: class labels, attributes, covariates, a visible part of x."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.contexts.covariates import Covariates as Covariates
    from tightbound.contexts.inferred import InferredLabels as InferredLabels
    from tightbound.contexts.labels import Attributes as Attributes
    from tightbound.contexts.labels import Labels as Labels
    from tightbound.contexts.visible import Visible as Visible

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["context"])
