"""Principal components as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tightbound.analysis.samples.features.base import Features, Scaled, take
from tightbound.core.errors import whole
from tightbound.core.noise import key_seed
from tightbound.data.split import Split

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
