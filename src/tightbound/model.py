"""The model that users build, from objects or from data and component names."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Self, TypeVar, Unpack

import torch
from torch import Tensor, nn

from tightbound import defaults
from tightbound.components import Spec, find, make, parse, signature
from tightbound.contexts.covariates import Covariates
from tightbound.core import model as core
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Context, Likelihood, Observation
from tightbound.core.join import joined_shape
from tightbound.core.latents import Latents
from tightbound.core.noise import seeded
from tightbound.core.schema import listed
from tightbound.core.terms import Batch, class_numbers
from tightbound.data import Data
from tightbound.data.given import Source, examples, raw_batch, training_data
from tightbound.data.options import ReadOptions
from tightbound.data.start import Start
from tightbound.nn.base import Architecture
from tightbound.objectives.base import Objective
from tightbound.objectives.batch_loss import Reduction, batch_loss
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

_Kind = TypeVar("_Kind")


class VAE(core.VAE):
    """Latent-variable model with p(z), q(z | x) and p(x | z).

    Build it from objects, or from data with `VAE.for_data`.

    Args:
        latents: The path from x to z and back to features; it holds the prior and the posterior.
        likelihood: p(x | features).
        observation: Maps raw data to the encoder's input and the likelihood's target.
        context: The variable that x is conditioned on; None: no variable.
        layout: Order of the axes of an example as your data have them: "chw", "hwc", or "hw" without channels. The
            model itself takes "chw"; samples and reconstructions of `Trained` are returned as your data are.
        schema: Names of the columns and classes, as `Schema.recorded` writes them; None: unknown.

    Raises:
        CompositionError: If the components cannot be combined; the message gives the reason and the fix.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), https://arxiv.org/abs/1312.6114
    """

    @classmethod
    def for_data(
        cls,
        data: Source | tuple[Source, Source],
        *,
        latent: int | Literal["auto"] = "auto",
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        network: str | Architecture = "auto",
        likelihood: str | Likelihood | type[Likelihood] = "auto",
        observation: str | Observation = "auto",
        prior: str | Prior | type[Prior] = "auto",
        posterior: str | Posterior | type[Posterior] = "auto",
        latents: str | Latents = "flat",
        context: str | Context | None = None,
        start_at_data: bool | Source = True,
        seed: int = 0,
        trust: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Build a model for the data.

        Give each component as a name, `"name(argument=value)"`, as an object, or as your own class, whose constructor
        gets the sizes that it takes.

        Args:
            data: Training data in any form: array, tensor, data frame, path, built-in name, Dataset, DataLoader. The
                model takes the shape, the domain and, for real values, the mean and scale from them.
            latent: Size of z; "auto": 32 for color images of 32 x 32 pixels or more, else 16.
            encoder: Your own encoder. It maps x (B, *shape) to features (B, F), to which a head for the posterior's
                parameters is added, or to a pair (mean, log-variance), each (B, latent).
            decoder: Your own decoder. It maps z (B, latent) to the likelihood's parameters.
            network: Architecture of the encoder or decoder if you pass none. "auto": "resnet" for color images of at
                least 32 x 32 pixels and for quantized latents, "conv" for other images of at least 16 x 16 pixels (with
                more stages for larger ones), "mlp(hidden=(128, 128), skip=True)" for tables of at most 100 columns,
                else "mlp".
            likelihood: p(x | z). "auto": bernoulli for binary data, discretized-logistic for integer levels (with one
                scale for the pixels of images, since a scale for each asks least where the picture is hardest),
                negative-binomial for counts, continuous-bernoulli for [0, 1], gaussian for real values (with a scale
                for each column of a table), columns for a mixed table.
            observation: How raw data become the likelihood's target; "auto": as the likelihood needs.
            prior: p(z); "auto": "normal", or the default of the latents.
            posterior: q(z | x); "auto": "normal", or the default of the latents.
            latents: "flat": one group with this prior and posterior; "spatial": one group that is a map, with this
                prior; hierarchies have their own priors and posteriors; "quantized" takes a code prior.
            context: The variable that x is conditioned on: "labels", "attributes", "visible(columns=(0, 0.5))"; None:
                the covariates of the data, if they have any.
            start_at_data: Initialize the decoder's output bias and a learned scale to the marginals of the training
                data (if the likelihood is given by name), the linear paths of networks with `skip=True` to factor
                analysis, and the pseudo-inputs of a prior to examples. `fit` repeats this, and the normalization of
                real values, without the examples that it sets aside for validation. For a training loop of your own
                that sets examples aside, pass the others here.
            seed: Random seed of the initial weights; torch's default generator does not change.
            trust: Import your own components, written "module:Class(...)".
            **reading: How to read the data: levels, domain, kinds, labels, resize, gray (see `tightbound.data.open`).

        Raises:
            InputError: If a component or an argument is unknown, or the data cannot be used.
            CompositionError: If the components do not fit the data or each other.
        """
        for name, module in (("encoder", encoder), ("decoder", decoder)):
            _check_module(name, module)
        if network != "auto" and encoder is not None and decoder is not None:
            raise CompositionError("network= builds what encoder= and decoder= lack, and both were given; leave it out")
        data = training_data(data, **reading)
        shape = tuple(data.shape)
        domain = defaults.domain(data.domain, likelihood, observation, trust)
        spec = parse(defaults.likelihood(domain, shape)) if likelihood == "auto" else likelihood
        spec = parse(spec) if isinstance(spec, str) else spec
        if observation == "auto":
            observation = defaults.observation(domain, shape, defaults.class_of(spec, trust))
        normalization = False
        with seeded(seed), torch.inference_mode(False):
            if isinstance(observation, str):
                observation, normalization = _observation(observation, domain, shape, trust)
            chosen = defaults.network(shape, latents) if network == "auto" else network
            built: Architecture = make("network", chosen, trust=trust) if isinstance(chosen, str) else chosen
            if data.schema.covariates and context is None:
                context = "covariates"
            if isinstance(context, str):
                context = _context(context, data, trust, observation.input_shape(shape), built)
            beside = 0 if context is None else context.size
            if isinstance(latents, str):
                seen = observation.input_shape(shape)
                joined = context is not None and not find("latents", parse(latents).name, trust=trust).maps
                seen = joined_shape(seen, context.shape) if context is not None and joined else seen
                inner = built if encoder is None else encoder
                if latent != "auto" and not takes_size(latents, trust):
                    raise CompositionError(
                        f"latents= {latents!r} is a map and has channels=, not a size; leave out latent="
                    )
                latent = defaults.latent(shape) if latent == "auto" else latent
                supplied = {"latent": latent, "context": beside, "shape": seen, "network": inner}
                latents = _latents(latents, {"prior": prior, "posterior": posterior}, trust, supplied)
            else:
                for name, own in (("encoder", encoder), ("prior", prior), ("posterior", posterior)):
                    if own is not None and own != "auto":
                        raise CompositionError(f"the object in latents= has its own {name}; leave out {name}=")
            if encoder is not None and isinstance(posterior, Posterior):
                raise CompositionError("the object in posterior= has its own encoder; leave out encoder=")
            beside = 0 if latents.maps else beside
            named = isinstance(spec, Spec | type)
            supplied = {
                "shape": shape,
                "features": latents.features + beside,
                "network": decoder if decoder is not None else built if latents.maps else built.for_vectors(),
                "levels": observation.target.levels or 2,
                "kinds": _kinds(observation.target),
            }
            if decoder is not None and not named:
                raise CompositionError("the object in likelihood= has its own decoder; leave out decoder=")
            spec = _built("likelihood", spec, trust, supplied)
            spec = _is(spec, Likelihood)
            if tuple(spec.shape) != shape:
                raise CompositionError(
                    f"likelihood= was built for data of shape {tuple(spec.shape)}, and these have shape {shape}; "
                    f"pass the class, likelihood={type(spec).__name__}, to build it for these data"
                )
            model = cls(latents, spec, _is(observation, Observation), context, data.layout)
            model.learn_names(data.schema)
            weights = start_at_data is not False
            # a decoder that was passed keeps its initial weights
            start = Start(normalization=normalization, weights=weights, likelihood=named and decoder is None)
            own = None if isinstance(start_at_data, bool) else start_at_data
            seen = data.train if own is None else examples(own, domain, shape, data.schema, name="start_at_data")
            start(model, seen)
            model.starter = start
        return model

    def loss(
        self,
        x: Tensor | Batch,
        objective: str | Objective = "elbo",
        *,
        samples: int | None = None,
        size: int | None = None,
        reduction: Reduction = "mean",
        seed: int | None = None,
        trust: bool = False,
    ) -> Tensor:
        """Return the loss of a batch in nats, for your own training loop.

        It is minus the objective, plus the model's own penalty (for a codebook). Schedules (such as a warm-up of beta)
        have their final values; to vary a value, pass an objective with that value.

        Args:
            x: Raw data (B, *shape), read like the training data, or a `Batch` with labels or masks.
            objective: Objective as `"name(argument=value)"` or as an object.
            samples: Latent samples per example; None: the objective's default.
            size: Number of training examples, for objectives that need it ('beta-tc').
            reduction: "mean" or "sum" over the batch, or "none".
            seed: Random seed of the draws; None: torch's default generator.
            trust: Import your own objective, written "module:Class(...)".

        Returns:
            The loss: a scalar, or (B,) with reduction "none".

        Raises:
            CompositionError: If the objective does not fit the model, or needs more than one loss.
            InputError: If an argument is unknown, or x has another shape or values than the training data.
        """
        if not isinstance(x, Batch):
            x = raw_batch(x, self.observation.source, self.shape)
        return batch_loss(self, x, objective, samples=samples, size=size, reduction=reduction, seed=seed, trust=trust)


