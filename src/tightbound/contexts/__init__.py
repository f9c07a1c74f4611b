"""What a model is conditioned on: class labels, attributes, a visible part of x."""

from tightbound.contexts.labels import Attributes, Labels
from tightbound.contexts.visible import Visible

__all__ = ["Attributes", "Labels", "Visible"]
