"""Discrete latents: grids of code indices on one or more levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tightbound.components import Spec, describe
from tightbound.core.errors import CompositionError, DensityUnknown, whole
from tightbound.core.latents import LogLikelihood, State
from tightbound.core.noise import FoldedNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import DETERMINISTIC, CodeTerms, LatentTerms
from tightbound.latents.codes import CodeLatents, flattened
from tightbound.latents.level import Level, Maps, made, one_of, prior_of, stages_of
from tightbound.nn.base import Architecture, Network, Shape
from tightbound.priors.codes import CodePrior
from tightbound.quantizers import Quantizer


class Quantized(CodeLatents):
    """Discrete latents: a grid of code indices per level, x -> maps -> vectors -> indices -> vectors -> features.

    The highest level is quantized first. Its vectors, decoded to the plane of the level below, are an input of that
    level's encoder and condition its prior; the features are the vectors of the lowest level joined with the maps
    decoded from above. The posterior has all its mass at one index per position, log q = 0, so
    log p(x | indices) + log p(indices) is a lower bound on log p(x). With quantizer 'gumbel', q is not deterministic.

    A flat latent code holds the vectors of all positions, lowest level first. `decode` uses the nearest indices, except
    for residual quantization, where the search may miss them: then it uses the vectors unchanged.

    Args:
        shape: Shape of the encoder's input.
        latent: Size of the vector for a code index.
        network: An architecture or any module (B, *shape) -> (B, ...). An architecture with planes ('resnet') gives one
            level per plane; the output of any other network is mapped to `positions` vectors on one level.
        quantizer: One for all levels, such as "vq(codebook_size=512)", or one per level, lowest first; text or objects.
        prior: p(indices), in the same form: "uniform", or a code prior that is learned in a second stage ("pixelcnn",
            "transformer"), until which all indices are equally probable.
        positions: Number of positions per example, if the network has no planes.
        context: Size of the context, which only the prior takes; 0: no context.
        start_size: Number of examples from which the codebooks are initialized.

    Raises:
        CompositionError: The components do not match the levels in number or size; there is a context and no prior
            takes it; or quantizers have different schedules of the same name.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), https://arxiv.org/abs/1711.00937;
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3,
        https://arxiv.org/abs/1906.00446
    """

    moments_of = "the code indices of x, as vectors,"
    local_of = "the encoder's maps"
    builds: ClassVar[Sequence[str]] = ("quantizer", "prior")

    def __init__(
        self,
        shape: Shape,
        latent: int,
        network: Network,
        quantizer: str | Spec | Quantizer | Sequence[str | Spec | Quantizer] = "vq",
        prior: str | Spec | CodePrior | Sequence[str | Spec | CodePrior] = "uniform",
        positions: int = 16,
        context: int = 0,
        start_size: int = 256,
    ) -> None:
        super().__init__()
        stages, self.planes = stages_of(network, shape, latent, whole("positions", positions, least=1))
        number = len(self.planes)
        self.levels = nn.ModuleList()
        self.context, self._start_size = context, whole("start_size", start_size, least=1)
        above = 0
        for i in reversed(range(number)):
            plane = self.planes[i]
            q = made(Quantizer, "quantizer", one_of(quantizer, i, number, "quantizer"), size=latent)
            p, uniform = prior_of(one_of(prior, i, number, "prior"), i, q, plane, above, context)
            rise = network.upsampler(q.size + above, i, shape) if i and isinstance(network, Architecture) else None
            self.levels.insert(0, Level(stages[i], plane, above, q, p, uniform, rise))
            above = self.planes[i - 1][0]
        if context and all(level.prior.blind for level in self.all_levels):
            raise CompositionError(
                "a context enters latents 'quantized' only through their prior, and the uniform prior takes none, so "
                "x would not depend on it; use prior='pixelcnn' or 'transformer', or leave out context="
            )
        # record components built from text as objects, since text does not tell whether it is trusted
        self.record_again(
            quantizer=[level.quantizer for level in self.all_levels], prior=[level.prior for level in self.all_levels]
        )
        self.sizes = [level.quantizer.size * math.prod(level.plane[1:]) for level in self.all_levels]
        for name, own in self.schedules.items():
            if any(describe(own) != describe(level.quantizer.schedules.get(name, own)) for level in self.all_levels):
                raise CompositionError(f"quantizers have different schedules of {name}; give all of them the same one")
        self.latent = sum(self.sizes)
        bottom = self.all_levels[0]
        self.features = (bottom.quantizer.size + bottom.above) * math.prod(bottom.plane[1:])
        self.register_buffer("learned", torch.tensor(True))  # whether the priors are in use
        if self.second_stage is not None:
            self.second_stage.disable()

    @torch.no_grad()
    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the codebooks from the vectors of the first examples, highest level first."""
        maps = self._maps(self.local(x[: self._start_size]))

        def take(i: int, above: Maps | None) -> Tensor:
            level = self.all_levels[i]
            level.standardize(level.raw(maps[i], above))
            raw = level.raw(maps[i], above)
            level.quantizer.start_at(raw.flatten(0, 1))
            return level.quantizer.project(level.quantizer.moments(raw)[0])

        self.down(take)

    def local(self, x: Tensor) -> Tensor:
        """Return the encoder's maps of all levels (B, ...), lowest first, flattened."""
        maps, out = x, []
        for level in self.all_levels:
            maps = level.up(maps)
            out.append(maps.flatten(1))
        local = torch.cat(out, 1)
        return local.to(torch.promote_types(local.dtype, torch.float32))

    def _maps(self, local: Tensor) -> list[Maps]:
        parts = local.split([math.prod(plane) for plane in self.planes], 1)
        return [part.unflatten(1, plane) for part, plane in zip(parts, self.planes, strict=True)]

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """Return `state` of `local`."""
        return self.state(self.local(x), context)

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return (maps of each level, context)."""
        return self._maps(local), context

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Return one group per level, and features (S, B, features)."""
        maps, context = state
        groups: list[LatentTerms] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer, raw = self.all_levels[i].quantizer, self.all_levels[i].raw(maps[i], above)
            drawn = raw.dim() == 4  # (S, B, P, inputs), because a level above was drawn
            if drawn:
                found = quantizer(raw.flatten(0, 1), 1, FoldedNoise(noise, samples), knobs).unfold(samples)
            else:
                found = quantizer(raw, samples, noise, knobs)
            copies = found.posterior is None and not drawn
            # given drawn levels above, log q = 0 for the nearest index, and yet samples differ
            zero = found.z.new_zeros(found.z.shape[:2]) if found.posterior is None and drawn else None
            groups.append(
                CodeTerms(
                    found.z, self.prior(i, above, context), found.posterior, zero, penalty=found.penalty,
                    indices=found.indices, codebook_size=quantizer.codebook_size, shared=quantizer.shared,
                    vectors=found.vectors,
                )
            )  # fmt: skip
            return found.z[0] if copies else found.z  # one pass is enough while all samples are equal

        features = self.down(take)
        features = features if features.dim() == 3 else features.expand(samples, *features.shape)
        return tuple(reversed(groups)), features

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Raise DensityUnknown, since an example's indices are a function of it or are drawn level by level."""
        if self.deterministic:
            raise DensityUnknown(DETERMINISTIC + ", so log q at the indices of other examples is 0 or -inf")
        raise DensityUnknown("log q of drawn code indices is unknown at the indices of other examples")

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the mean and variance (B, latent) of the vectors, given the indices nearest to the means above."""
        maps, _ = state
        means: list[Tensor] = []
        variances: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer = self.all_levels[i].quantizer
            mean, variance = quantizer.moments(self.all_levels[i].raw(maps[i], above))
            means.append(mean)
            variances.append(variance)
            return quantizer.project(mean)

        self.down(take)
        return flattened(means), flattened(variances)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features at the nearest indices, or at z itself if the search is greedy (residual)."""
        vectors = self.split(z)
        return self.down(lambda i, _: self.all_levels[i].quantizer.project(vectors[i]))

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder and of the heads that turn its maps into vectors."""
        return [p for level in self.all_levels for part in (level.up, level.head) for p in part.parameters()]
