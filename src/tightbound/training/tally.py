"""What an epoch's metrics are made of: sums over its data, and counts of their codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tightbound.core.interfaces import Trainable
from tightbound.core.terms import Terms
from tightbound.quantizers.usage import CodeUsage


class Tally:
    """Sums over data, and how often each entry of each codebook was taken, batch after batch.

    Attributes:
        sums: By name, of values a datum; "n" counts the data.
        usage: By level, the lowest first, of latents that are discrete.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.usage: dict[int, CodeUsage] = {}

    @torch.no_grad()
    def add(self, terms: Terms, loss: float | None) -> None:
        """Takes a batch.

        Arguments:
            loss: Minus the mean of the objective, without the penalty; None: it was not computed.
        """
        samples, n = terms.log_likelihood.shape
        self._add("n", n)
        if loss is not None:
            self._add("loss", loss * n)
        self._add("reconstruction", -terms.log_likelihood.sum().item() / samples)
        if all(group.has_density for group in terms.latents):
            self._add("kl", sum(group.rate().sum().item() for group in terms.latents) / samples)
        if terms.penalty is not None:
            self._add("penalty", terms.penalty.sum().item() / samples)
        for level, group in enumerate(terms.latents):
            if group.discrete and group.codes is not None and group.entries is not None:
                codebooks = 1 if group.shared else group.codes.shape[-1]
                self.usage.setdefault(level, CodeUsage.empty(group.entries, codebooks)).add(
                    group.codes[:1] if group.certain else group.codes
                )

    def _add(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def metrics(self, split: str, model: Trainable) -> dict[str, Any]:
        """Means over the data, by the split's name and theirs.

        loss, reconstruction, kl, elbo and penalty are nats a datum; the loss is without the penalty. Of codes, by level
        and, where it has several, by codebook: entries that were used, and perplexity, exp of the entropy of their
        frequencies, over all of the epoch.
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
        """The counts, by level; `sums` is the rest of what a resumed run needs."""
        return {str(level): usage.counts for level, usage in self.usage.items()}

    def load(self, sums: Mapping[str, float], counts: Mapping[str, Tensor]) -> None:
        """Takes what was saved."""
        self.sums = dict(sums)
        self.usage = {int(level): CodeUsage(c) for level, c in sorted(counts.items(), key=lambda pair: int(pair[0]))}


def perplexities(row: Mapping[str, Any], split: str = "train") -> list[float]:
    """Of each level in an epoch's metrics; of several codebooks, their geometric mean."""
    start, levels = f"{split}_perplexity_", dict[str, list[float]]()
    for name, value in row.items():
        if name.startswith(start):
            levels.setdefault(name.removeprefix(start).partition("_")[0], []).append(math.log(value))
    return [math.exp(sum(logs) / len(logs)) for logs in levels.values()]
