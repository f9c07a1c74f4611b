"""The code priors of all levels as one model to train."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.latents import SecondStage
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, CodeGrid, LatentTerms, Terms, code_terms
from tightbound.priors.codes import CodePrior

PriorsOf = Callable[[Sequence[Tensor], Tensor | None], list[Distribution]]


class CodePriorStage(SecondStage):
    """Code priors of all levels as one model, which is trained to maximize log p of indices (B, N).

    Args:
        priors: The prior of each level, lowest first.
        learned: A 0-d boolean buffer of the latents: whether the priors are in use, instead of uniform ones.
        grids: The code grid of each level.
        priors_of: Function that returns p(indices of each level | levels above, context) at indices (B, P, depth).
    """

    unit, title, before = "code", "code prior", "a uniform one"

    def __init__(
        self, priors: Sequence[CodePrior], learned: Tensor, grids: Sequence[CodeGrid], priors_of: PriorsOf
    ) -> None:
        super().__init__()
        self.priors = nn.ModuleList(priors)
        self.register_buffer("learned", learned)
        self._grids, self._priors_of = grids, priors_of

    @property
    def baselines(self) -> Mapping[str, float]:
        """Log-probability with uniform priors, in nats per example."""
        return {"uniform": -sum(math.prod(grid.shape) * math.log(grid.codebook_size) for grid in self._grids)}

    def bits(self, nats: float) -> float:
        """Return bits per code index, averaged over all levels."""
        return -nats / (sum(math.prod(grid.shape) for grid in self._grids) * math.log(2))

    def codes(self, groups: Sequence[LatentTerms]) -> Tensor:
        """Return the indices (S, B, N) of all levels, lowest first."""
        return torch.cat([group.indices.flatten(2) for group in code_terms(groups)], 2)

    def dtype(self, codes: Tensor) -> torch.dtype:
        """Return the smallest type that holds every index."""
        largest = max(grid.codebook_size for grid in self._grids) - 1
        kinds = (torch.uint8, torch.int16, torch.int32)
        return next((kind for kind in kinds if largest <= torch.iinfo(kind).max), torch.int64)

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return log p(indices | context) (1, B) as a log-likelihood, with no latents."""
        levels = batch.x.long().split([math.prod(grid.shape) for grid in self._grids], 1)
        indices = [level.unflatten(1, grid.shape) for level, grid in zip(levels, self._grids, strict=True)]
        priors = self._priors_of(indices, batch.context)
        value = torch.stack([p.log_prob(own) for p, own in zip(priors, indices, strict=True)]).sum(0)
        return Terms(value.unsqueeze(0), (), priors[0], batch)
