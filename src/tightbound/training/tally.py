"""Metrics of an epoch, from sums over its examples and counts of code indices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tightbound.core.latents import Trainable
from tightbound.core.terms import Terms, code_terms
from tightbound.core.world import summed, together
from tightbound.quantizers.usage import CodebookUsage


@dataclass(frozen=True)
class Summary:
    """Contribution of a batch to the metrics.

    Attributes:
        sums: Sums over the examples, scalars by name.
        codes: Code indices (..., codebooks) and codebook size, by level.
    """

    sums: dict[str, Tensor]
    codes: dict[int, tuple[Tensor, int]]

    @classmethod
    def joined(cls, parts: Sequence[Summary]) -> Summary:
        """Return the contribution of a batch, from those of its parts."""
        first = parts[0]
        if len(parts) == 1:
            return first
        sums = {name: torch.stack([part.sums[name] for part in parts]).sum(0) for name in first.sums}
        codes = {level: torch.cat([part.codes[level][0] for part in parts]) for level in first.codes}
        return cls(sums, {level: (found, first.codes[level][1]) for level, found in codes.items()})


def summarize(terms: Terms, loss: Tensor | None = None) -> Summary:
    """Return the contribution of a batch to the metrics.

    Args:
        terms: The terms of the batch.
        loss: Minus the mean of the objective, without the penalty; None: not computed.
    """
    samples, n = terms.log_likelihood.shape
    sums = {} if loss is None else {"loss": loss.detach() * n}
    sums["reconstruction"] = -terms.log_likelihood.detach().sum() / samples
    if all(group.has_density for group in terms.latents):
        rates = [group.rate().detach().sum() for group in terms.latents]
        sums["kl"] = sum(rates, start=torch.zeros_like(sums["reconstruction"])) / samples
    if terms.penalty is not None:
        sums["penalty"] = terms.penalty.detach().sum() / samples
    codes = {}
    for level, group in enumerate(code_terms(terms.latents)):
        columns = group.indices[:1] if group.deterministic else group.indices
        columns = columns.reshape(-1, 1 if group.shared else columns.shape[-1])
        codes[level] = (columns, group.codebook_size)
    return Summary(sums, codes)


class Tally:
    """Sums over the batches of all processes, and the usage of code vectors.

    Attributes:
        sums: Sums of values per example, by name; "n" is the number of examples.
        usage: Usage of the codebooks of discrete latents, by level, lowest first.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.usage: dict[int, CodebookUsage] = {}

    def add(self, n: int, summary: Summary) -> dict[str, float]:
        """Add this process's part of a batch; return the sums over the whole batch.

        Args:
            n: Number of examples to count; 0: other processes count all of them, and `summary` is ignored.
            summary: Contribution of this process's part.
        """
        names = list(summary.sums)
        own = torch.stack([*summary.sums.values()]).tolist()  # one wait for the accelerator
        of_all = together([n, *(own if n else [0.0] * len(own))])
        found = dict(zip(["n", *names], of_all, strict=True))
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        for level, (codes, entries) in summary.codes.items():
            usage = CodebookUsage.empty(entries, codes.shape[-1])
            usage.add(codes if n else codes[:0])
            mine = self.usage.setdefault(level, CodebookUsage.empty(entries, codes.shape[-1]))
            mine.counts += summed(usage.counts)
        return found

    def metrics(self, split: str, model: Trainable) -> dict[str, Any]:
        """Return means over the examples, with names such as "train_loss".

        Loss (without the penalty), reconstruction, KL, ELBO and penalty are in nats per example. Discrete latents add,
        by level and codebook, the number of code vectors used in the epoch and their perplexity, the exponential of the
        entropy of their frequencies.
        """
        n = self.sums["n"]
        row: dict[str, Any] = {f"{split}_{k}": v / n for k, v in self.sums.items() if k != "n"}
        if "kl" in self.sums:
            row[f"{split}_elbo"] = elbo = -(self.sums["reconstruction"] + self.sums["kl"]) / n
            row[f"{split}_bits_per_{model.unit}"] = model.bits(elbo)
        for level, usage in self.usage.items():
            for i, (used, perplexity) in enumerate(zip(usage.used.tolist(), usage.perplexity.tolist(), strict=True)):
                place = f"{level}_{i}" if len(usage.counts) > 1 else f"{level}"
                row |= {f"{split}_codes_used_{place}": used, f"{split}_perplexity_{place}": perplexity}
        return row

    def state(self) -> dict[str, Tensor]:
        """Return the counts by level; a resumed run also needs `sums`."""
        return {str(level): usage.counts for level, usage in self.usage.items()}

    def load(self, sums: Mapping[str, float], counts: Mapping[str, Tensor]) -> None:
        """Restore the sums and what `state` returned."""
        self.sums = dict(sums)
        self.usage = {
            int(level): CodebookUsage(c) for level, c in sorted(counts.items(), key=lambda pair: int(pair[0]))
        }


def perplexities(row: Mapping[str, Any], split: str = "train") -> list[float]:
    """Return each level's perplexity, the geometric mean over its codebooks, from an epoch's metrics."""
    start, levels = f"{split}_perplexity_", dict[str, list[float]]()
    for name, value in row.items():
        if name.startswith(start):
            levels.setdefault(name.removeprefix(start).partition("_")[0], []).append(math.log(value))
    return [math.exp(sum(logs) / len(logs)) for logs in levels.values()]
