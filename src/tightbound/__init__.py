"""tightbound: variational autoencoders with honest numbers.

    import tightbound as tb

    data = tb.data.open("digits")
    trained = tb.fit(tb.VAE.for_data(data, latent=16), data, run="runs/digits")
    print(trained.evaluate()["iwae"])

Names are imported when they are first used, so that `import tightbound` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tightbound import (
        analysis,
        contexts,
        data,
        information,
        likelihoods,
        nn,
        objectives,
        posteriors,
        priors,
        quantizers,
        testing,
    )
    from tightbound.analysis.estimate import Estimate
    from tightbound.analysis.result import Result
    from tightbound.config import Settings
    from tightbound.core.errors import TightboundError
    from tightbound.core.schedules import Cosine, Cyclical, Linear
    from tightbound.latents import BottomUp, Flat, Ladder, Quantized
    from tightbound.model import VAE
    from tightbound.recipes.train import train
    from tightbound.report.page import report
    from tightbound.search import sweep
    from tightbound.trained import Trained, compare, evaluate, fit, load
    from tightbound.training import callbacks
    from tightbound.training.callbacks import Callback, TrainingState

_HOMES = {
    "tightbound.analysis.estimate": ("Estimate",),
    "tightbound.analysis.result": ("Result",),
    "tightbound.config": ("Settings",),
    "tightbound.core.errors": ("TightboundError",),
    "tightbound.core.schedules": ("Cosine", "Cyclical", "Linear"),
    "tightbound.latents": ("BottomUp", "Flat", "Ladder", "Quantized"),
    "tightbound.model": ("VAE",),
    "tightbound.recipes.train": ("train",),
    "tightbound.report.page": ("report",),
    "tightbound.search": ("sweep",),
    "tightbound.trained": ("Trained", "compare", "evaluate", "fit", "load"),
    "tightbound.training.callbacks": ("Callback", "TrainingState"),
}
_NAMES = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {"callbacks": "tightbound.training.callbacks"}

__all__ = [
    "VAE",
    "BottomUp",
    "Callback",
    "Cosine",
    "Cyclical",
    "Estimate",
    "Flat",
    "Ladder",
    "Linear",
    "Quantized",
    "Result",
    "Settings",
    "TightboundError",
    "Trained",
    "TrainingState",
    "analysis",
    "callbacks",
    "compare",
    "contexts",
    "data",
    "evaluate",
    "fit",
    "information",
    "likelihoods",
    "load",
    "nn",
    "objectives",
    "posteriors",
    "priors",
    "quantizers",
    "report",
    "sweep",
    "testing",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in __all__:
        return importlib.import_module(_MODULES.get(name, f"tightbound.{name}"))
    raise AttributeError(f"module 'tightbound' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
