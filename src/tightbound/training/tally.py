"""What an epoch's metrics are made of: sums over its data, and counts of their codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tightbound.core.interfaces import Trainable
from tightbound.core.terms import Terms
from tightbound.core.world import summed, together
from tightbound.quantizers.usage import CodebookUsage


@dataclass(frozen=True)
class Summary:
    """What metrics take of a batch."""

    sums: dict[str, Tensor]  # by name, over its data, 0-d
    codes: dict[int, tuple[Tensor, int]]  # by level: codes (..., codebooks), and how many values one can take


def summarize(terms: Terms, loss: Tensor | None = None) -> Summary:
    """What metrics take of these terms.

    Arguments:
        loss: Minus the mean of the objective, without the penalty; None: it was not computed.
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
    for level, group in enumerate(terms.latents):
        if group.discrete and group.codes is not None and group.entries is not None:
            columns = group.codes[:1] if group.deterministic else group.codes
            columns = columns.reshape(-1, 1 if group.shared else columns.shape[-1])
            codes[level] = (columns, group.entries)
    return Summary(sums, codes)


class Tally:
    """Sums over data, and how often each entry of each codebook was taken, batch after batch, of all processes.

    Attributes:
        sums: By name, of values an example; "n" counts the data.
        usage: By level, the lowest first, of latents that are discrete.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.usage: dict[int, CodebookUsage] = {}

    def add(self, n: int, summary: Summary) -> dict[str, float]:
        """Takes this process's share of a batch, of n data; gives the sums of all of it.

        Arguments:
            n: 0 where others have all the data: what `summary` says then does not count.
        """
        names = list(summary.sums)
        own = torch.stack([*summary.sums.values()]).tolist()  # at once: an accelerator is waited for
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
        """Means over the data, by the split's name and theirs.

        loss, reconstruction, kl, elbo and penalty are nats an example; the loss is without the penalty. Of codes, by level
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
        self.usage = {
            int(level): CodebookUsage(c) for level, c in sorted(counts.items(), key=lambda pair: int(pair[0]))
        }


def perplexities(row: Mapping[str, Any], split: str = "train") -> list[float]:
    """Of each level in an epoch's metrics; of several codebooks, their geometric mean."""
    start, levels = f"{split}_perplexity_", dict[str, list[float]]()
    for name, value in row.items():
        if name.startswith(start):
            levels.setdefault(name.removeprefix(start).partition("_")[0], []).append(math.log(value))
    return [math.exp(sum(logs) / len(logs)) for logs in levels.values()]
