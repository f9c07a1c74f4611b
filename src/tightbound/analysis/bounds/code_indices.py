"""Code indices: what they cost under their prior, and how their codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, estimate, mean, mean_error, ratio
from tightbound.core.terms import CodeTerms, LatentTerms, code_terms
from tightbound.quantizers.usage import CodebookUsage, QuantizationError

DESCRIPTIONS = {
    "uniform_rate": "the rate if all code indices were equally probable",
    "prior_gain": "what the code prior saves: uniform_rate - rate; 0 until a code prior is trained",
    "prior_gain_share": "prior_gain as a share of uniform_rate",
    "codes_used": "share of the vectors of each codebook that occur in these data, the lowest level first",
    "code_perplexity": "number of code vectors in even use, by codebook: exp of the entropy of their frequencies",
    "quantization_error": "squared distance of the encoder's vectors to their code vectors, over the variance of the "
    "encoder's vectors, by level; 0: nothing is lost",
}


class Counted(NamedTuple):
    """Code indices of one level for a batch of B examples, one draw each."""

    indices: Tensor  # (B, P, depth), in the smallest integer type
    codebook_size: int
    codebooks: int
    squared: Tensor | None = None  # (B,) sum of squared distances of vectors to their code vectors
    distances: QuantizationError | None = None  # the same over the batch, with the variance of the vectors


def counted(groups: Sequence[LatentTerms]) -> list[Counted]:
    """Return the code indices of the discrete groups of a batch's terms, at the first draw."""
    return [_counted(group) for group in code_terms(groups)]


def _counted(group: CodeTerms) -> Counted:
    drawn, size = group.indices[0].cpu(), group.codebook_size
    smallest = torch.uint8 if size <= 2**8 else torch.int16 if size <= 2**15 else torch.int32
    found = Counted(drawn.to(smallest), size, 1 if group.shared else drawn.shape[-1])
    if group.vectors is None:
        return found
    vectors, chosen = (x.cpu().double() for x in (group.vectors, group.z[0]))
    vectors = vectors if vectors.dim() == 3 else vectors[0]
    squared = (vectors - chosen).square().flatten(1).sum(1)
    return found._replace(squared=squared, distances=QuantizationError.of(vectors, chosen))


class CodeBooks:
    """Counts of code indices by level, added batch by batch."""

    def __init__(self) -> None:
        self.usage: list[CodebookUsage] = []  # of each level
        self._indices: list[list[Tensor]] = []  # by level: (B, P, depth) in the smallest integers
        self._squared: list[list[Tensor]] = []  # by level: (B,) sum of squared distances

    def add(self, levels: Sequence[Counted]) -> None:
        """Add the code indices of a batch."""
        if not self.usage:
            self.usage = [CodebookUsage.empty(level.codebook_size, level.codebooks) for level in levels]
            self._indices, self._squared = [[] for _ in levels], [[] for _ in levels]
        for level, usage, indices, squared in zip(levels, self.usage, self._indices, self._squared, strict=True):
            usage.add(level.indices.long())
            indices.append(level.indices)
            if level.squared is not None and level.distances is not None:
                usage.add_error(level.distances)
                squared.append(level.squared)

    @property
    def indices(self) -> Array:
        """Code indices of all levels (N, sum of P depth), the lowest level first."""
        return np.concatenate([torch.cat(each).flatten(1).numpy() for each in self._indices], 1)

    def estimates(self) -> dict[str, Estimate]:
        """Return the use of the codebooks, their perplexity and the quantization error."""
        n = sum(map(len, self._indices[0]))
        sizes = [usage.counts.shape[1] for usage in self.usage]
        drawn = ", one draw each" if not all(self._squared) else ""
        facts: dict[str, Any] = {"n": n, "target": f"code indices of the data{drawn}"}
        shown = sizes[:1] if len(set(sizes)) == 1 else sizes
        unit = f"of {', '.join(f'{size:,}' for size in shown)} code vectors"
        caveat = "counted over these data: more data may use more"
        used = [share for usage in self.usage for share in usage.used_share.tolist()]
        perplexity = [value for usage in self.usage for value in usage.perplexity.tolist()]
        error = [e for parts, usage in zip(self._indices, self.usage, strict=True) for e in _errors(parts, usage)]
        return {
            "codes_used": Estimate(used, None, unit=f"share {unit}", estimator="count", reason=caveat, **facts),
            "code_perplexity": estimate(
                perplexity, np.multiply(perplexity, error) if n > 1 else None, unit=unit, **facts,
                estimator="exp of the entropy of frequencies; delta method over examples",
            ),
            "quantization_error": self._error(n),
        }  # fmt: skip

    def _error(self, n: int) -> Estimate:
        facts = {"n": n, "unit": "variances", "target": "vectors that are quantized"}
        distances = [usage.relative_error for usage in self.usage]
        if any(distance is None for distance in distances):
            drawn = not all(self._squared)
            reason = "code indices are drawn: no vector is quantized" if drawn else "the vectors do not vary"
            return Estimate.missing(reason, **facts)
        value = np.array([distance for distance in distances if distance is not None])
        squared = np.stack([torch.cat(each).numpy() for each in self._squared], 1)  # (N, levels)
        relative = mean_error(squared) / np.maximum(squared.mean(0), 1e-300) if n > 1 else None
        how = "mean squared distance over the variance of all vectors of the level (its own error is not counted)"
        return estimate(value, None if relative is None else value * relative, estimator=how, **facts)


def prices(rate: Array, gain: Array, facts: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return what code indices cost, from the rate of each example and the prior's gain over the uniform one, nats (N,)
    each."""
    uniform = rate + gain
    about = {**facts, "unit": "nats"}
    compared = {"target": "code prior in use against the uniform one", "samples": facts["samples"]}
    how = "paired: log-probability of the code indices minus that under the uniform prior"
    share = f"ratio of means, delta method; {how}"
    return {
        "uniform_rate": mean(uniform, estimator="rate under the uniform prior", **about),
        "prior_gain": mean(gain, unit="nats", estimator=how, **compared),
        "prior_gain_share": ratio(gain, uniform, unit="share", estimator=share, **compared),
    }


def _errors(indices: Sequence[Tensor], usage: CodebookUsage) -> list[float]:
    """Return the standard error of each codebook's entropy: that of the mean surprise -log p of an example's codes."""
    surprise = -(usage.counts.double() / usage.counts.sum(1, keepdim=True)).clamp_min(1e-300).log()
    books = len(surprise)
    parts = []
    for part in indices:
        columns = part.long().reshape(len(part), -1, books).unbind(-1)
        parts.append(torch.stack([table[column].mean(1) for table, column in zip(surprise, columns, strict=True)], 1))
    each = torch.cat(parts)
    return (each.std(0) / math.sqrt(len(each))).tolist() if len(each) > 1 else [math.nan] * books
