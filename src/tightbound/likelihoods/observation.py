"""Observations: maps from raw data to the encoder's input and the likelihood's target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.domain import BINARY, COUNTS, REAL, UNIT, Domain, Given
from tightbound.core.errors import InputError, number, whole
from tightbound.core.interfaces import Observation
from tightbound.core.limits import LEVELS
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import Batch


class Identity(Observation):
    """Observation whose input and target are the raw data.

    Args:
        kind: Domain of the data: "real", "unit" or "binary".
        given: How the training data held the values; see `Domain`.
    """

    def __init__(self, kind: str = "real", given: Given = "") -> None:
        super().__init__()
        domains = {"real": REAL, "unit": Domain("unit", given=given), "binary": BINARY}
        if kind not in domains:
            raise InputError(f"kind = {kind!r}; needed: one of {', '.join(domains)}")
        self.source = self.target = domains[kind]
        self.counts_bits = self.target.discrete
        self.target_name = {"real": "density", "unit": "density on [0, 1]", "binary": "binary data"}[kind]

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set input and target to x."""
        return replace(batch, input=batch.x)

    def restore(self, target: Tensor) -> Tensor:
        """Return the targets unchanged."""
        return target


class Binarized(Observation):
    """Observation that treats gray levels as probabilities of bits.

    Args:
        levels: Number K of gray levels; level k is the probability k / (K - 1). 2: data in [0, 1] are probabilities.
        mode: "dynamic": bits are redrawn at each visit in training, and fixed by `seed` in evaluation; "static": bits
            are fixed by `seed` in training too; "expected": no bits are drawn, and the objective uses the expectation
            of log p(b | z) over bits b, which is not a likelihood of any data and has no bits/dim.
        seed: Seed of fixed bits, which depend on it and on the position of the example in the data before they are
            split, so that an example has the same bits in every subset.
        given: How the training data held the levels; see `Domain`.

    References:
        On the quantitative analysis of deep belief networks (Salakhutdinov and Murray 2008);
        dynamic: Importance weighted autoencoders (Burda et al. 2016), https://arxiv.org/abs/1509.00519
    """

    error_unit = "0-1 scale, squared"

    def __init__(self, levels: int = 256, mode: str = "dynamic", seed: int = 0, given: Given = "") -> None:
        super().__init__()
        names = {
            "dynamic": f"binarized (dynamic in training; fixed by seed {seed} in evaluation)",
            "static": f"binarized (static, seed {seed})",
            "expected": "expected, binarized",
        }
        if mode not in names:
            raise InputError(f"mode = {mode!r}; needed: one of {', '.join(names)}")
        self.levels, self.mode, self.seed = whole("levels", levels, least=2, most=LEVELS), mode, int(seed)
        self.source = Domain("levels", levels, given=given) if levels > 2 else Domain("unit", given=given)
        self.target, self.target_name = BINARY, names[mode]
        self.needs_index, self.counts_bits = mode == "static", mode != "expected"
        if mode == "expected":
            self.not_a_likelihood = "an expectation over binarizations, not a likelihood of the gray levels"

    @property
    def error_scale(self) -> float | Tensor:
        """The highest level."""
        return self.levels - 1

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set input and target to bits, or in mode "expected" to probabilities."""
        x = batch.x / (self.levels - 1)
        if self.mode != "expected":
            fresh = training and self.mode == "dynamic"
            x = (_uniform(x, batch, noise if fresh else None, self.seed) < x).to(x.dtype)
        return replace(batch, input=x, x=x)

    def restore(self, target: Tensor) -> Tensor:
        """Return bits or probabilities as gray levels."""
        return target * (self.levels - 1)

    def reference(self, raw: Tensor, seen: Batch) -> Tensor:
        """Return the bits as gray levels, since the bits are the data that the model explains."""
        return self.restore(seen.x)

    def realized(self, raw: Tensor, seen: Batch, noise: Noise) -> Tensor:
        """Return the bits as gray levels; in mode "expected", draw them from the probabilities."""
        bits = seen.x if self.mode != "expected" else noise.uniform((1, *seen.x.shape), seen.x)[0] < seen.x
        return self.restore(bits.to(seen.x))


class Levels(Observation):
    """Observation of integer levels 0 .. K - 1.

    Args:
        levels: Number of levels K.
        one_hot: Show the encoder K numbers for each element, one of which is 1, instead of one number in [0, 1]: for
            levels that stand for categories.
        dequantize: Add uniform noise and scale to (0, 1). A bound on the density is then also a bound on the
            probability of the levels, and comparable with one; log K nats per element convert between them.
        seed: Seed of the noise in evaluation.
        given: How the training data held the levels; see `Domain`.

    References:
        RNADE (Uria et al. 2013); A note on the evaluation of generative models (Theis et al. 2016), Section 3.1,
        https://arxiv.org/abs/1511.01844
    """

    error_unit = "0-1 scale, squared"
    counts_bits = True

    def __init__(
        self, levels: int = 256, dequantize: bool = False, seed: int = 0, given: Given = "", one_hot: bool = False
    ) -> None:
        super().__init__()
        self.levels, self.dequantize, self.seed = whole("levels", levels, least=2, most=LEVELS), dequantize, int(seed)
        self.one_hot = one_hot
        self.source = Domain("levels", levels, given=given)
        self.target = UNIT if dequantize else self.source
        self.target_name = f"{levels} levels" + (f", dequantized (noise seed {seed})" if dequantize else "")

    @property
    def log_slope(self) -> float:
        """log |d target / d raw|: -log K for dequantized levels, else 0."""
        return -math.log(self.levels) if self.dequantize else 0.0

    @property
    def error_scale(self) -> float | Tensor:
        """The highest level."""
        return self.levels - 1

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set the input to values in [0, 1], and the target to levels or to dequantized values in (0, 1).

        Dequantized values stay inside by half a step of the noise, because densities may be infinite at 0 and 1.
        """
        x = batch.x
        scaled = self._one_hot(x) if self.one_hot else x / (self.levels - 1)
        if not self.dequantize:
            return replace(batch, input=scaled, x=x)
        u = _uniform(x, batch, noise if training else None, self.seed)
        step = torch.finfo(x.dtype).eps / 2
        inside = ((x + u) / self.levels).clamp(step / 2 / self.levels, 1 - step)
        return replace(batch, input=scaled, x=inside)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the encoder's input: with `one_hot`, K times as many channels or numbers."""
        return (shape[0] * self.levels, *shape[1:]) if self.one_hot else shape

    def _one_hot(self, x: Tensor) -> Tensor:
        """Return K numbers for each level of x (B, C, ...), as (B, C * K, ...)."""
        return F.one_hot(x.long(), self.levels).movedim(-1, 2).flatten(1, 2).to(x)

    def restore(self, target: Tensor) -> Tensor:
        """Return levels; dequantized values are mapped back without bias."""
        if not self.dequantize:
            return target
        return (target * self.levels - 0.5).clamp(0, self.levels - 1)


