"""Default components of a model for data of a shape and a domain."""

from __future__ import annotations

import math
from typing import Any

from tightbound.components import Spec, find, parse
from tightbound.core.domain import COUNTS, REAL, Domain
from tightbound.core.interfaces import Observation
from tightbound.core.latents import Latents
from tightbound.likelihoods.columns import FAMILIES

COLUMNS = 100  # maximum number of columns of a table that gets a narrow network
ONE_HOT = 2**16  # maximum number of inputs of an encoder that sees levels one-hot


def latent(shape: tuple[int, ...]) -> int:
    """Return the default size of z."""
    return 32 if _in_color(shape) else 16


def network(shape: tuple[int, ...], latents: str | Latents) -> str:
    """Return the default architecture of encoder and decoder, with more stages for larger images."""
    kind = find("latents", parse(latents).name, trust=True) if isinstance(latents, str) else type(latents)
    suited = kind.network_for(shape, parse(latents).kwargs if isinstance(latents, str) else {})
    if suited is not None:
        return suited
    if _in_color(shape):  # maps of about 8 x 8
        return f"resnet(halvings=({round(math.log2(min(shape[1:]) / 8))},))"
    if len(shape) == 1 and shape[0] <= COLUMNS:
        return "mlp(hidden=(128, 128), skip=True)"
    if len(shape) < 3 or min(shape[1:]) < 16:
        return "mlp"
    stages = max(2, math.ceil(math.log2(max(shape[1:]) / 16)))  # down to maps of at most 16 x 16
    return "conv" if stages == 2 else f"conv(channels={(32, *(64,) * (stages - 1))})"


def _in_color(shape: tuple[int, ...]) -> bool:
    """Return whether the examples are color images of 32 x 32 pixels or more."""
    return len(shape) == 3 and shape[0] >= 3 and min(shape[1:]) >= 32


def domain(found: Domain, likelihood: Any, observation: Any, trust: bool) -> Domain:
    """Return the domain that a model is built for.

    It is the domain of the data, or a domain of the same numbers that the given likelihood or observation needs.
    """
    spec = parse(likelihood) if isinstance(likelihood, str) else likelihood
    kinds = ("mixed",) if likelihood == "auto" else getattr(class_of(spec, trust), "domains", ())
    if isinstance(observation, Observation):
        fits = observation.source.kind == "mixed"
    else:
        fits = observation == "auto" or parse(observation).name == "table"
    if found.plain is not None and "mixed" in kinds and fits:
        return found
    plain = found.plain or found
    if likelihood == "auto" or observation != "auto" or plain.kind not in ("levels", "counts") or plain.kind in kinds:
        return plain
    if "counts" in kinds and plain.given != "shares":
        return COUNTS
    own = found.plain is not None or plain.kind == "counts"  # columns differ in scale: no levels of one range
    return REAL if own and "real" in kinds else plain


def likelihood(domain: Domain, shape: tuple[int, ...]) -> str:
    """Return the default likelihood for values of a domain."""
    if domain.kind == "levels" and len(shape) == 3:
        return "discretized-logistic(scale='shared')"
    defaults = {
        "binary": "bernoulli",
        "levels": "discretized-logistic",
        "counts": "negative-binomial",
        "unit": "continuous-bernoulli",
        "real": FAMILIES["real"] if len(shape) == 1 else "gaussian",
        "mixed": "columns",
    }
    return defaults[domain.kind]


def observation(domain: Domain, shape: tuple[int, ...], likelihood: type) -> str:
    """Return the default observation for a class of likelihoods.

    It leaves the data unchanged, binarizes them, or dequantizes whole numbers if the likelihood is a density. If the
    likelihood gives each level of a vector its own probability, the levels may be categories, and the encoder sees them
    one-hot.
    """
    kinds = tuple(getattr(likelihood, "domains", ()))
    if domain.kind in ("levels", "binary") and "unit" in kinds and not {"levels", "binary"} & {*kinds}:
        return "levels(dequantize=True)"
    if domain.kind == "levels":
        nominal = getattr(likelihood, "free", False) and len(shape) == 1
        whole = "levels(one_hot=True)" if nominal and shape[0] * (domain.levels or 2) <= ONE_HOT else "levels"
        return "binarized" if "levels" not in kinds and "binary" in kinds else whole
    plain = {"real": "standardized", "counts": "counts", "mixed": "table"}
    if domain.kind in plain:
        return plain[domain.kind]
    return f"identity(kind={domain.kind!r})"


def class_of(spec: Any, trust: bool) -> type:
    """Return the class of a likelihood given by name, as a class, or as an object."""
    given = find("likelihood", spec.name, trust=trust) if isinstance(spec, Spec) else spec
    return given if isinstance(given, type) else type(given)
