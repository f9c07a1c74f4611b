"""Use of the code indices of quantized latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class CodeUsage(Analysis[Result]):
    """Show the code indices of examples, how often each is used, and what each position costs under the code prior."""

    name = "code-usage"
    question = "How are the code indices used?"
    group = "look"
    fast = True

    max_examples: int = option(1000, least=1, variant=True)
    """Maximum number of examples whose code indices are counted, picked at random."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Count code indices and their prices, and decode them."""
        from tightbound.analysis.gallery import code_indices
        from tightbound.analysis.pictures import is_image
        from tightbound.latents.codes import code_latents

        model = trained.model
        if not code_latents(model.latents):
            raise CompositionError(
                "this model has no code indices: its latent codes are continuous; see latent_space()"
            )
        counted = code_indices.count(model, subject.examples, self.max_examples)
        figures = [code_indices.usage(counted)]
        if is_image(model.shape):
            figures = [code_indices.pictures_of(trained, subject.examples), *figures]
        if counted.prices is not None:
            if len(counted.grids) > 1 and is_image(model.shape):
                figures.append(code_indices.from_the_top(trained, subject.examples))
            figures.append(code_indices.prices(counted))
        return Result(
            {},
            tables=(code_indices.table(counted),),
            figures=figures,
            caption=f"Code indices of {counted.n:,} examples ({subject.name}): {model.latents.description}.",
        )
