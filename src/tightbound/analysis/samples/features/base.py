"""Maps from raw data to feature vectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.component import Component
from tightbound.core.domain import Domain, as_domain
from tightbound.core.errors import InputError, whole
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.splits.base import Split

BATCH = 500  # examples whose features are computed at once
CALIBRATION = 5000  # training examples that the unit of features is computed from


class Features(Component, nn.Module, ABC):
    """Map from raw data (B, *shape) to feature vectors (B, F), fitted to training data by `fit`.

    Features are divided by one number, so that their variance over the training data is 1 on average.
    """

    fitted: ClassVar[bool] = True  # whether there is anything to fit and to store
    classes: int = 0  # number of classes that `predict` knows; 0: none

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(()))

    unit: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, F) of raw x (B, *shape)."""
        return self.raw(x) / self.unit

    @abstractmethod
    def raw(self, x: Tensor) -> Tensor:
        """Return the features (B, F) of raw x (B, *shape), before they are divided by their unit."""

    def predict(self, features: Tensor) -> Tensor:
        """Return the most probable class (B,) for features (B, F).

        Raises:
            InputError: If the features know no classes.
        """
        return self.probabilities(features).argmax(1)

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability of each class (B, classes) for features (B, F).

        Raises:
            InputError: If the features know no classes.
        """
        raise InputError(f"the features {type(self).__name__} know no classes; use features='classifier'")

    def fit(self, train: Split, seed: int, progress: bool = False) -> None:
        """Fit the map to training data, with a random seed."""
        self.learn(train, seed, progress)
        features = self.of(take(train, CALIBRATION, seed).x)
        self.unit.copy_(features.var(0, correction=0).mean().sqrt().clamp_min(1e-12))

    def learn(self, train: Split, seed: int, progress: bool = False) -> None:
        """Fit everything but the unit."""

    def of(self, x: Tensor) -> Tensor:
        """Return the features (N, F) in float64 of raw data (N, *shape), in batches and without gradients."""
        self.eval()
        with torch.no_grad():
            return torch.cat([self(part).cpu().double() for part in x.split(BATCH)])


class Scaled(nn.Module):
    """Standardized raw data, with variance 1 on average.

    The elements of an image share mean and scale; columns of a table have their own, categories are one-hot, and
    missing values (NaN) become the mean of their column.

    Args:
        shape: Shape of an example.
        kinds: Kinds of the columns of a mixed table, as for the likelihood `columns`.
    """

    def __init__(self, shape: Sequence[int], kinds: Sequence[Any] = ()) -> None:
        super().__init__()
        self.columns = tuple(as_domain(kind) for kind in kinds)
        width = sum((column.levels or 1) if column.kind == "categories" else 1 for column in self.columns)
        self.shape = (width,) if self.columns else tuple(shape)
        self.size = math.prod(self.shape)
        own = self.shape if len(self.shape) == 1 else ()
        self.register_buffer("mean", torch.zeros(own))
        self.register_buffer("std", torch.ones(own))

    mean: Tensor
    std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return raw x (B, *shape) standardized, (B, *self.shape)."""
        return ((self._written(x) - self.mean) / self.std).nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf)

    def fit(self, train: Split) -> None:
        """Compute mean and scale over all training data in one pass; a constant column keeps its scale."""
        sums = torch.zeros(3, *self.mean.shape, dtype=torch.float64)  # of ones, x and x^2
        axes = 0 if self.mean.dim() else tuple(range(len(self.shape) + 1))
        for batch in train.epoch(BATCH):
            x = self._written(batch.x).double()
            sums += torch.stack([part.nansum(axes) for part in ((~x.isnan()).double(), x, x.square())])
        count, total, square = sums
        mean = total / count.clamp_min(1)
        std = (square / count.clamp_min(1) - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-7 * (1 + mean.abs()), std, 1.0))

    def _written(self, x: Tensor) -> Tensor:
        """Return x with categories one-hot, NaN if they are missing."""
        x = x.to(self.mean)
        if not self.columns:
            return x
        return torch.cat([_one_hot(x[:, i], column) for i, column in enumerate(self.columns)], 1)


