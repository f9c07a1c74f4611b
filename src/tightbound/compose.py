"""From names and data to a model: what the command line does, and the shortest way in Python."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from tightbound.components import Spec, find, make, parse, signature
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Context, Latents, Likelihood, Observation
from tightbound.core.join import joined_shape
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, seeded
from tightbound.data import Data, Split
from tightbound.nn.base import Architecture
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

_Kind = TypeVar("_Kind")


def vae(
    data: Data,
    *,
    latent: int = 16,
    network: str | Architecture = "auto",
    likelihood: str | Likelihood = "auto",
    observation: str | Observation = "auto",
    prior: str | Prior = "auto",
    posterior: str | Posterior = "auto",
    latents: str | Latents = "flat",
    context: str | Context | None = None,
    start_at_data: bool = True,
    seed: int = 0,
    trust: bool = False,
) -> VAE:
    """A model that fits the data; each part by name, `"name(argument=value)"`, or as an object.

    Arguments:
        data: Gives shape, domain and, for real data, mean and scale.
        latent: Size of z.
        network: Architecture of encoder and decoder; "auto": "conv" for images of 16 pixels or more each
            way, else "mlp"; with latents "quantized" and images of 8 pixels or more, "resnet".
        likelihood: "auto": bernoulli for binary data, discretized-logistic for levels, negative-binomial for
            counts, continuous-bernoulli for [0, 1], gaussian for real data, columns for a mixed table.
        observation: "auto": the one that takes these data to that likelihood.
        prior, posterior: p(z), q(z | x); "auto": "normal", or what the latents have.
        latents: "flat": one group, of that prior and posterior; hierarchies have their own; "quantized" takes a prior
            over codes.
        context: What x is conditioned on: "labels", "attributes", "visible(columns=(0, 0.5))"; None: nothing.
        start_at_data: Start the decoder's output bias, and a learned scale, at the marginals of the training data
            (of a likelihood that is given by name), and the pseudo-inputs of a prior that has them at data.
        seed: Of the initial weights; torch's default generator is left as it was.
        trust: Import parts of your own, written "module:Class(...)".

    Raises:
        InputError: an unknown part or argument.
        CompositionError: parts that do not fit the data or each other.
    """
    shape = tuple(data.shape)
    spec = parse(_default_likelihood(data.domain)) if likelihood == "auto" else likelihood
    spec = parse(spec) if isinstance(spec, str) else spec
    if observation == "auto":
        kind = find("likelihood", spec.name, trust=trust) if isinstance(spec, Spec) else type(spec)
        observation = _default_observation(data.domain, tuple(getattr(kind, "kinds", ())))
    with seeded(seed):
        if isinstance(observation, str):
            observation = _observation(observation, data, shape, trust)
        chosen = _default_network(shape, latents) if network == "auto" else network
        built: Architecture = make("network", chosen, trust=trust) if isinstance(chosen, str) else chosen
        if isinstance(context, str):
            context = _context(context, data, trust)
        beside = 0 if context is None else context.size
        if isinstance(latents, str):
            seen = observation.input_shape(shape)
            joined = context is not None and not find("latents", parse(latents).name, trust=trust).prior_only
            seen = joined_shape(seen, context.shape) if context is not None and joined else seen
            supplied = {"latent": latent, "context": beside, "shape": seen, "network": built}
            latents = _latents(latents, {"prior": prior, "posterior": posterior}, trust, supplied)
        beside = 0 if latents.prior_only else beside
        named = isinstance(spec, Spec)
        if isinstance(spec, Spec):
            spec = make(
                "likelihood",
                spec,
                trust=trust,
                shape=shape,
                features=latents.features + beside,
                network=built if latents.on_planes else built.for_vectors(),
                levels=observation.target.levels or 2,
                kinds=_kinds(observation.target),
            )
        model = VAE(latents, _is(spec, Likelihood), _is(observation, Observation), context)
        if start_at_data:
            # up to 10,000 data, 256 MB at most
            most = max(100, min(10_000, 2**26 // math.prod(shape)))
            batch = model.observe(next(data.train.epoch(most, key=("start",))), Noise("start"))
            model.start_at(batch, likelihood=named)
    return model


def _is(part: object, kind: type[_Kind]) -> _Kind:
    if not isinstance(part, kind):
        raise CompositionError(f"{type(part).__name__} was given where a {kind.__name__.lower()} is needed")
    return part


def _context(text: str, data: Data, trust: bool) -> Context:
    labels = data.train.labels
    if labels is None:  # of data that are rendered or read as they are needed
        labels = next(data.train.epoch(1)).label
        labels = None if labels is None or labels.dim() == 1 else labels
    classed = labels is not None and labels.dim() == 1 and not labels.is_floating_point()
    classes = int(labels.max()) + 1 if classed and labels is not None else 0
    size = 0 if labels is None else labels[0].numel()
    return _is(make("context", text, trust=trust, shape=tuple(data.shape), classes=classes, size=size), Context)


def _latents(text: str, chosen: dict[str, str | Prior | Posterior], trust: bool, supplied: dict[str, Any]) -> Latents:
    """Latents with the prior and the posterior that were chosen, where they take such."""
    kind = find("latents", parse(text).name, trust=trust)
    takes = signature(kind).parameters
    for name, part in chosen.items():
        if name in takes and name in kind.builds:
            if part != "auto" and name in parse(text).kwargs:
                raise CompositionError(
                    f"latents {text!r} name a {name}, and {name} {part!s} was given, too; leave out one"
                )
            supplied |= {} if part == "auto" else {name: part}
        elif name in takes:
            part = "normal" if part == "auto" else part
            made = make(name, part, trust=trust, **supplied) if isinstance(part, str) else part
            supplied[name] = _is(made, {"prior": Prior, "posterior": Posterior}[name])
        elif part != "auto":
            raise CompositionError(f"latents {text!r} have a {name} of their own; leave out {name} {part!s}")
    return _is(make("latents", text, trust=trust, **supplied), Latents)


def _default_network(shape: tuple[int, ...], latents: str | Latents) -> str:
    if len(shape) == 3 and min(shape[1:]) >= 8:
        kind = find("latents", parse(latents).name) if isinstance(latents, str) else latents
        if kind.on_planes:  # with 4 x 4 maps at least
            return "resnet" if min(shape[1:]) >= 16 else "resnet(halvings=(1,))"
    return "conv" if len(shape) == 3 and min(shape[1:]) >= 16 else "mlp"


def _default_likelihood(domain: Domain) -> str:
    defaults = {
        "binary": "bernoulli",
        "levels": "discretized-logistic",
        "counts": "negative-binomial",
        "unit": "continuous-bernoulli",
        "real": "gaussian",
        "mixed": "columns",
    }
    return defaults[domain.kind]


def _default_observation(domain: Domain, kinds: tuple[str, ...]) -> str:
    """The observation under which a likelihood of these kinds sees the data: as they are, as bits, or, where it is a
    density and the data are whole numbers, dequantized."""
    if domain.kind in ("levels", "binary") and "unit" in kinds and not {"levels", "binary"} & {*kinds}:
        return "levels(dequantize=True)"
    if domain.kind == "levels":
        return "binarized" if "levels" not in kinds and "binary" in kinds else "levels"
    plain = {"real": "standardized", "counts": "counts", "mixed": "table"}
    if domain.kind in plain:
        return plain[domain.kind]
    return f"identity(kind={domain.kind!r})"


def _observation(text: str, data: Data, shape: tuple[int, ...], trust: bool) -> Observation:
    spec = parse(text)
    supplied = {"levels": data.domain.levels or 2, "shape": shape}
    supplied |= {"kinds": _kinds(data.domain), "names": list(data.header)}
    if "std" in signature(find("observation", spec.name, trust=trust)).parameters:
        mean, std = moments(data.train, shape, data.domain.columns)
        supplied |= {"mean": mean, "std": std}
    observation = make("observation", spec, trust=trust, **supplied)
    observation.check_source(data.domain)
    return observation


def _kinds(domain: Domain) -> list[Any]:
    return [column.described for column in domain.columns]


def moments(split: Split, shape: tuple[int, ...], columns: Sequence[Domain] = ()) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each column of a table, over its observed entries, or of all elements of other
    data; a constant column has standard deviation 1, and is warned of where it is real. In one pass, batch by batch."""
    table = len(shape) == 1
    size = math.prod(shape) if table else 1
    n, mean, square = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
    for batch in split.epoch(4096):
        x = batch.x.double().flatten(1) if table else batch.x.double().reshape(-1, 1)
        # Chan et al. 1979: the update of mean and squared deviations by a batch
        seen = ~torch.isnan(x)
        more, x = seen.sum(0), x.masked_fill(~seen, 0.0)
        own = x.sum(0) / more.clamp_min(1)
        delta, total = own - mean, (n + more).clamp_min(1)
        square = square + ((x - own) * seen).square().sum(0) + delta.square() * n * more / total
        mean, n = mean + delta * more / total, n + more
    if n.sum() == 0:
        raise InputError("the training split is empty; give at least two data")
    std = (square / n.clamp_min(1)).sqrt()
    varies = std > 1e-7 * mean.abs().clamp_min(1e-30)
    constant = [i for i in (~varies).nonzero().flatten().tolist() if not columns or columns[i].kind == "real"]
    if table and constant:
        where = ", ".join(map(str, constant[:5]))
        warnings.warn(
            f"column {where} of the training data is constant: a density on it has no limit as the scale shrinks; "
            "leave it out",
            stacklevel=4,
        )
    return mean.tolist(), torch.where(varies, std, 1.0).tolist()