def _check_module(name: str, module: object) -> None:
    """Raise CompositionError unless this is None or a module in torch's default type."""
    if module is None:
        return
    if isinstance(module, type):
        raise CompositionError(
            f"{name}= is the class {module.__name__}; pass an object of it, such as {module.__name__}()"
        )
    if not isinstance(module, nn.Module):
        raise CompositionError(f"{name}= is a {type(module).__name__}; needed: an nn.Module")
    own = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    needed = str(torch.get_default_dtype()).removeprefix("torch.")
    if own - {needed}:
        raise CompositionError(
            f"{name}= has parameters of {' and '.join(sorted(own))}; needed: {needed}; use {name}.to(torch.{needed}), "
            "or convert the whole model afterwards, as in model.double()"
        )


def _is(component: object, kind: type[_Kind]) -> _Kind:
    if not isinstance(component, kind):
        raise CompositionError(f"{type(component).__name__} was given where a {kind.__name__.lower()} is needed")
    return component


def _context(text: str, data: Data, trust: bool, seen: tuple[int, ...], network: Architecture) -> Context:
    labels = data.train.labels
    if labels is None:  # the data are rendered or read on demand
        labels = next(data.train.epoch(1)).label
        labels = None if labels is None or (labels.dim() == 1 and not data.classes) else labels
    one_hot = labels is not None and labels.dim() == 2 and labels.shape[1] > 1
    numbers = class_numbers(labels)
    size = 0 if labels is None else labels[0].numel()
    supplied: dict[str, Any] = {"shape": tuple(data.shape), "size": size, "classes": 0, "known": ()}
    supplied["covariates"] = data.schema.covariates
    if data.schema.covariates and not issubclass(find("context", parse(text).name, trust=trust), Covariates):
        raise CompositionError(
            f"covariates= are the context of the model, and context= {text!r} was given too; leave out one of them"
        )
    supplied |= {"input_shape": seen, "network": network}
    if labels is not None and numbers is not None:
        found = _labels_of(data, numbers, find("context", parse(text).name, trust=trust).partial)
        width = max(labels.shape[1] if one_hot else int(found.max()) + 1, len(data.classes))
        gaps = "classes" not in parse(text).kwargs and not one_hot and not data.classes
        gaps = gaps and not torch.equal(found, torch.arange(width))
        supplied |= {"classes": len(found) if gaps else width, "known": tuple(found.tolist()) if gaps else ()}
    return _is(make("context", text, trust=trust, **supplied), Context)


