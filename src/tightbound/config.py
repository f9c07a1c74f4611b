"""Settings of a run, as the command line, YAML files and recipes write them. Does not import torch.

The docstring below a field is its command-line help, and the string in an `Annotated` type is its placeholder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict

from tightbound.components import Spec, parse
from tightbound.components.syntax import parse_several
from tightbound.core.errors import InputError, number, plain, suggestion, whole
from tightbound.core.limits import LEVELS

if TYPE_CHECKING:
    from torch import nn, optim

    OptimizerFactory = Callable[[list[nn.Parameter]], optim.Optimizer]
else:
    OptimizerFactory = Callable[[list[Any]], Any]

_Component = Annotated[str, "COMPONENT"]
_Int = Annotated[int | None, "INT"]
_Float = Annotated[float | None, "FLOAT"]
READ_OPTIONS = (
    *("levels", "domain", "kinds", "resize", "gray", "background", "test"),
    *("labels", "ignore", "id", "layer", "covariates"),
    *("delimiter", "decimal", "header", "index", "encoding"),
)  # the options of `data.open` among the settings
_CUSTOM = "custom"  # recorded in place of an optimizer that was given as a function


@dataclass(frozen=True)
class Composition:
    """Data, model and objective of a run."""

    data: str = "digits"
    """Built-in data set, file (.npy, .csv, .parquet, .h5ad, ...), tar shards or folder."""
    recipe: Annotated[str | None, "NAME"] = None
    """Published composition to start from; other options change parts of it."""
    latent: Annotated[int | Literal["auto"], "INT|auto"] = "auto"
    """Number of dimensions of the latent vector z; auto: 32 for color images of 32 x 32 pixels or more, else 16."""
    network: _Component = "auto"
    """Network of the encoder and the decoder: mlp, conv or resnet, with arguments if you like: "mlp(hidden=(512,
    256))"; auto: resnet for color images of 32 x 32 pixels or more and for quantized latents of images, conv for other
    images of 16 x 16 pixels or more, with more stages for larger ones, "mlp(hidden=(128, 128), skip=True)"
    for tables of up to 100 columns, else mlp."""
    likelihood: _Component = "auto"
    """Likelihood p(x | z), such as gaussian or bernoulli; auto: one that fits the kind of the data. The scale of image
    pixels is then one for all: a scale of its own for each pixel fits the bound, and blurs what is hard."""
    observation: _Component = "auto"
    """How raw data become what the likelihood explains: "binarized(mode='static', seed=1)", "levels(dequantize=True)",
    ...; auto: as the likelihood needs."""
    prior: _Component = "auto"
    """Prior p(z), such as "vamp(components=500)", or flow-matching, which is trained after the rest; auto: normal, or
    uniform over code indices."""
    posterior: _Component = "auto"
    """Approximate posterior q(z | x), such as full or flow; auto: normal."""
    latents: _Component = "flat"
    """Structure of the latent variables: flat (one vector), "spatial(channels=4, factor=4)" (a map a quarter as wide as
    the image), bottom-up or ladder (hierarchies), or quantized (a grid of code indices)."""
    context: Annotated[str | None, "COMPONENT"] = None
    """Context of the model: labels, attributes, or a visible part of x, "visible(columns=(0, 0.5))". Default:
    nothing."""
    objective: _Component = "elbo"
    """Objective to maximize: elbo, "iwae(samples=50)", "free-bits(0.5)", ..."""
    beta: Annotated[str | None, "NUMBER|SCHEDULE"] = None
    """Weight of the rate in the objective: a number, or a schedule such as "linear(steps=2000)". Default: as the
    objective has it (1 for elbo)."""
    sampler: _Component = "auto"
    """Latent sampler to fit after training and to sample from: gaussian-mixture, flow-matching, vae, m2, ...; prior:
    none; auto: a Gaussian mixture if the prior does not match the latent codes of validation examples."""
    start_at_data: bool = True
    """Initialize the decoder's output bias to the marginals of the training data."""
    levels: _Int = None
    """Number of levels K of data that are integers 0 .. K - 1. Default: inferred from the data."""
    domain: Annotated[Literal["binary", "counts", "unit", "real"] | None, "{binary,counts,unit,real}"] = None
    """Kind of the data's values: binary (0 and 1), counts (0, 1, 2, ...), unit (from 0 to 1) or real. Default: inferred
    from the data; counts are never inferred."""
    kinds: Annotated[str | None, "KINDS"] = None
    """Kinds of a table's columns, by name or in order, or one for all: "visits='counts', city='categories',
    grade=('levels', 5)". Default: words are categories, 0 and 1 are binary, up to 32 distinct numbers that repeat 20
    times on average are "values", other whole numbers from 0 on are "whole", other numbers are
    "semicontinuous" if one of them recurs in at least a fifth of the rows, and real otherwise."""
    labels: Annotated[str | None, "COLUMN"] = None
    """Column of a table, or of AnnData's obs, that holds the labels. Default: none."""
    ignore: Annotated[tuple[str, ...], "COLUMN ..."] = ()
    """Columns of a table to leave out."""
    id: Annotated[str | None, "COLUMN"] = None
    """Column of a table that names the examples; results carry it. Default: none."""
    covariates: Annotated[tuple[str, ...], "COLUMN ..."] = ()
    """Columns of a table, or of AnnData's obs, that the model is conditioned on, such as batch and age."""
    layer: Annotated[str | None, "NAME"] = None
    """Layer of a .h5ad file that holds the examples, such as counts, or "raw" for .raw. Default: X."""
    resize: Annotated[tuple[int, int] | None, "HEIGHT WIDTH"] = None
    """Height and width that image files are resized to."""
    gray: bool = False
    """Read image files as gray."""
    background: Annotated[str | None, "COLOR"] = None
    """Color behind transparent pixels of image files. Default: white."""
    delimiter: Annotated[str | None, "CHARACTER"] = None
    """Character between the cells of a table as text, such as ";". Default: as its lines tell."""
    decimal: Annotated[Literal[".", ","] | None, "{.,,}"] = None
    """Decimal mark of the numbers in a table as text. Default: as its columns tell."""
    header: Annotated[bool | None, "{True,False}"] = None
    """Whether the first row of a table as text holds the names of its columns. Default: as its cells tell."""
    index: Annotated[bool | None, "{True,False}"] = None
    """Whether the first column of a table as text names its rows, and is no data. Default: as its cells tell."""
    encoding: Annotated[str | None, "NAME"] = None
    """Encoding of a table as text, such as latin-1. Default: as its first bytes tell, UTF-8 or Windows-1252."""
    test: float = 0.1
    """Share of the data to set aside for testing, if the data have no test split of their own."""

    def check(self) -> None:
        """Raise InputError for numbers out of range and components that cannot be parsed."""
        if self.latent != "auto":
            whole("latent", self.latent, least=1)
        for name in ("network", "likelihood", "observation", "prior", "posterior", "latents", "objective", "sampler"):
            _check_component(name, getattr(self, name))
        if self.context is not None:
            _check_component("context", self.context)
        if self.beta is not None and not isinstance(self.beta, float | int):
            _check_component("beta", self.beta)
        self.objective_spec()
        if self.levels is not None:
            whole("levels", self.levels, least=2, most=LEVELS)
        column_kinds(self.kinds)
        number("test", self.test, above=0, below=1)
        size = self.resize
        if size is not None and not (isinstance(size, tuple) and len(size) == 2):
            raise InputError(f"resize = {size!r}; needed: height and width")
        for edge in size or ():
            whole("resize", edge, least=1)

    def objective_spec(self) -> Spec:
        """Return the objective with `beta` set in it."""
        spec = parse(self.objective)
        if self.beta is None:
            return spec
        try:
            return spec.replace(beta=float(self.beta))
        except (ValueError, TypeError):
            return spec.replace(beta=parse(self.beta))

    def data_options(self) -> dict[str, Any]:
        """Return the options for opening the data."""
        return {name: getattr(self, name) for name in READ_OPTIONS} | {"kinds": column_kinds(self.kinds)}


