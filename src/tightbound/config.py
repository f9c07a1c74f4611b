"""What a run is made of, as flags, YAML and recipes write it. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from tyro.conf import arg

from tightbound.components import Spec, parse
from tightbound.core.errors import InputError, number, suggestion, whole

_PartText = Annotated[str, arg(metavar="PART")]


@dataclass(frozen=True)
class Composition:
    """What is trained: data, model and objective."""

    data: str = "digits"
    """A built-in data set (see `tightbound list datasets`), a file (.npy .csv .parquet ...), tar shards or a folder."""
    recipe: Annotated[str | None, arg(metavar="NAME")] = None
    """A published composition (see `tightbound list recipes`); flags change parts of it."""
    latent: int = 16
    """Size of the latent vector z."""
    network: _PartText = "auto"
    """auto, mlp, conv, or with arguments: "mlp(hidden=(512, 256))"."""
    likelihood: _PartText = "auto"
    """auto (fits the data), or a name (see `tightbound list likelihoods`)."""
    observation: _PartText = "auto"
    """How raw data become the likelihood's target: auto, "binarized(mode='static', seed=1)",
    "levels(dequantize=True)", ..."""
    prior: _PartText = "auto"
    """p(z); auto: normal, and of codes uniform (see `tightbound list priors`, `code-priors`)."""
    posterior: _PartText = "auto"
    """q(z | x); auto: normal."""
    latents: _PartText = "flat"
    """flat (one group, of that prior and posterior), or a hierarchy (see `tightbound list latents`)."""
    context: Annotated[str | None, arg(metavar="PART")] = None
    """What x is conditioned on: labels, attributes, "visible(columns=(0, 0.5))"; none by default."""
    objective: _PartText = "elbo"
    """What is maximized: elbo, "iwae(samples=50)", "free-bits(0.5)", ..."""
    beta: Annotated[str | None, arg(metavar="NUMBER|SCHEDULE")] = None
    """Weight of the rate in the objective: a number, or a schedule such as "linear(steps=2000)"
    (`tightbound list schedules`)."""
    start_at_data: bool = True
    """Start the decoder's output bias at the marginals of the training data."""
    levels: Annotated[int | None, arg(metavar="INT")] = None
    """The data are integers 0 .. levels - 1 (inferred otherwise)."""
    domain: Annotated[Literal["binary", "counts", "unit", "real"] | None, arg(metavar="{binary,counts,unit,real}")] = (
        None
    )
    """The data's values (inferred otherwise; counts, the integers 0, 1, 2, ..., never are)."""
    kinds: Annotated[str | None, arg(metavar="KINDS")] = None
    """Kinds of the columns of a table, by name or in order: "visits='counts', city='categories', grade=('levels', 5)"
    (inferred otherwise: words are categories, 0 and 1 binary, other numbers real)."""
    resize: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None
    """Height and width to which encoded pictures are resized."""
    gray: bool = False
    """Read encoded pictures as gray."""
    test: float = 0.1
    """Share of data without a split of their own that is set aside for testing."""

    def check(self) -> None:
        """Refuses numbers out of range and parts that cannot be read."""
        whole("latent", self.latent, least=1)
        for name in ("network", "likelihood", "observation", "prior", "posterior", "latents", "objective"):
            _check_part(name, getattr(self, name))
        if self.context is not None:
            _check_part("context", self.context)
        if self.beta is not None and not isinstance(self.beta, float | int):
            _check_part("beta", self.beta)
        self.objective_spec()
        if self.levels is not None:
            whole("levels", self.levels, least=2)
        column_kinds(self.kinds)
        number("test", self.test, above=0, below=1)
        size = self.resize
        if size is not None and not (isinstance(size, tuple) and len(size) == 2):
            raise InputError(f"resize = {size!r}; needed: height and width")
        for edge in size or ():
            whole("resize", edge, least=1)

    def objective_spec(self) -> Spec:
        """The objective, with `beta` set in it."""
        spec = parse(self.objective)
        if self.beta is None:
            return spec
        try:
            return spec.replace(beta=float(self.beta))
        except (ValueError, TypeError):
            return spec.replace(beta=parse(self.beta))

    def data_options(self) -> dict[str, Any]:
        """How the data are opened."""
        names = ("levels", "domain", "resize", "gray", "test")
        return {"kinds": column_kinds(self.kinds)} | {name: getattr(self, name) for name in names}


def column_kinds(text: str | None) -> Any:
    """Kinds of columns as text, "visits='counts'", "'real', 'binary'" or "{'my column': 'counts'}", as
    `tightbound.data.open` takes them.

    Raises:
        InputError: for other text.
    """
    if text is None:
        return None
    spec = parse(f"kinds({text})")
    if bool(spec.args) == bool(spec.kwargs):
        raise InputError(f"kinds = {text!r}; needed: name='kind' for some columns, or 'kind' for each in order")
    if len(spec.args) == 1 and isinstance(spec.args[0], Mapping):
        return dict(spec.args[0])
    return list(spec.args) or dict(spec.kwargs)


