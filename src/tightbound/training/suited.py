"""Training options that suit the networks, in place of "auto"."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from tightbound.config import Settings


@dataclass(frozen=True)
class Suited(Settings):
    """Training options for one model: the learning rate and the examples per step are numbers."""

    batch_size: int = 128
    lr: float = 1e-3

    def __post_init__(self) -> None:
        """Skip the checks, which the given settings have passed."""

    @classmethod
    def to(cls, model: nn.Module, settings: Settings) -> Suited:
        """Return the settings with numbers that suit the networks of a model where they are "auto"."""
        values: dict[str, Any] = {f.name: getattr(settings, f.name) for f in dataclasses.fields(Settings)}
        return cls(**values | {name: value for name, value in cls.usual(model).items() if values[name] == "auto"})

    @staticmethod
    def usual(model: nn.Module) -> dict[str, Any]:
        """Return the numbers that suit the networks of a model.

        Residual networks with group normalization tolerate larger and noisier steps: on four image data sets they
        reach better bounds and samples in equal time (`benchmarks/images.py`).
        """
        normalized = any(isinstance(module, nn.GroupNorm) for module in model.modules())
        return {"lr": 2e-3, "batch_size": 64} if normalized else {"lr": 1e-3, "batch_size": 128}
