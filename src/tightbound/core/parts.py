"""Names and saving: how a part is written, found, recorded and rebuilt. Free of torch."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tightbound.core.errors import CompositionError, InputError, suggestion

# The one table of names: kind -> name -> where the part lives. Read by the command line and by `load`.
TABLE: dict[str, dict[str, str]] = {
    "prior": {
        "normal": "tightbound.priors.normal:StandardNormal",
        "learned": "tightbound.priors.learned:LearnedNormal",
        "mixture": "tightbound.priors.learned:Mixture",
        "vamp": "tightbound.priors.vamp:VampPrior",
        "exemplar": "tightbound.priors.vamp:Exemplar",
        "flow": "tightbound.priors.flow:Flow",
        "sphere": "tightbound.priors.sphere:Sphere",
        "categorical": "tightbound.priors.categorical:CategoricalPrior",
    },
    "posterior": {
        "normal": "tightbound.posteriors.normal:DiagonalNormal",
        "full": "tightbound.posteriors.covariance:FullNormal",
        "low-rank": "tightbound.posteriors.covariance:LowRankNormal",
        "flow": "tightbound.posteriors.flow:Flow",
        "planar": "tightbound.posteriors.planar:Planar",
        "sylvester": "tightbound.posteriors.planar:Sylvester",
        "delta-normal": "tightbound.posteriors.normal:DeltaNormal",
        "point": "tightbound.posteriors.point:Point",
        "hamiltonian": "tightbound.posteriors.hamiltonian:Hamiltonian",
        "von-mises-fisher": "tightbound.posteriors.sphere:VonMisesFisherPosterior",
        "power-spherical": "tightbound.posteriors.sphere:PowerSphericalPosterior",
        "relaxed-categorical": "tightbound.posteriors.categorical:RelaxedCategorical",
    },
    "code-prior": {
        "uniform": "tightbound.priors.codes.uniform:Uniform",
        "pixelcnn": "tightbound.priors.codes.pixelcnn:PixelCNN",
        "transformer": "tightbound.priors.codes.transformer:Transformer",
    },
    "quantizer": {
        "vq": "tightbound.quantizers.vector:VectorQuantizer",
        "vq-gradient": "tightbound.quantizers.vector:GradientVectorQuantizer",
        "fsq": "tightbound.quantizers.scalar:FiniteScalarQuantizer",
        "residual": "tightbound.quantizers.residual:Residual",
        "grouped": "tightbound.quantizers.grouped:Grouped",
        "gumbel": "tightbound.quantizers.gumbel:GumbelQuantizer",
    },
    "likelihood": {
        "bernoulli": "tightbound.likelihoods.bernoulli:Bernoulli",
        "continuous-bernoulli": "tightbound.likelihoods.bernoulli:ContinuousBernoulli",
        "gaussian": "tightbound.likelihoods.location_scale:Gaussian",
        "laplace": "tightbound.likelihoods.location_scale:Laplace",
        "binomial": "tightbound.likelihoods.levels:Binomial",
        "categorical": "tightbound.likelihoods.levels:Categorical",
        "discretized-logistic": "tightbound.likelihoods.discretized_logistic:DiscretizedLogistic",
        "columns": "tightbound.likelihoods.columns:Columns",
        "pixelcnn": "tightbound.likelihoods.pixelcnn:PixelCNN",
        "logistic-mixture": "tightbound.likelihoods.logistic_mixture:MixtureOfLogistics",
        "poisson": "tightbound.likelihoods.counts:Poisson",
        "negative-binomial": "tightbound.likelihoods.counts:NegativeBinomial",
        "zero-inflated-negative-binomial": "tightbound.likelihoods.counts:ZeroInflatedNegativeBinomial",
        "beta": "tightbound.likelihoods.beta:Beta",
        "student-t": "tightbound.likelihoods.student:StudentT",
        "mixture": "tightbound.likelihoods.mixture:Mixture",
    },
    "observation": {
        "identity": "tightbound.likelihoods.observation:Identity",
        "binarized": "tightbound.likelihoods.observation:Binarized",
        "levels": "tightbound.likelihoods.observation:Levels",
        "counts": "tightbound.likelihoods.observation:Counts",
        "standardized": "tightbound.likelihoods.observation:Standardized",
        "table": "tightbound.likelihoods.table:Table",
    },
    "network": {
        "mlp": "tightbound.nn.mlp:MLP",
        "conv": "tightbound.nn.conv:Conv",
        "resnet": "tightbound.nn.resnet:ResNet",
    },
    "latents": {
        "flat": "tightbound.latents.flat:Flat",
        "bottom-up": "tightbound.latents.bottom_up:BottomUp",
        "ladder": "tightbound.latents.ladder:Ladder",
        "quantized": "tightbound.latents.quantized:Quantized",
    },
    "context": {
        "labels": "tightbound.contexts.labels:Labels",
        "attributes": "tightbound.contexts.labels:Attributes",
        "visible": "tightbound.contexts.visible:Visible",
    },
    "model": {
        "vae": "tightbound.core.model:VAE",
    },
    "sampler": {
        "gaussian-mixture": "tightbound.generation.samplers:GaussianMixture",
        "kernel": "tightbound.generation.samplers:Kernel",
        "flow": "tightbound.generation.samplers:FlowSampler",
        "vae": "tightbound.generation.samplers:SecondVAE",
        "class-regions": "tightbound.generation.regions:ClassRegions",
    },
    "features": {
        "pca": "tightbound.evaluation.features.pca:PCA",
        "classifier": "tightbound.evaluation.features.classifier:Classifier",
        "identity": "tightbound.evaluation.features.base:Identity",
    },
    "objective": {
        "elbo": "tightbound.objectives.elbo:ELBO",
        "free-bits": "tightbound.objectives.elbo:FreeBits",
        "capacity": "tightbound.objectives.elbo:Capacity",
        "iwae": "tightbound.objectives.iwae:IWAE",
        "miwae": "tightbound.objectives.multi_sample:MIWAE",
        "ciwae": "tightbound.objectives.multi_sample:CIWAE",
        "piwae": "tightbound.objectives.multi_sample:PIWAE",
        "renyi": "tightbound.objectives.multi_sample:Renyi",
        "vr-max": "tightbound.objectives.multi_sample:VRMax",
        "dreg": "tightbound.objectives.path_gradient:DReG",
        "stl": "tightbound.objectives.path_gradient:STL",
        "tvo": "tightbound.objectives.thermodynamic:TVO",
        "autoencoder": "tightbound.objectives.autoencoder:Autoencoder",
        "beta-tc": "tightbound.objectives.disentangling:BetaTC",
        "dip": "tightbound.objectives.disentangling:DIP",
        "factor": "tightbound.objectives.adversarial:FactorVAE",
        "info": "tightbound.objectives.divergence:InfoVAE",
        "wae-mmd": "tightbound.objectives.divergence:WAE",
        "aae": "tightbound.objectives.adversarial:AdversarialAutoencoder",
        "wae-gan": "tightbound.objectives.adversarial:AdversarialAutoencoder",
        "rae": "tightbound.objectives.regularized:RAE",
        "vae-gan": "tightbound.objectives.vae_gan:VAEGAN",
        "ms-ssim": "tightbound.objectives.ms_ssim:MSSSIM",
        "lagging": "tightbound.objectives.lagging:Lagging",
    },
    "score": {
        "nll": "tightbound.evaluation.scores.bounds:NLL",
        "elbo": "tightbound.evaluation.scores.bounds:NegativeELBO",
        "typicality": "tightbound.evaluation.scores.bounds:Typicality",
        "complexity": "tightbound.evaluation.scores.complexity:Complexity",
        "regret": "tightbound.evaluation.scores.regret:Regret",
        "mahalanobis": "tightbound.evaluation.scores.codes:Mahalanobis",
        "prior": "tightbound.evaluation.scores.codes:Prior",
        "reconstruction": "tightbound.evaluation.scores.bounds:Reconstruction",
    },
    "schedule": {
        "constant": "tightbound.core.schedules:Constant",
        "linear": "tightbound.core.schedules:Linear",
        "cosine": "tightbound.core.schedules:Cosine",
        "cyclical": "tightbound.core.schedules:Cyclical",
    },
    "decay": {
        "constant": "tightbound.core.schedules:Constant",
        "cosine": "tightbound.core.schedules:CosineDecay",
        "linear": "tightbound.core.schedules:LinearDecay",
    },
}


class Part:
    """Mixin that remembers how an object was constructed, so that `describe` can write it as JSON.

    Give the class this base (the bases of priors, posteriors, likelihoods, ... have it) and construct
    it from numbers, strings, sequences, mappings and other parts.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Records the arguments before `__init__` sees them."""
        self = super().__new__(cls)
        # past nn.Module.__setattr__: arguments that are modules must not be registered a second time
        self.__dict__["_given"] = (args, kwargs)
        return self

    def record_again(self, **changed: Any) -> None:
        """Remembers other values of some arguments, of a part that has changed as if it had been given these."""
        args, kwargs = self._given
        bound = inspect.signature(type(self)).bind(*args, **kwargs).arguments
        self.__dict__["_given"] = ((), {**bound, **changed})


@dataclass(frozen=True)
class Spec:
    """A part as text: a name and literal arguments, `"name(arg=value)"`; arguments may be specs."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def replace(self, **kwargs: Any) -> Spec:
        """The same part with these arguments set."""
        return Spec(self.name, self.args, {**self.kwargs, **kwargs})

    def __str__(self) -> str:
        given = [_written(a) for a in self.args] + [f"{k}={_written(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(given)})" if given else self.name


def _written(value: Any) -> str:
    if not isinstance(value, Spec):
        return repr(value)
    return str(value) if value.args or value.kwargs else f"{value.name}()"  # a bare word is no literal


def parse(text: str) -> Spec:
    """Reads `"name"`, `"name(arg=value)"` or `"package.module:Class(arg=value)"`; nothing is evaluated.

    Raises:
        InputError: where the text is not of that form.
    """
    match = re.fullmatch(r"\s*([A-Za-z][\w.-]*(?::\w+)?)\s*(\(.*\))?\s*", text, flags=re.DOTALL)
    if match is None:
        raise InputError(f"cannot read the part {text!r}; write name or name(argument=value, ...)")
    name, call = match[1], match[2] or "()"
    try:
        node = ast.parse(f"part{call}", mode="eval").body
        if not isinstance(node, ast.Call):
            raise ValueError("not a call")
        spec = _spec(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(
            f"cannot read the part {text!r} ({reason}); write name(argument=value, ...) with Python literals"
        ) from None
    return Spec(name, spec.args, spec.kwargs)


def _spec(node: ast.Call) -> Spec:
    if not isinstance(node.func, ast.Name):
        raise ValueError("a part's name must be a plain word")
    if any(k.arg is None for k in node.keywords):
        raise ValueError("** is not allowed")
    words = [k.arg for k in node.keywords]
    if len(set(words)) < len(words):
        raise ValueError("an argument is repeated")
    args = tuple(_value(a) for a in node.args)
    return Spec(node.func.id, args, {str(k.arg): _value(k.value) for k in node.keywords})


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _spec(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is no literal; quote words") from None


def find(kind: str, name: str, *, trust: bool = False) -> type:
    """The class of a part, imported now.

    Raises:
        InputError: unknown name (with the nearest), or an import path without `trust`.
    """
    if ":" in name:
        if not trust:
            raise InputError(
                f"{name!r} names code outside tightbound; allow it with trust=True (command line: --trust)"
            )
        path = name
    else:
        table = TABLE.get(kind, {})
        path = table.get(name.replace("_", "-"), "")
        if not path:
            others = [other for other in TABLE if name.replace("_", "-") in TABLE[other]]
            if others:
                known = ", ".join(sorted(table))
                raise InputError(f"there is no {kind} {name!r}, which names a {' or a '.join(others)}; known: {known}")
            raise InputError(f"there is no {kind} {name!r}; {suggestion(name, table)}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot import {path!r} ({error}); check the module's name and PYTHONPATH") from error


def make(kind: str, spec: Spec | str, *, trust: bool = False, **supplied: Any) -> Any:
    """Constructs a part from its text. `supplied` arguments (shape, latent, ...) go in where the part
    takes them and the text does not set them. A class whose arguments are parts says so by `nested`, which
    gives their kinds by name: these may be written as text, and are supplied with shape and levels, too; one that
    builds parts itself lists them in `builds`, and is given their text.

    Raises:
        InputError: unknown name or argument, or one that the part refuses.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
    cls = find(kind, spec.name, trust=trust)
    takes = inspect.signature(cls).parameters
    for word in spec.kwargs:
        if word not in takes:
            raise InputError(f"{kind} {spec.name!r} has no argument {word!r}; {suggestion(word, takes)}")
    kwargs = {k: v for k, v in supplied.items() if k in takes}
    nested: Mapping[str, str] = getattr(cls, "nested", {})
    about = {k: v for k, v in supplied.items() if k in ("shape", "levels")}

    def argument(word: str, value: Any) -> Any:
        if word in getattr(cls, "builds", ()):
            return _as_text(value)
        if word in nested and isinstance(value, str | Spec):
            return make(nested[word], value, trust=trust, **about)
        return _nested(value, trust)

    kwargs |= {k: argument(k, v) for k, v in spec.kwargs.items()}
    taken = list(takes)[: len(spec.args)]
    kwargs = {k: v for k, v in kwargs.items() if k not in taken or k in spec.kwargs}
    try:
        inspect.signature(cls).bind(*spec.args, **kwargs)
        return cls(*(argument(k, v) for k, v in zip(taken, spec.args, strict=True)), **kwargs)
    except TypeError as error:
        raise InputError(f"{kind} {str(spec)!r}: {error}") from error


def _as_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_text(part) for part in value]
    return str(value) if isinstance(value, Spec) else value


def _nested(value: Any, trust: bool) -> Any:
    if not isinstance(value, Spec):
        return value
    name = value.name.replace("_", "-")
    kinds = [kind for kind in ("schedule", "network", "prior", "posterior", "likelihood") if name in TABLE[kind]]
    if not kinds:
        known = [n for kind in ("schedule", "network") for n in TABLE[kind]]
        raise InputError(f"there is no part {value.name!r}; {suggestion(value.name, known)}")
    return make(kinds[0], value, trust=trust)


def name_of(cls: type) -> str:
    """ "kind/name" of a part's class, or its import path where the table does not have it."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    names = (f"{kind}/{name}" for kind, table in TABLE.items() for name, p in table.items() if p == path)
    return next(names, path)


def describe(value: Any) -> Any:
    """JSON from which `rebuild` constructs an equal value; a part met twice is written once, as a reference."""
    return _describe(value, {})


def _describe(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, Part):
        if id(value) in seen:
            return {"same": seen[id(value)]}
        number = seen[id(value)] = len(seen)
        cls = type(value)
        args, kwargs = value._given
        bound = inspect.signature(cls).bind(*args, **kwargs).arguments
        return {"part": name_of(cls), "id": number, **{k: _describe(v, seen) for k, v in bound.items()}}
    if isinstance(value, Mapping):
        return {str(k): _describe(v, seen) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(v, seen) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    cls = type(value)
    return {"foreign": f"{cls.__module__}:{cls.__qualname__}"}


def foreign(description: Any) -> list[str]:
    """Import paths in a description that `rebuild` cannot construct: modules of the user's own."""
    if isinstance(description, Mapping):
        own = [str(description["foreign"])] if "foreign" in description else []
        return own + [path for value in description.values() for path in foreign(value)]
    if isinstance(description, list):
        return [path for value in description for path in foreign(value)]
    return []


def untrusted(description: Any) -> list[str]:
    """Import paths in a description that `rebuild` imports only with `trust`: parts of the user's own."""
    if isinstance(description, Mapping):
        path = str(description.get("part", ""))
        return [path] * (":" in path) + [p for value in description.values() for p in untrusted(value)]
    return [p for value in description for p in untrusted(value)] if isinstance(description, list) else []


def rebuild(description: Any, *, trust: bool = False) -> Any:
    """Constructs what `describe` wrote. Only tightbound's own parts, unless `trust`.

    Raises:
        CompositionError: where a module of the user's own is needed (pass `model=`).
        InputError: where the description is not one, or names code that is not trusted.
    """
    try:
        return _rebuild(description, {}, trust)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"the description of the model is damaged ({reason}); restore it or train again") from error


def _rebuild(value: Any, made: dict[int, Any], trust: bool) -> Any:
    if isinstance(value, list):
        return [_rebuild(v, made, trust) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "same" in value:
        return made[value["same"]]
    if "foreign" in value:
        raise CompositionError(
            f"the model contains {value['foreign']!r}, which is not a tightbound part and cannot be rebuilt; "
            "construct the model and pass it as load(run, model=mine)"
        )
    if "part" not in value:
        return {k: _rebuild(v, made, trust) for k, v in value.items()}
    kind, _, name = str(value["part"]).rpartition("/")
    cls = find(kind, name, trust=trust)
    kwargs = {k: _rebuild(v, made, trust) for k, v in value.items() if k not in ("part", "id")}
    made[value["id"]] = part = cls(**kwargs)
    return part
