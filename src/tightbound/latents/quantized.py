"""Discrete latents: grids of codes at one or more levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, DensityUnknown, whole
from tightbound.core.interfaces import LogLikelihood, State
from tightbound.core.noise import FoldedNoise, Noise
from tightbound.core.parts import describe, make, rebuild
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import CERTAIN, LatentTerms
from tightbound.latents.codes import CodeLatents, Maps, Take, flattened
from tightbound.latents.codes_prior import CodesPrior
from tightbound.nn.base import Architecture, fold, probe
from tightbound.priors.codes import CodePrior, Uniform
from tightbound.quantizers import Quantizer

STARTED_AT = 256  # data whose vectors codebooks start at
_Part = TypeVar("_Part")


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
        quantizer: "vq(entries=512)", ..., for all levels, or one of each, the lowest first; as text or objects.
        prior: p(codes), likewise: "uniform", or one that is learned in a second stage ("pixelcnn", "transformer");
            until then all codes are equally probable.
        positions: Codes of a datum, where the network has no planes.
        context: Size of the context, which the prior alone takes; 0: there is none.

    Raises:
        CompositionError: parts whose number is not that of the levels, or that are made for other sizes; a context that
            no prior takes.

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
        quantizer: str | Quantizer | Sequence[str | Quantizer] = "vq",
        prior: str | CodePrior | Sequence[str | CodePrior] = "uniform",
        positions: int = 16,
        context: int = 0,
    ) -> None:
        super().__init__()
        stages, self.planes = _levels(network, shape, latent, whole("positions", positions, least=1))
        number = len(self.planes)
        self.levels = nn.ModuleList()
        self._context = context
        above = 0
        for i in reversed(range(number)):
            plane = self.planes[i]
            q = _one(Quantizer, "quantizer", _of(quantizer, i, number, "quantizer"), size=latent)
            p, uniform = _prior(_of(prior, i, number, "prior"), i, q, plane, above, context)
            rise = network.rise(q.size + above, i, shape) if i and isinstance(network, Architecture) else None
            self.levels.insert(0, Level(stages[i], plane, above, q, p, uniform, rise))
            above = self.planes[i - 1][0]
        if context and all(level.prior.blind for level in self.all_levels):
            raise CompositionError(
                "a context enters latents 'quantized' by their prior alone, and a uniform one takes none, so that x "
                "would not depend on it; use prior='pixelcnn' or 'transformer', or leave out the context"
            )
        self.sizes = [level.quantizer.size * math.prod(level.plane[1:]) for level in self.all_levels]
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
            alike = rebuild(describe(level.prior), trust=True) if part is None else _of(part, i, number, "prior")
            about = (level.quantizer, level.plane, level.above, self._context)
            new.append(_prior(alike, i, *about)[0].to(self.learned.device))
        for level, prior in zip(self.all_levels, new, strict=True):
            level.prior = prior
        if part is not None:
            self.record_again(prior=part)
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
        """Since the second stage."""
        return bool(self.learned)

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of the quantizers."""
        return {name: s for level in self.all_levels for name, s in level.quantizer.schedules.items()}

    @property
    def support(self) -> str:
        """Vectors of a codebook."""
        return "codebook"

    @property
    def certain(self) -> bool:
        """Whether all quantizers take the one nearest code."""
        return all(level.quantizer.certain for level in self.all_levels)

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
            level.standardise(level.raw(maps[i], above))
            raw = level.raw(maps[i], above)
            level.quantizer.start_at(raw.flatten(0, 1))
            return level.quantizer.settled(level.quantizer.moments(raw)[0])

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
                found = quantizer(raw.flatten(0, 1), 1, FoldedNoise(noise, samples), knobs).unfolded(samples)
            else:
                found = quantizer(raw, samples, noise, knobs)
            copies = found.posterior is None and not drawn
            # of one code, given those that were drawn above, log q = 0 and yet samples differ
            zero = found.z.new_zeros(found.z.shape[:2]) if found.posterior is None and drawn else None
            groups.append(
                LatentTerms(
                    found.z, self.prior(i, above, context), found.posterior,
                    codes=found.codes, entries=quantizer.entries, shared=quantizer.shared,
                    drawn=zero, discrete=True, certain=copies, penalty=found.penalty, vectors=found.vectors,
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
        """Raises DensityUnknown: a datum's codes are a function of it, or drawn level by level."""
        if self.certain:
            raise DensityUnknown(CERTAIN + ", so that log q at other data's codes is 0 or -inf")
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
            return quantizer.settled(mean)

        self.down(take)
        return flattened(means), flattened(variances)

    def chosen(self, state: State) -> list[Tensor]:
        """As the quantizers choose."""
        maps, _ = state
        codes: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer = self.all_levels[i].quantizer
            codes.insert(0, quantizer.chosen(self.all_levels[i].raw(maps[i], above)))
            return quantizer.embed(codes[0])

        self.down(take)
        return codes

    def decode(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """Features of the nearest codes; where these are sought greedily (residual), of the vectors as they are."""
        vectors = self.split(code)
        return self.down(lambda i, _: self.all_levels[i].quantizer.settled(vectors[i]))

    def inference_parameters(self) -> list[nn.Parameter]:
        """Those of the way up, and of what makes vectors of it."""
        return [p for level in self.all_levels for part in (level.up, level.head) for p in part.parameters()]


class Level(nn.Module):
    """One grid of codes.

    Arguments:
        up: Maps of the level below, or x, -> maps (B, *plane).
        plane: (C, H, W).
        above: Channels of the maps that levels above give to this one; 0: there is none.
        quantizer, prior, uniform: Of this level's codes.
        rise: Their vectors, beside the maps from above, -> maps on the plane below; None: this is the lowest.
    """

    def __init__(
        self,
        up: nn.Module,
        plane: tuple[int, int, int],
        above: int,
        quantizer: Quantizer,
        prior: CodePrior,
        uniform: Uniform,
        rise: nn.Module | None,
    ) -> None:
        super().__init__()
        self.plane, self.above = plane, above
        self.up, self.head = up, nn.Conv2d(plane[0] + above, quantizer.inputs, 1)
        self.quantizer, self.prior, self.uniform, self.rise = quantizer, prior, uniform, rise

    def raw(self, maps: Maps, above: Maps | None) -> Tensor:
        """What the quantizer takes, (..., P, inputs), of maps (B, *plane) and of those from above (..., B, C, H, W)."""
        if above is not None:
            maps = torch.cat([maps.expand(*above.shape[:-3], *maps.shape[-3:]), above], -3)
        return fold(self.head, maps, 3).flatten(-2).transpose(-2, -1)

    def standardise(self, raw: Tensor) -> None:
        """Rescales the head, which gave these numbers, so that each has mean 0 and variance 1: an untrained encoder
        gives nearly the same vector everywhere, and then moves faster than a codebook can follow. A number that varies
        by its rounding alone keeps its scale."""
        std, mean = torch.std_mean(raw.flatten(0, -2), 0, correction=0)
        scale = torch.where(std > 1e-5 * (1 + mean.abs()), 1 / std, 1.0)
        self.head.weight.mul_(scale[:, None, None, None])
        if self.head.bias is not None:
            self.head.bias.copy_((self.head.bias - mean) * scale)


def _levels(
    network: Architecture | nn.Module, shape: tuple[int, ...], latent: int, positions: int
) -> tuple[list[nn.Module], list[tuple[int, int, int]]]:
    """The stages of the encoder, and the plane of the maps that each gives."""
    planes = network.planes(shape) if isinstance(network, Architecture) else []
    if isinstance(network, Architecture) and planes:
        return [*network.stages(shape)], [(c, h, w) for c, h, w in planes]
    body = network.encoder(shape) if isinstance(network, Architecture) else network
    width, plane = probe(body, shape, "encoder"), (latent, 1, positions)
    spread = nn.Sequential(body, nn.Flatten(), nn.Linear(width, latent * positions), nn.Unflatten(1, plane))
    return [spread], [plane]


def _prior(
    part: str | CodePrior, i: int, quantizer: Quantizer, plane: tuple[int, int, int], above: int, context: int
) -> tuple[CodePrior, Uniform]:
    """The prior of level i, and the uniform one; refuses one that is made for other codes."""
    depth, entries = quantizer.depth, quantizer.entries
    about = {"grid": plane[1:], "depth": depth, "entries": entries, "maps": above, "context": context}
    prior = _one(CodePrior, "code-prior", part, **about)
    for name, value in about.items():
        if prior.needs[name] != value:
            raise CompositionError(
                f"{type(prior).__name__} of level {i} has {name} = {prior.needs[name]} and the level needs {value}; "
                f"construct it with {name}={value}"
            )
    return prior, Uniform(plane[1:], depth, entries, above, context)


def _of(parts: str | _Part | Sequence[str | _Part], level: int, levels: int, what: str) -> str | _Part:
    """The part of one level, where they are given one by one."""
    if isinstance(parts, str) or not isinstance(parts, Sequence):
        if levels > 1 and isinstance(parts, nn.Module):
            raise CompositionError(f"there are {levels} levels and one {what}; give a list of {levels}, or its text")
        return cast("str | _Part", parts)
    if len(parts) != levels:
        raise CompositionError(f"{len(parts)} {what}s were given for {levels} level(s); give one for each")
    return parts[level]


def _one(kind: type[_Part], name: str, part: str | _Part, **about: Any) -> _Part:
    made = make(name, part, **about) if isinstance(part, str) else part
    if not isinstance(made, kind):
        raise CompositionError(f"{type(made).__name__} was given where a {kind.__name__} is needed")
    return made
