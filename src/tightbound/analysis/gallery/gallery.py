"""The gallery: samples, reconstructions and interpolations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.result import Result

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Gallery(Analysis[Result]):
    """Show samples from the prior, reconstructions, and paths between two examples, as pictures or charts.

    Pictures show means of p(x|z). For tables, charts show the marginal distributions of the data and of draws from
    the model.
    """

    name = "gallery"
    question = "What does the model make?"
    group = "look"
    fast = True

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Draw the figures that fit the shape of the data."""
        from tightbound.analysis.gallery.drawing import image_figures, table_figures
        from tightbound.analysis.pictures import is_image

        # a random pick, since the examples may be ordered by class
        if is_image(trained.model.shape):
            figures = image_figures(trained, subject.examples)
        else:
            figures = table_figures(trained, subject)
        return Result({}, figures=figures, caption=f"Examples are picked at random ({subject.name}).")
