"""tightbound: variational autoencoders with honest numbers.

    import tightbound as tb

    data = tb.data.open("digits")
    trained = tb.fit(tb.vae(data, latent=16), data, run="runs/digits")
    print(trained.evaluate(data.test)["iwae"])

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
    from tightbound.analysis import sweep
    from tightbound.compose import vae
    from tightbound.config import Settings
    from tightbound.core.errors import TightboundError
    from tightbound.core.schedules import Cosine, Cyclical, Linear
    from tightbound.latents import BottomUp, Flat, Ladder, Quantized
    from tightbound.model import VAE
    from tightbound.trained import Trained, compare, evaluate, fit, load

_NAMES = {
    "VAE": "tightbound.model",
    "Flat": "tightbound.latents",
    "BottomUp": "tightbound.latents",
    "Ladder": "tightbound.latents",
    "Quantized": "tightbound.latents",
    "Trained": "tightbound.trained",
    "Settings": "tightbound.config",
    "TightboundError": "tightbound.core.errors",
    "Linear": "tightbound.core.schedules",
    "Cosine": "tightbound.core.schedules",
    "Cyclical": "tightbound.core.schedules",
    "compare": "tightbound.trained",
    "evaluate": "tightbound.trained",
    "fit": "tightbound.trained",
    "load": "tightbound.trained",
    "sweep": "tightbound.analysis",
    "vae": "tightbound.compose",
}
_MODULES = (
    "contexts",
    "data",
    "analysis",
    "information",
    "likelihoods",
    "nn",
    "objectives",
    "posteriors",
    "priors",
    "quantizers",
    "testing",
)

__all__ = [
    "VAE",
    "BottomUp",
    "Cosine",
    "Cyclical",
    "Flat",
    "Ladder",
    "Linear",
    "Quantized",
    "Settings",
    "TightboundError",
    "Trained",
    "analysis",
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
    "sweep",
    "testing",
    "vae",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"tightbound.{name}")
    raise AttributeError(f"module 'tightbound' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