def _labels_of(data: Data, numbers: Tensor, partial: bool) -> Tensor:
    """Return the class numbers in the data, in increasing order; warn about classes without training examples.

    With `partial`, -1 marks an unknown class.
    """
    splits = (data.test, data.validation)
    others = [class_numbers(split.labels) for split in splits if split is not None and split.labels is not None]
    found = torch.cat([numbers, *(other for other in others if other is not None)]).unique()
    found = found[found >= 0] if partial else found
    lacking = [data.schema.class_name(number) for number in found[~torch.isin(found, numbers)].tolist()]
    if lacking:
        warnings.warn(
            f"no training example has the label {listed(lacking)}, which other examples have: results for it come from "
            "untrained weights",
            stacklevel=4,
        )
    return found


def _latents(text: str, chosen: dict[str, Any], trust: bool, supplied: dict[str, Any]) -> Latents:
    """Return latents with the chosen prior and posterior, if the latents take them."""
    kind = find("latents", parse(text).name, trust=trust)
    takes = signature(kind).parameters
    for name, given in chosen.items():
        if name in takes and name in getattr(kind, "builds", ()):
            if given != "auto" and name in parse(text).kwargs:
                raise CompositionError(
                    f"latents= {text!r} has a {name}, but {name}= {given!s} was given too; leave one out"
                )
            supplied |= {} if given == "auto" else {name: given}
        elif name in takes:
            given = "normal" if given == "auto" else given
            supplied[name] = _is(_built(name, given, trust, supplied), {"prior": Prior, "posterior": Posterior}[name])
        elif given != "auto":
            raise CompositionError(f"latents= {text!r} has its own {name}; leave out {name}= {given!s}")
    return _is(make("latents", text, trust=trust, **supplied), Latents)