def column_kinds(text: str | None) -> Any:
    """Parse column kinds such as "visits='counts'", "'real', 'binary'" or "{'my column': 'counts'}", for `data.open`.

    Raises:
        InputError: If the text does not have such a form.
    """
    if text is None:
        return None
    spec = parse(f"kinds({text})")
    if bool(spec.args) == bool(spec.kwargs):
        raise InputError(f"kinds = {text!r}; needed: name='kind' for some columns, or 'kind' for each in order")
    if len(spec.args) == 1 and isinstance(spec.args[0], Mapping):
        return dict(spec.args[0])
    if len(spec.args) == 1 and isinstance(spec.args[0], str):
        return spec.args[0]
    return list(spec.args) or dict(spec.kwargs)


@dataclass(frozen=True)
class Settings:
    """Training options."""

    epochs: Annotated[int | Literal["auto"], "INT|auto"] = "auto"
    """Passes over the training data; auto: until the validation objective no longer rises, or the time is over."""
    steps: _Int = None
    """Number of optimizer steps, instead of epochs=."""
    minutes: _Float = None
    """Longest time for training, in minutes, and as long again for a prior that is trained after the rest or for a
    latent sampler. Default: 20 with auto epochs, else no limit."""
    batch_size: Annotated[int | Literal["auto"], "INT|auto"] = "auto"
    """Examples per step; auto: 128, or 64 if the networks have group normalization, as `resnet` does."""
    accumulate: int = 1
    """Parts into which a step's examples are divided, computed in turn to save memory; the step is the same."""
    lr: Annotated[float | Literal["auto"], "FLOAT|auto"] = "auto"
    """Learning rate; auto: 1e-3, or 2e-3 if the networks have group normalization, as `resnet` does."""
    encoder_lr: _Float = None
    """Learning rate of q(z | x). Default: same as lr=."""
    decoder_lr: _Float = None
    """Learning rate of everything but q(z | x). Default: same as lr=."""
    schedule: _Component = "auto"
    """Decay of the learning rate: constant; "plateau(factor=0.3)", by this factor whenever the validation objective no
    longer rises; linear, or "cosine(warmup=500, final=0.01)", whose final value is a share of lr=; auto: plateau with
    auto epochs, else constant."""
    optimizer: Literal["adam", "adamw"] | OptimizerFactory = "adam"
    """Optimizer: adam, or adamw (decoupled weight decay)."""
    eps: float = 1e-8
    """Epsilon of the optimizer, added to the denominator of its steps."""
    weight_decay: float = 0.0
    """Weight decay of the optimizer."""
    clip: _Float = None
    """Maximum norm of the gradient; longer gradients are scaled down to it. Default: no limit."""
    ema: _Float = None
    """Decay of an exponential moving average of the weights, such as 0.999; the averaged weights are then evaluated.
    Default: no averaging."""
    patience: _Int = None
    """Stop after this many epochs without a better validation objective. Default: train all epochs."""
    prior_epochs: _Int = None
    """Passes over the latents to train a code prior or a flow-matching prior, after the rest of the model. Default: as
    long as the rest."""
    prior_lr: _Float = None
    """Learning rate of a prior that is trained after the rest. Default: same as lr=; with lr auto, 1e-3 for
    flow-matching."""
    prior_batch_size: _Int = None
    """Examples per step of that prior. Default: same as batch_size=; with batch_size auto, 256 for flow-matching."""
    prior_max_examples: int = 60_000
    """Maximum number of training examples for that prior, picked at random."""
    validation_size: _Int = None
    """Training examples to set aside for choosing the best epoch; 0: none. Default: a tenth, at most 5000."""
    labels_fraction: _Float = None
    """Share of the training labels to keep, with the same number for each class; the other labels count as unknown (for
    context inferred-labels and latent sampler m2), and validation takes examples without labels. Default: all."""
    augment: Annotated[str | None, "COMPONENT,..."] = None
    """Random changes of training images: shift (by up to 2 pixels), flip (horizontally), or "shift,flip". Default:
    none."""
    seed: int = 0
    """Random seed."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the networks: fp32, or bf16 (bfloat16; faster on processors with matrix units for it, AMX or a GPU,
    and slower on others; densities are still summed in float32)."""
    device: str = "auto"
    """Device: auto (the first available of cuda, mps and cpu), or the name of a torch device."""
    compile: bool = False
    """Compile the training step with torch.compile: slower to start, faster per step."""
    keep_memory: bool = True
    """Keep freed memory in the process instead of returning it to the system, for faster steps (Linux with glibc
    only)."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints; one is also written at the end and on Ctrl-C."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if self.epochs != "auto":
            whole("epochs", self.epochs, least=1)
        whole("prior_max_examples", self.prior_max_examples, least=1)
        for name, least in (
            ("batch_size", 1), ("steps", 1), ("patience", 1), ("validation_size", 0), ("prior_epochs", 1),
            ("prior_batch_size", 1), ("accumulate", 1),
        ):  # fmt: skip
            optional = "auto" if name == "batch_size" else None
            if getattr(self, name) != optional:
                whole(name, getattr(self, name), least=least)
        whole("seed", self.seed, least=0, most=math.inf)
        number("eps", self.eps, above=0)
        for name in ("weight_decay", "checkpoint_seconds"):
            number(name, getattr(self, name), least=0)
        for name in ("lr", "encoder_lr", "decoder_lr", "prior_lr", "clip", "minutes"):
            optional = "auto" if name == "lr" else None
            if getattr(self, name) != optional:
                number(name, getattr(self, name), above=0)
        if self.labels_fraction is not None:
            number("labels_fraction", self.labels_fraction, above=0, most=1)
        if self.augment is not None:
            _check_component("augment", self.augment)
        if self.ema is not None:
            number("ema", self.ema, above=0, below=1)
        for name, choices in (
            ("precision", ("fp32", "bf16")), ("compile", (False, True)), ("keep_memory", (False, True)),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise InputError(f"{name} = {getattr(self, name)!r}; needed: one of {', '.join(map(str, choices))}")
        self._check_optimizer()
        _check_component("schedule", self.schedule)

    def _check_optimizer(self) -> None:
        if not callable(self.optimizer):
            if self.optimizer not in ("adam", "adamw", _CUSTOM):
                raise InputError(
                    f"optimizer = {self.optimizer!r}; needed: 'adam', 'adamw', or a function that takes a list of "
                    "parameters and returns a torch optimizer"
                )
            return
        names = ("lr", "encoder_lr", "decoder_lr", "prior_lr", "eps", "weight_decay")
        defaults = {f.name: f.default for f in dataclasses.fields(Settings)}
        given = [f"{name}=" for name in names if getattr(self, name) != defaults[name]]
        if given:
            raise InputError(
                f"{', '.join(given)} cannot be combined with an optimizer that is given as a function; "
                "set them in that function"
            )

    def recorded(self) -> dict[str, Any]:
        """Return the settings as JSON values; an optimizer given as a function is recorded as "custom"."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)}
        return values | ({"optimizer": _CUSTOM} if callable(self.optimizer) else {})

    def changed_for_prior(self) -> dict[str, Any]:
        """Return the settings of the second stage that differ from their defaults."""
        fields = [f for f in dataclasses.fields(Settings) if f.name.startswith("prior_")]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}

    def for_second_stage(self) -> Self:
        """Return the settings for training the prior after the rest."""
        return self.replace(
            epochs=self.prior_epochs or self.epochs,
            steps=None if self.prior_epochs else self.steps,
            lr=self.prior_lr or self.lr,
            encoder_lr=None,
            decoder_lr=None,
            batch_size=self.prior_batch_size or self.batch_size,
            augment=None,
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from names and values.

        Raises:
            InputError: If a name is unknown (the message suggests the nearest one) or a value is out of range.
        """
        return cls().replace(**values)

    def replace(self, **values: Any) -> Self:
        """Return a copy with these fields changed.

        Raises:
            InputError: If a name is unknown or a value is out of range.
        """
        names = [f.name for f in dataclasses.fields(self)]
        for name in values:
            if name not in names:
                raise InputError(f"there is no setting {name!r}; {suggestion(name, names)}")
        return dataclasses.replace(self, **{name: plain(value) for name, value in values.items()})


class FitOptions(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments (PEP 692)."""

    epochs: int | Literal["auto"]
    steps: int | None
    minutes: float | None
    batch_size: int | Literal["auto"]
    accumulate: int
    lr: float | Literal["auto"]
    encoder_lr: float | None
    decoder_lr: float | None
    schedule: str
    optimizer: Literal["adam", "adamw"] | OptimizerFactory
    eps: float
    weight_decay: float
    clip: float | None
    ema: float | None
    patience: int | None
    prior_epochs: int | None
    prior_lr: float | None
    prior_batch_size: int | None
    prior_max_examples: int
    validation_size: int | None
    labels_fraction: float | None
    augment: str | None
    seed: int
    precision: Literal["fp32", "bf16"]
    device: str
    compile: bool
    keep_memory: bool
    checkpoint_seconds: float


@dataclass(frozen=True)
class Config(Settings, Composition):
    """Complete configuration of a run: composition and training options."""

    def check(self) -> None:
        """Raise InputError for values out of range."""
        Composition.check(self)
        Settings.check(self)

    def settings(self) -> Settings:
        """Return the training options."""
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})


def _check_component(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} = {value!r}; needed: a component's name, or name(argument=value, ...)")
    if name != "beta":
        parse_several(value) if name == "augment" else parse(value)
