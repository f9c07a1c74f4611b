"""Discrete latents: grids of codes at one or more levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.components import Spec, describe, rebuild
from tightbound.core.errors import CompositionError, DensityUnknown, whole
from tightbound.core.interfaces import LogLikelihood, State
from tightbound.core.noise import FoldedNoise, Noise
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import DETERMINISTIC, LatentTerms
from tightbound.latents.codes import CodeLatents, Maps, Take, flattened
from tightbound.latents.codes_prior import CodesPrior
from tightbound.latents.level import Level, made, one_of, prior_of, stages_of
from tightbound.nn.base import Architecture, fold
from tightbound.priors.codes import CodePrior
from tightbound.quantizers import Quantizer

STARTED_AT = 256  # data whose vectors codebooks start at


class Quantized(CodeLatents):
    """Grids of integer codes, one a level: x -> maps -> vectors -> codes -> vectors -> features.

    The highest level is quantized first. What it holds, decoded to the plane of the level below, is shown to that
    level's encoder, and conditions its prior; the features are the vectors of the lowest level beside all that was
    decoded from above. q puts all its mass on one code at each position, log q = 0, so that log p(x | codes) +
    log p(codes) is a lower bound on log p(x); with quantizer 'gumbel', q is a distribution.

    A flat code is the vectors of all positions, of the lowest level first, and `decode` takes the nearest codes (of
    residual quantization, where the search may miss them, the vectors as they are).

    Arguments:
        shape: Of the encoder's input.
        latent: Size of the vector that stands for a code.
        network: An architecture: one with planes ('resnet') gives a level for each of them; of the code of any other,
            or of any module (B, *shape) -> (B, ...), `positions` vectors are made, in one level.
        quantizer: "vq(codebook_size=512)", ..., for all levels, or one of each, the lowest first; as text or objects.
        prior: p(codes), likewise: "uniform", or one that is learned in a second stage ("pixelcnn", "transformer");
            until then all codes are equally probable.
        positions: Codes of an example, where the network has no planes.
        context: Size of the context, which the prior alone takes; 0: there is none.

    Raises:
        CompositionError: parts whose number is not that of the levels, or that are made for other sizes; a context that
            no prior takes; quantizers whose schedules of one name differ.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), https://arxiv.org/abs/1711.00937;
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3,
        https://arxiv.org/abs/1906.00446
    """

    coded_by = "the codes of x, as vectors,"
    fitted = "the encoder's maps"
    builds: ClassVar[tuple[str, ...]] = ("quantizer", "prior")
    on_planes: ClassVar[bool] = True
    prior_only: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        network: Architecture | nn.Module,
        quantizer: str | Spec | Quantizer | Sequence[str | Spec | Quantizer] = "vq",
        prior: str | Spec | CodePrior | Sequence[str | Spec | CodePrior] = "uniform",
        positions: int = 16,
        context: int = 0,
    ) -> None:
        super().__init__()
        stages, self.planes = stages_of(network, shape, latent, whole("positions", positions, least=1))
        number = len(self.planes)
        self.levels = nn.ModuleList()
        self._context = context
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
                "a context enters latents 'quantized' by their prior alone, and a uniform one takes none, so that x "
                "would not depend on it; use prior='pixelcnn' or 'transformer', or leave out the context"
            )
        # what was made of text, which of the user's own parts does not say whether it is trusted
        self.record_again(
            quantizer=[level.quantizer for level in self.all_levels], prior=[level.prior for level in self.all_levels]
        )
        self.sizes = [level.quantizer.size * math.prod(level.plane[1:]) for level in self.all_levels]
        for name, own in self.schedules.items():
            if any(describe(own) != describe(level.quantizer.schedules.get(name, own)) for level in self.all_levels):
                raise CompositionError(f"quantizers of several levels schedule {name} differently; give all the same")
        self.latent = sum(self.sizes)
        bottom = self.all_levels[0]
        self.features = (bottom.quantizer.size + bottom.above) * math.prod(bottom.plane[1:])
        self.register_buffer("learned", torch.tensor(True))  # whether the priors are in use
        if self.second is not None:
            self.second.set_aside()

    learned: Tensor

    def replace_second(self, part: str | Sequence[str] | None) -> None:
        """Puts untrained priors in the place of those there are: of all levels, or one of each; None: alike ones.

        Raises:
            InputError, CompositionError: as the constructor.
        """
        number, new = len(self.levels), list[CodePrior]()
        for i, level in enumerate(self.all_levels):
            alike = rebuild(describe(level.prior), trust=True) if part is None else one_of(part, i, number, "prior")
            about = (level.quantizer, level.plane, level.above, self._context)
            new.append(prior_of(alike, i, *about)[0].to(self.learned.device))
        for level, prior in zip(self.all_levels, new, strict=True):
            level.prior = prior
        self.record_again(prior=new)
        self.learned.fill_(True)
        if self.second is not None:
            self.second.set_aside()

    @property
    def second(self) -> CodesPrior | None:
        """The priors of all levels, where they have parameters."""
        return CodesPrior(self) if any(True for level in self.all_levels for _ in level.prior.parameters()) else None

    @property
    def all_levels(self) -> Sequence[Level]:
        """The lowest first."""
        return cast("Sequence[Level]", self.levels)

    @property
    def grids(self) -> list[tuple[int, int]]:
        """(P, depth) of each level's codes."""
        return [grid.shape for grid in self.code_grids]

    @property
    def informed(self) -> bool:
        """Since the second stage, where there is one to learn."""
        return bool(self.learned) and not all(level.prior.blind for level in self.all_levels)

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of the quantizers."""
        return {name: s for level in self.all_levels for name, s in level.quantizer.schedules.items()}

    @property
    def support(self) -> str:
        """Vectors of a codebook."""
        return "codebook"

    @property
    def deterministic(self) -> bool:
        """Whether all quantizers take the one nearest code."""
        return all(level.quantizer.deterministic for level in self.all_levels)

    @property
    def recoverable(self) -> bool:
        """Not of quantizers that seek codes greedily."""
        return not any(level.quantizer.greedy for level in self.all_levels)

    @property
    def shares_parameters(self) -> bool:
        """Codebooks, and what decodes a level for the one below, belong to p and to q."""
        return True

    @torch.no_grad()
    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Starts the codebooks at the vectors of some data, from the highest level on."""
        maps = self._maps(self.local(x[:STARTED_AT]))

        def take(i: int, above: Maps | None) -> Tensor:
            level = self.all_levels[i]
            level.standardize(level.raw(maps[i], above))
            raw = level.raw(maps[i], above)
            level.quantizer.start_at(raw.flatten(0, 1))
            return level.quantizer.project(level.quantizer.moments(raw)[0])

        self.down(take)

    def local(self, x: Tensor) -> Tensor:
        """(B, ...) the encoder's maps of all levels, the lowest first, flattened."""
        maps, out = x, []
        for level in self.all_levels:
            maps = level.up(maps)
            out.append(maps.flatten(1))
        local = torch.cat(out, 1)
        return local.to(torch.promote_types(local.dtype, torch.float32))

    def _maps(self, local: Tensor) -> list[Maps]:
        parts = local.split([math.prod(plane) for plane in self.planes], 1)
        return [part.unflatten(1, plane) for part, plane in zip(parts, self.planes, strict=True)]

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """(maps of each level, context)."""
        return self._maps(local), context

    def down(self, take: Take) -> Tensor:
        """Features (..., features) of the walk from the highest level to the lowest.

        Arguments:
            take: Gives the vectors of a level when it is shown what was decoded from those above.
        """
        above: Maps | None = None
        here = torch.empty(0)
        for i in reversed(range(len(self.levels))):
            level = self.all_levels[i]
            vectors = take(i, above)
            here = vectors.transpose(-2, -1).unflatten(-1, level.plane[1:])
            here = here if above is None else torch.cat([here, above], -3)
            above = None if level.rise is None else fold(level.rise, here, 3)
        return here.flatten(-3)

    def prior(self, i: int, above: Maps | None, context: Tensor | None) -> Distribution:
        """p(codes of level i | those above, context)."""
        level = self.all_levels[i]
        if not self.learned:
            return level.uniform()
        return level.prior(above, None if context is None else context.flatten(1))

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """A group for each level; features (S, B, features)."""
        maps, context = state
        groups: list[LatentTerms] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer, raw = self.all_levels[i].quantizer, self.all_levels[i].raw(maps[i], above)
            drawn = raw.dim() == 4  # (S, B, P, inputs), as a level above was drawn
            if drawn:
                found = quantizer(raw.flatten(0, 1), 1, FoldedNoise(noise, samples), knobs).unfold(samples)
            else:
                found = quantizer(raw, samples, noise, knobs)
            copies = found.posterior is None and not drawn
            # of one code, given those that were drawn above, log q = 0 and yet samples differ
            zero = found.z.new_zeros(found.z.shape[:2]) if found.posterior is None and drawn else None
            groups.append(
                LatentTerms(
                    found.z, self.prior(i, above, context), found.posterior,
                    codes=found.indices, entries=quantizer.codebook_size, shared=quantizer.shared,
                    drawn=zero, discrete=True, deterministic=copies, penalty=found.penalty, vectors=found.vectors,
                )
            )  # fmt: skip
            return found.z[0] if copies else found.z  # one walk serves all samples while they are copies

        features = self.down(take)
        features = features if features.dim() == 3 else features.expand(samples, *features.shape)
        return tuple(reversed(groups)), features

    def log_prior(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """(B,) log p(codes) of the nearest codes."""
        return self.log_prior_of(self.codes(code), context)

    def log_prior_of(self, codes: Sequence[Tensor], context: Tensor | None = None) -> Tensor:
        """(B,) log p of codes (B, P, depth) of each level."""
        priors = self.priors_of(codes, context)
        return torch.stack([p.log_prob(own) for p, own in zip(priors, codes, strict=True)]).sum(0)

    def priors_of(self, codes: Sequence[Tensor], context: Tensor | None = None) -> list[Distribution]:
        """p(codes of each level | those of the levels above), the lowest first."""
        shown: dict[int, Maps | None] = {}

        def take(i: int, above: Maps | None) -> Tensor:
            shown[i] = above
            return self.all_levels[i].quantizer.embed(codes[i])

        with torch.no_grad():  # the codes are given: what is trained by their probability is the priors alone
            self.down(take)
        return [self.prior(i, shown[i], context) for i in range(len(self.levels))]

    def log_pairs(self, code: Tensor, local: Tensor) -> Tensor:
        """Raises DensityUnknown: an example's codes are a function of it, or drawn level by level."""
        if self.deterministic:
            raise DensityUnknown(DETERMINISTIC + ", so that log q at other data's codes is 0 or -inf")
        raise DensityUnknown("log q of codes that are drawn is not known at other data's")

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """(B, latent) mean and variance of the codes' vectors, those above being at the nearest code to their mean."""
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

    def chosen(self, state: State) -> list[Tensor]:
        """As the quantizers choose."""
        maps, _ = state
        codes: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer = self.all_levels[i].quantizer
            codes.insert(0, quantizer.encode(self.all_levels[i].raw(maps[i], above)))
            return quantizer.embed(codes[0])

        self.down(take)
        return codes

    def decode(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """Features of the nearest codes; where these are sought greedily (residual), of the vectors as they are."""
        vectors = self.split(code)
        return self.down(lambda i, _: self.all_levels[i].quantizer.project(vectors[i]))

    def inference_parameters(self) -> list[nn.Parameter]:
        """Those of the way up, and of what makes vectors of it."""
        return [p for level in self.all_levels for part in (level.up, level.head) for p in part.parameters()]