@dataclass(frozen=True)
class Settings:
    """How a model is trained."""

    epochs: int = 20
    """Passes over the training data."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Optimizer steps, in place of epochs."""
    batch_size: int = 128
    """Data a step."""
    lr: float = 1e-3
    """Learning rate."""
    encoder_lr: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Learning rate of q(z | x), where it differs."""
    decoder_lr: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Learning rate of everything else, where it differs."""
    schedule: _PartText = "constant"
    """Decay of the learning rate: constant, "cosine(warmup=500, final=0.01)", ... (`tightbound list decays`)."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW (decoupled weight decay)."""
    eps: float = 1e-8
    """Adam's epsilon."""
    weight_decay: float = 0.0
    """Weight decay."""
    clip: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Largest norm of the gradient; larger ones are scaled down to it."""
    ema: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Decay of an exponential moving average of the weights, such as 0.999; it is what is evaluated."""
    patience: Annotated[int | None, arg(metavar="INT")] = None
    """Stop after this many epochs without a better validation objective."""
    prior_epochs: Annotated[int | None, arg(metavar="INT")] = None
    """Of a prior over codes, which is trained after the rest: passes over the codes; default: as long as the rest."""
    prior_lr: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Its learning rate, where it differs."""
    prior_batch_size: Annotated[int | None, arg(metavar="INT")] = None
    """Data a step of it, where they differ."""
    prior_data: int = 60_000
    """Training data on whose codes it is trained, at most, picked at random."""
    validation: Annotated[int | None, arg(metavar="INT")] = None
    """Training data set aside for choosing the best epoch; 0: none; default: a tenth, at most 5000."""
    seed: int = 0
    """Of all random numbers."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16: networks in bfloat16 autocast, densities reduced in float32; auto: that where it is faster here."""
    device: str = "auto"
    """auto (cuda, mps or cpu), or a torch device."""
    compile: Literal["off", "on", "auto"] = "off"
    """on: torch.compile; auto: measure at the start whether compiled steps and channels-last convolutions are faster
    here, and take what is, where enough is left to train for that to pay."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several processes (torchrun) hold of the model: ddp, all of it each; fsdp, a share each."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints; one is always written at the end and on Ctrl-C."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuses numbers out of range."""
        whole("epochs", self.epochs, least=1)
        whole("batch_size", self.batch_size, least=1)
        whole("seed", self.seed, least=0)
        number("lr", self.lr, above=0)
        number("eps", self.eps, above=0)
        number("weight_decay", self.weight_decay, least=0)
        number("checkpoint_seconds", self.checkpoint_seconds, least=0)
        whole("prior_data", self.prior_data, least=1)
        for name, least in (
            ("steps", 1), ("patience", 1), ("validation", 0), ("prior_epochs", 1), ("prior_batch_size", 1)
        ):  # fmt: skip
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=least)
        for name in ("encoder_lr", "decoder_lr", "prior_lr", "clip"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), above=0)
        if self.ema is not None:
            number("ema", self.ema, above=0, below=1)
        for name, choices in (
            ("optimizer", ("adam", "adamw")), ("precision", ("fp32", "bf16", "auto")),
            ("compile", ("off", "on", "auto")), ("parallel", ("ddp", "fsdp")),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise InputError(f"{name} = {getattr(self, name)!r}; needed: one of {', '.join(choices)}")
        _check_part("schedule", self.schedule)

    def asked_of_second(self) -> dict[str, Any]:
        """The settings of the second stage that are not as they come."""
        fields = [f for f in dataclasses.fields(Settings) if f.name.startswith("prior_")]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}

    def of_second(self) -> Self:
        """Those of the second stage, of a prior over codes."""
        return self.replace(
            epochs=self.prior_epochs or self.epochs,
            steps=None if self.prior_epochs else self.steps,
            lr=self.prior_lr or self.lr,
            encoder_lr=None,
            decoder_lr=None,
            batch_size=self.prior_batch_size or self.batch_size,
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From names and values.

        Raises:
            InputError: an unknown name (with the nearest), or a value out of range.
        """
        return cls().replace(**values)

    def replace(self, **values: Any) -> Self:
        """A copy with these fields changed; raises InputError for unknown names."""
        names = [f.name for f in dataclasses.fields(self)]
        for name in values:
            if name not in names:
                raise InputError(f"there is no setting {name!r}; {suggestion(name, names)}")
        return dataclasses.replace(self, **values)


@dataclass(frozen=True)
class Config(Settings, Composition):
    """A whole run."""

    def check(self) -> None:
        """Refuses what either half refuses."""
        Composition.check(self)
        Settings.check(self)

    def settings(self) -> Settings:
        """The part that concerns training."""
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})


def _check_part(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} = {value!r}; needed: a part's name, or name(argument=value, ...)")
    if name != "beta":
        parse(value)


def read_config(path: str | Path) -> dict[str, Any]:
    """The config that a run recorded, or that a person wrote.

    A run of before there were codes, which recorded every setting of its time, has "normal" for a prior that it was
    not asked for: it is read as "auto".

    Raises:
        InputError: see `read_yaml`.
    """
    values = read_yaml(path)
    if "checkpoint_seconds" in values and "prior_data" not in values:
        values |= {name: "auto" for name in ("prior", "posterior") if values.get(name) == "normal"}
    return as_now(values)


def as_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are written now: `compile` was true or false, which YAML also takes its words for."""
    if isinstance(compiled := values.get("compile"), bool):
        return {**values, "compile": "on" if compiled else "off"}
    return dict(values)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file, not YAML, or not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InputError(f"cannot read the config {str(path)!r} ({reason})") from error
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise InputError(f"{str(path)!r} is not YAML ({where})") from error
    if not isinstance(values, dict):
        raise InputError(f"{str(path)!r} must hold `name: value` lines, as config.yaml of a run does")
    return values