def _one_hot(x: Tensor, column: Domain) -> Tensor:
    """Return a column (B,) as (B, width)."""
    if column.kind != "categories":
        return x.unsqueeze(1)
    words = F.one_hot(x.nan_to_num(0.0).round().long(), column.levels or 1).to(x)
    return words.masked_fill(x.isnan().unsqueeze(1), torch.nan)


class Identity(Features):
    """The data themselves: pixels or standardized columns.

    Args:
        shape: Shape of an example.
        kinds: Kinds of the columns.
    """

    def __init__(self, shape: Sequence[int] = (), kinds: Sequence[Any] = ()) -> None:
        super().__init__()
        self.scaled = Scaled(shape, kinds)

    def raw(self, x: Tensor) -> Tensor:
        """Return the elements of x (B, F)."""
        return self.scaled(x).flatten(1)

    def learn(self, train: Split, seed: int, progress: bool = False) -> None:
        """Compute mean and scale."""
        self.scaled.fit(train)


class Given(Features):
    """A module (B, *shape) -> (B, F) of your own; nothing is fitted, and features keep their scale.

    Args:
        module: Takes raw data as floating-point numbers.
    """

    fitted = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def raw(self, x: Tensor) -> Tensor:
        """Return the output of the module.

        Raises:
            InputError: If that is not one finite vector for each example.
        """
        like = next(self.module.parameters(), self.unit)
        try:
            out = self.module(x.to(like))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the features {type(self.module).__name__} do not accept data of shape (B, "
                f"{', '.join(map(str, x.shape[1:]))}) ({reason}); needed: (B, *shape) -> (B, F)"
            ) from error
        if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != len(x):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"the features {type(self.module).__name__} returned {got}; needed: ({len(x)}, F)")
        if not torch.isfinite(out).all():
            raise InputError(f"the features {type(self.module).__name__} are not finite for some examples")
        return out

    def fit(self, train: Split, seed: int, progress: bool = False) -> None:
        """Do nothing."""


def take(split: Split, n: int, seed: int) -> Batch:
    """Return up to n raw examples, picked at random."""
    parts, found = [], 0
    for batch in split.epoch(BATCH, key=("features", seed)):
        parts.append(batch)
        found += len(batch)
        if found >= n:
            break
    if not parts:
        raise InputError("there are no examples to compute features of; give at least one")
    given = {name: [getattr(part, name) for part in parts] for name in ("x", "label", "context", "index")}
    whole = {name: torch.cat(each) for name, each in given.items() if all(part is not None for part in each)}
    return Batch(**whole)[:n]


BYTES = 1 << 28  # size of the training data that components are computed from, at most


class PCA(Features):
    """Principal components of the training data: of pixels or of standardized columns.

    Args:
        components: Number of components, at most.
        shape: Shape of an example.
        kinds: Kinds of the columns.
    """

    def __init__(self, components: int = 64, shape: Sequence[int] = (), kinds: Sequence[Any] = ()) -> None:
        super().__init__()
        self.scaled = Scaled(shape, kinds)
        self.components = min(whole("components", components, least=1), self.scaled.size)
        self.register_buffer("center", torch.zeros(self.scaled.size))
        self.register_buffer("axes", torch.zeros(self.components, self.scaled.size))

    center: Tensor
    axes: Tensor

    def raw(self, x: Tensor) -> Tensor:
        """Return the components (B, components)."""
        return (self.scaled(x).flatten(1) - self.center) @ self.axes.T

    def learn(self, train: Split, seed: int, progress: bool = False) -> None:
        """Compute mean, scale and axes from as many examples as fit into memory; surplus axes are zero."""
        from sklearn.decomposition import PCA as Components  # noqa: N811

        self.scaled.fit(train)
        rows = max(self.components, BYTES // (4 * self.scaled.size))
        with torch.no_grad():
            x = torch.cat([self.scaled(part).flatten(1) for part in take(train, rows, seed).x.split(4096)]).numpy()
        count = min(self.components, *x.shape)
        found = Components(count, random_state=key_seed("pca", seed) % 2**32).fit(x)
        self.center.copy_(torch.from_numpy(found.mean_))
        self.axes[:count].copy_(torch.from_numpy(found.components_))