class Counts(Observation):
    """Observation of counts 0, 1, 2, ..., of which the encoder sees log(1 + x)."""

    error_unit = "counts, squared"
    counts_bits = True
    source = target = COUNTS
    target_name = "counts"

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set the input to log(1 + x) and the target to the counts."""
        return replace(batch, input=torch.log1p(batch.x))

    def restore(self, target: Tensor) -> Tensor:
        """Return the targets unchanged."""
        return target


class Standardized(Observation):
    """Observation of real numbers as (x - mean) / std; bounds are reported in the original units.

    Args:
        mean: Mean of the training data: one number, or one number per element of x, flattened.
        std: Standard deviation of the training data, in the same form.
        shape: Shape of one example.
    """

    error_unit = "standard deviations, squared"

    def __init__(self, mean: Sequence[float], std: Sequence[float], shape: Sequence[int]) -> None:
        super().__init__()
        self.source = self.target = REAL
        self.target_name = "density in the data's units"
        self.register_buffer("mean", self._spread(mean, shape))
        self.register_buffer("std", self._spread([number("std", value, above=0) for value in std], shape))

    mean: Tensor
    std: Tensor

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """See `Observation.normalize`."""
        self.mean.copy_(self._spread(mean, self.mean.shape))
        self.std.copy_(self._spread(std, self.std.shape))
        self.record_again(mean=mean, std=std)

    @property
    def error_scale(self) -> float | Tensor:
        """The standard deviation."""
        return self.std

    @property
    def log_slope(self) -> Tensor:
        """log |d target / d raw| = -log std."""
        return -self.std.log()

    @staticmethod
    def _spread(values: Sequence[float], shape: Sequence[int]) -> Tensor:
        column = torch.tensor(list(values), dtype=torch.get_default_dtype())
        return column.reshape(tuple(shape)) if len(column) == math.prod(shape) else column

    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set input and target to standardized x."""
        x = self.deviations(batch.x)
        return replace(batch, input=x, x=x)

    def deviations(self, x: Tensor) -> Tensor:
        """See `Observation.deviations`."""
        return (x - self.mean) / self.std

    def restore(self, target: Tensor) -> Tensor:
        """Return targets in the original units."""
        return target * self.std + self.mean


def _uniform(like: Tensor, batch: Batch, fresh: Noise | None, seed: int) -> Tensor:
    """Draw uniform numbers (B, *shape) from `fresh`, or fixed ones keyed by the seed and each example's origin."""
    if fresh is not None:
        return fresh.uniform((1, *like.shape), like)[0]
    return ExampleNoise("observation", seed, index=batch.origins()).uniform((1, *like.shape), like)[0]
