"""How a codebook is used, over a stream of codes: a whole epoch or data set, never a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.quantizers.base import Quantizer


@dataclass
class CodeUsage:
    """Counts of codes, by codebook, and distances of vectors to those of their codes.

    Arguments:
        counts: (codebooks, entries) how often each entry was chosen; start with zeros, or by `empty`, `of`.
    """

    counts: Tensor
    _n: int = 0  # vectors
    _squared: float = 0.0  # sum over vectors of |v - e|^2
    _about: Tensor | None = None  # (size,) the first vectors' mean, about which sums lose little
    _sums: Tensor = field(default_factory=lambda: torch.zeros(2, 1, dtype=torch.float64))  # of v and v^2, by dimension

    @classmethod
    def empty(cls, entries: int, codebooks: int = 1) -> Self:
        """Nothing counted yet."""
        return cls(torch.zeros(codebooks, entries, dtype=torch.long))

    @classmethod
    def of(cls, quantizer: Quantizer) -> Self:
        """Nothing counted yet, of this quantizer's codebooks."""
        return cls.empty(quantizer.entries, 1 if quantizer.shared else quantizer.depth)

    def add(self, codes: Tensor) -> None:
        """Counts codes (..., depth): each index of the last axis has a codebook of its own, unless there is only one.

        Raises:
            InputError: another number of codes in the last axis, or codes that are no entries.
        """
        codebooks, entries = self.counts.shape
        if codebooks > 1 and codes.shape[-1] != codebooks:
            raise InputError(f"{codes.shape[-1]} codes at a position are not of {codebooks} codebooks; count one each")
        columns = codes.detach().reshape(-1, codebooks).cpu()
        if columns.numel() and not 0 <= int(columns.min()) <= int(columns.max()) < entries:
            raise InputError(f"codes {columns.min()} .. {columns.max()} are not of 0 .. {entries - 1}")
        self.counts += torch.stack([column.bincount(minlength=entries) for column in columns.unbind(1)])

    def add_distances(self, vectors: Tensor, chosen: Tensor) -> None:
        """Takes vectors (..., size) and those of their codes (..., size) into the distance."""
        v, e = (x.detach().double().cpu().flatten(0, -2) for x in (vectors, chosen))
        if self._about is None:
            self._about = v.mean(0)
        off = v - self._about
        self._n, self._squared = self._n + len(v), self._squared + float((v - e).square().sum())
        self._sums = self._sums + torch.stack([off.sum(0), off.square().sum(0)])

    @property
    def used(self) -> Tensor:
        """(codebooks,) entries that occur."""
        return (self.counts > 0).sum(1)

    @property
    def share(self) -> Tensor:
        """(codebooks,) of the entries, those that occur."""
        return self.used / self.counts.shape[1]

    @property
    def entropy(self) -> Tensor:
        """(codebooks,) of the frequencies of entries, nats."""
        p = self.counts.double() / self.counts.sum(1, keepdim=True)
        return -torch.special.xlogy(p, p).sum(1)

    @property
    def perplexity(self) -> Tensor:
        """(codebooks,) exp(entropy): entries in even use."""
        return self.entropy.exp()

    @property
    def bits(self) -> float:
        """Of the bits that codes have, the part in use: entropy over log K, summed over codebooks."""
        codebooks, entries = self.counts.shape
        return float(self.entropy.sum() / (codebooks * torch.tensor(float(entries)).log().double()))

    @property
    def distance(self) -> float | None:
        """Mean |v - e|^2 over the variance E|v - Ev|^2 of the vectors: 0 is lossless, 1 as bad as one entry at the
        mean; None where no distances were given, or the vectors do not vary."""
        if not self._n:
            return None
        variance = float((self._sums[1] - self._sums[0].square() / self._n).sum())
        return self._squared / variance if variance > 0 else None
