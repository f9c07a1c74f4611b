"""What discrete codes cost under their prior, and how their codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, estimate, mean, ratio
from tightbound.core.terms import LatentTerms
from tightbound.quantizers.usage import CodebookUsage, QuantizationError

DESCRIPTIONS = {
    "uniform_rate": "the rate that the codes would have, were all equally probable",
    "prior_gain": "nats of it that the prior in use saves: uniform_rate - rate; 0 until a prior is learned",
    "prior_gain_share": "the same, as a share of uniform_rate",
    "codes_used": "share of each codebook's entries that occur in these data, the lowest level first",
    "code_perplexity": "entries in even use, by codebook: exp of the entropy of their frequencies",
    "quantization_error": "squared distance of the encoder's vectors to those of their codes, over the vectors' "
    "variance, by level; 0: nothing is lost",
}


class Counted(NamedTuple):
    """Codes of a batch of B data, of one level, one draw an example."""

    codes: Tensor  # (B, P, depth) in the smallest integers
    entries: int  # of each codebook
    codebooks: int
    squared: Tensor | None = None  # (B,) sum of squared distances of vectors to their codes
    distances: QuantizationError | None = None


def counted(groups: Sequence[LatentTerms]) -> list[Counted]:
    """Of the terms of a batch, whose first draw counts; those of latents that are not discrete are left out."""
    return [_counted(group) for group in groups if group.discrete]


def _counted(group: LatentTerms) -> Counted:
    drawn, entries = torch.as_tensor(group.codes)[0].cpu(), group.entries or 1
    found = Counted(drawn.to(_smallest(entries)), entries, 1 if group.shared else drawn.shape[-1])
    if group.vectors is None:
        return found
    vectors, chosen = (x.cpu().double() for x in (group.vectors, group.z[0]))
    vectors = vectors if vectors.dim() == 3 else vectors[0]
    squared = (vectors - chosen).square().flatten(1).sum(1)
    return found._replace(squared=squared, distances=QuantizationError.of(vectors, chosen))


class CodeBooks:
    """Counts codes batch by batch, by level."""

    def __init__(self) -> None:
        self.usage: list[CodebookUsage] = []  # of each level
        self._codes: list[list[Tensor]] = []  # by level: (B, P, depth) in the smallest integers
        self._squared: list[list[Tensor]] = []  # by level: (B,) sum of squared distances

    def add(self, levels: Sequence[Counted]) -> None:
        """The codes of a batch."""
        if not self.usage:
            self.usage = [CodebookUsage.empty(level.entries, level.codebooks) for level in levels]
            self._codes, self._squared = [[] for _ in levels], [[] for _ in levels]
        for level, usage, codes, squared in zip(levels, self.usage, self._codes, self._squared, strict=True):
            usage.add(level.codes.long())
            codes.append(level.codes)
            if level.squared is not None and level.distances is not None:
                usage.add_error(level.distances)
                squared.append(level.squared)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.usage)

    @property
    def codes(self) -> Array:
        """(N, sum of P depth) of all levels, the lowest first."""
        return np.concatenate([torch.cat(each).flatten(1).numpy() for each in self._codes], 1)

    def numbers(self) -> dict[str, Estimate]:
        """Entries used, perplexity, and the distances of vectors to codes."""
        n = sum(map(len, self._codes[0]))
        entries = [usage.counts.shape[1] for usage in self.usage]
        facts: dict[str, Any] = {"n": n, "target": "codes of the data" + ", one draw each" * (not all(self._squared))}
        known = all(size == entries[0] for size in entries)
        unit = f"of {entries[0]:,} entries" if known else f"of {', '.join(f'{size:,}' for size in entries)} entries"
        counted = "counted over these data: more of them may use more"
        used = [share for usage in self.usage for share in usage.used_share.tolist()]
        perplexity = [value for usage in self.usage for value in usage.perplexity.tolist()]
        error = [e for parts, usage in zip(self._codes, self.usage, strict=True) for e in _errors(parts, usage)]
        found = {
            "codes_used": Estimate(used, None, unit=f"share {unit}", estimator="count", reason=counted, **facts),
            "code_perplexity": estimate(
                perplexity, np.multiply(perplexity, error) if n > 1 else None, unit=unit, **facts,
                estimator="exp of the entropy of frequencies; delta method over data",
            ),
        }  # fmt: skip
        distances = [usage.relative_error for usage in self.usage]
        facts |= {"unit": "variances", "target": "vectors that are quantized"}
        if any(distance is None for distance in distances):
            drawn = not all(self._squared)
            reason = "codes are drawn: no vector is quantized" if drawn else "the vectors do not vary"
            found["quantization_error"] = Estimate(None, None, estimator="none", reason=reason, **facts)
            return found
        value = np.array([distance for distance in distances if distance is not None])
        squared = np.stack([torch.cat(each).numpy() for each in self._squared], 1)  # (N, levels)
        relative = squared.std(0, ddof=1) / math.sqrt(n) / np.maximum(squared.mean(0), 1e-300) if n > 1 else None
        found["quantization_error"] = estimate(
            value, None if relative is None else value * relative, **facts,
            estimator="mean squared distance / variance of all vectors of the level, which is taken as it is",
        )  # fmt: skip
        return found


def prices(rate: Array, gain: Array, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """What codes cost, from the rate and the gain (N,) of the prior over the uniform one, nats.

    Arguments:
        facts: Target, samples, and a reason why the bound is none on a likelihood.
    """
    uniform = rate + gain
    about = {**facts, "unit": "nats"}
    of_codes = {"target": "p(codes) in use against the uniform one", "samples": facts["samples"]}
    how = "paired: log p(codes) - log p(codes) under the uniform prior"
    return {
        "uniform_rate": mean(uniform, estimator="rate under the uniform prior", **about),
        "prior_gain": mean(gain, unit="nats", estimator=how, **of_codes),
        "prior_gain_share": ratio(gain, uniform, unit="share", estimator=f"ratio of means, delta method; {how}",
                                  **of_codes),
    }  # fmt: skip


def _smallest(entries: int) -> torch.dtype:
    return torch.uint8 if entries <= 2**8 else torch.int16 if entries <= 2**15 else torch.int32


def _errors(codes: Sequence[Tensor], usage: CodebookUsage) -> list[float]:
    """Standard error over data of the entropy of each codebook: that of the mean surprise -log p of an example's codes."""
    surprise = -(usage.counts.double() / usage.counts.sum(1, keepdim=True)).clamp_min(1e-300).log()
    books = len(surprise)
    parts = []
    for part in codes:
        columns = part.long().reshape(len(part), -1, books).unbind(-1)
        parts.append(torch.stack([table[column].mean(1) for table, column in zip(surprise, columns, strict=True)], 1))
    each = torch.cat(parts)
    return (each.std(0) / math.sqrt(len(each))).tolist() if len(each) > 1 else [math.nan] * books
