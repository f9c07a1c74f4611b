"""Base class of autoregressive code priors, and the distribution that they return."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import whole
from tightbound.core.noise import Noise, draw, unkeyed
from tightbound.core.numerics import unrounded
from tightbound.core.terms import UncheckedDistribution
from tightbound.priors.codes.base import CodePrior
from tightbound.priors.codes.conditioning import Conditioning
from tightbound.priors.codes.drawing import Sharpening, draw_codes, invert

Choose = Callable[[Tensor, int, int], Tensor]


class AutoregressivePrior(CodePrior):
    """Base class of autoregressive code priors, p(indices | c) = prod_i p(index_i | indices before it, c).

    Positions come in raster order, and the indices of a position in their own order. Each of these has its own learned
    embedding table.

    Args:
        grid: As for `CodePrior`.
        depth: As for `CodePrior`.
        codebook_size: As for `CodePrior`.
        maps: As for `CodePrior`.
        context: As for `CodePrior`.
        embedding: Size of the embedding of an index.
        hidden: Number of channels of the network for the maps.
        blocks: Number of residual blocks of the network for the maps.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        depth: int,
        codebook_size: int,
        maps: int,
        context: int,
        *,
        embedding: int,
        hidden: int,
        blocks: int,
    ) -> None:
        super().__init__(grid, depth, codebook_size, maps, context)
        self.conditioning = Conditioning(self.grid, self.maps, self.context, whole("hidden", hidden, least=1), blocks)
        self.table = nn.Embedding(self.depth * self.codebook_size, whole("embedding", embedding, least=1))

    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> AutoregressiveCodes:
        """Return the distribution given maps (*batch, maps, H, W) and a context (*batch, context).

        Raises:
            CompositionError: If maps or a context are needed and missing.
        """
        condition = self.conditioning(maps, context)
        return AutoregressiveCodes(self, condition)

    def embed(self, codes: Tensor) -> Tensor:
        """Embed indices (..., depth) as (..., depth, embedding)."""
        return self.table(codes + self.codebook_size * torch.arange(self.depth, device=codes.device))

    def embed_one(self, codes: Tensor, index: int) -> Tensor:
        """Embed the indices (...) with number `index` of a position as (..., embedding)."""
        return self.table(codes + self.codebook_size * index)

    @abstractmethod
    def logits(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        """Return the logits (N, P, depth, K) of each index given those before it, in one pass.

        Args:
            codes: Indices (N, P, depth).
            condition: Condition (N, C, H or 1, W or 1), if there is one.
        """

    @abstractmethod
    def generate(self, rows: int, condition: Tensor | None, choose: Choose) -> None:
        """Generate indices (N, P, depth) one by one, caching intermediate results.

        Args:
            rows: Number of grids N.
            condition: Condition (N, C, H or 1, W or 1), if there is one.
            choose: Function (logits (N, K), position, number of the index at the position) -> indices (N,).
        """


class AutoregressiveCodes(UncheckedDistribution):
    """Distribution of code indices (*batch, P, depth), each conditioned on those before it.

    Args:
        prior: The code prior whose network gives the logits.
        condition: Condition (*batch, C, H or 1, W or 1); None: no condition, and batch shape ().
    """

    def __init__(self, prior: AutoregressivePrior, condition: Tensor | None) -> None:
        self.prior, self.condition = prior, condition
        batch = torch.Size() if condition is None else condition.shape[:-3]
        super().__init__(batch, torch.Size((prior.positions, prior.depth)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p (...) of grids of indices in nats, in one pass."""
        return self.log_factors(value).sum((-2, -1))

    def log_factors(self, value: Tensor) -> Tensor:
        """Return log p (..., P, depth) of each index given those before it, in nats; `log_prob` is the sum."""
        logits = self.logits(value)
        codes = value.expand(logits.shape[:-1])
        return -F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)

    def logits(self, value: Tensor) -> Tensor:
        """Return the logits (..., P, depth, K) of each index of value (..., P, depth), at least in float32."""
        lead = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        codes = value.expand(*lead, *self.event_shape).reshape(-1, *self.event_shape)
        logits = self.prior.logits(codes, self._rows(lead))
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).reshape(*lead, *logits.shape[1:])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return ancestral draws (*sample_shape, *batch, P, depth)."""
        return draw(self, tuple(sample_shape), unkeyed())

    @torch.no_grad()
    def ancestral(self, samples: Sequence[int], noise: Noise, sharpening: Sharpening) -> Tensor:
        """Draw (*samples, *batch, P, depth), computing in the precision of the weights."""
        lead = torch.Size((*samples, *self.batch_shape))
        weight = self.prior.table.weight
        like = weight.new_empty((), dtype=torch.promote_types(weight.dtype, torch.float32))
        uniform = noise.uniform((*lead, *self.event_shape), like).reshape(-1, *self.event_shape)
        waiting = iter(uniform.flatten(1).unbind(1))
        codes: list[Tensor] = []

        def choose(logits: Tensor, position: int, index: int) -> Tensor:
            codes.append(invert(sharpening(logits.to(like.dtype)), next(waiting)))
            return codes[-1]

        condition = self._rows(lead)
        condition = None if condition is None else condition.to(weight.dtype)
        with torch.inference_mode(), unrounded(weight.device.type):
            self.prior.generate(len(uniform), condition, choose)
        return torch.stack(codes, 1).reshape(*lead, *self.event_shape)

    def _rows(self, lead: torch.Size) -> Tensor | None:
        """Return the condition expanded to batch shape `lead`, as (N, C, H or 1, W or 1)."""
        if self.condition is None:
            return None
        event = self.condition.shape[-3:]
        return self.condition.expand(*lead, *event).reshape(-1, *event)


@draw_codes.register
def _(distribution: AutoregressiveCodes, samples: Sequence[int], noise: Noise, sharpening: Sharpening) -> Tensor:
    return distribution.ancestral(samples, noise, sharpening)


@draw.register
def _(distribution: AutoregressiveCodes, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.ancestral(samples, noise, Sharpening())