def takes_size(latents: str, trust: bool = False) -> bool:
    """Return whether latents, as text, have vectors of a size that can be given."""
    takes = signature(find("latents", parse(latents).name, trust=trust)).parameters
    return bool({"latent", "posterior"} & set(takes))


def _built(kind: str, given: Any, trust: bool, supplied: dict[str, Any]) -> Any:
    """Return a component that was given by name, as a class, or as an object."""
    if isinstance(given, str | Spec):
        return make(kind, given, trust=trust, **supplied)
    if isinstance(given, type):
        needed = {"prior": Prior, "posterior": Posterior, "likelihood": Likelihood}[kind]
        if not issubclass(given, needed):
            raise CompositionError(f"{kind}= is the class {given.__name__}; needed: a subclass of {needed.__name__}")
        takes = signature(given).parameters
        return given(**{name: value for name, value in supplied.items() if name in takes})
    return given


def _observation(text: str, domain: Domain, shape: tuple[int, ...], trust: bool) -> tuple[Observation, bool]:
    """Return the observation, and whether its mean and scale are those of the data, which `Start` fits."""
    spec = parse(text)
    supplied = {"levels": domain.levels or 2, "shape": shape}
    supplied |= {"kinds": _kinds(domain)}
    supplied |= {"given": domain.given} if domain.given else {}
    kind = find("observation", spec.name, trust=trust)
    takes = signature(kind)
    given = takes.bind_partial(*spec.args, **spec.kwargs).arguments
    normalization = "std" in takes.parameters and not {"mean", "std"} & set(given)
    if normalization:
        size = math.prod(shape) if len(shape) == 1 else 1
        supplied |= {"mean": [0.0] * size, "std": [1.0] * size}
    observation = make("observation", spec, trust=trust, **supplied)
    observation.check_source(domain)
    return observation, normalization


def _kinds(domain: Domain) -> list[Any]:
    return [column.literal for column in domain.columns]
