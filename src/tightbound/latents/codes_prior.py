"""What quantized latents leave to the second stage of a run: the priors over their codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tightbound.core.interfaces import SecondStage
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, Terms

if TYPE_CHECKING:
    from tightbound.latents.quantized import Quantized


class CodesPrior(SecondStage):
    """The priors of all levels, trained on codes (B, N), the lowest level first, by their log-probability."""

    unit = "code"
    learned: Tensor

    def __init__(self, latents: Quantized) -> None:
        super().__init__()
        self.priors = nn.ModuleList([level.prior for level in latents.all_levels])
        self.register_buffer("learned", latents.learned)
        self._latents = (latents,)  # no submodule: what it has beside the priors is neither trained here nor saved

    def set_aside(self) -> None:
        """All codes are equally probable."""
        self.learned.fill_(False)
        self.priors.requires_grad_(False)

    def take_up(self) -> None:
        """p(codes) is what has been learned."""
        self.learned.fill_(True)
        self.priors.requires_grad_(True)

    @property
    def entries(self) -> int:
        """Of the largest codebook."""
        (latents,) = self._latents
        return max(level.quantizer.codebook_size for level in latents.all_levels)

    @property
    def baselines(self) -> Mapping[str, float]:
        """All codes being equally probable."""
        (latents,) = self._latents
        return {"uniform": -sum(math.prod(grid.shape) * math.log(grid.entries) for grid in latents.code_grids)}

    def bits(self, nats: float) -> float:
        """Bits a code, averaged over those of all levels."""
        (latents,) = self._latents
        return -nats / (sum(positions * depth for positions, depth in latents.grids) * math.log(2))

    def codes(self, groups: Sequence[LatentTerms]) -> Tensor:
        """All levels, the lowest first."""
        return torch.cat([group.codes[0].flatten(1) for group in groups if group.codes is not None], 1)

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """log p(codes | context) (1, B) as a log-likelihood, with no latents."""
        (latents,) = self._latents
        parts = batch.x.long().split([positions * depth for positions, depth in latents.grids], 1)
        codes = [part.unflatten(1, grid) for part, grid in zip(parts, latents.grids, strict=True)]
        priors = latents.priors_of(codes, batch.context)
        value = torch.stack([p.log_prob(own) for p, own in zip(priors, codes, strict=True)]).sum(0)
        return Terms(value.unsqueeze(0), (), priors[0], batch)
