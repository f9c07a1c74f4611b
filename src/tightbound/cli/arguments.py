"""Options of the commands that work on a run, as frozen dataclasses that tyro reads. Free of torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

_Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
_Data = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")]
_Out = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
_Count = tyro.conf.arg(aliases=["-n"], metavar="INT")
_Labels = tyro.conf.arg(metavar="LABEL ...")
_Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Flag = tyro.conf.FlagCreatePairsOff
SplitName = Literal["auto", "train", "test", "all"]


class Command:
    """Base of all commands: `action` names the function that carries it out, imported when it is called."""

    action: str
    group: ClassVar[str] = "look"  # group in `tightbound --help`
    distributed: ClassVar[bool] = False  # whether several processes share the work; else the first does it alone
    whole: ClassVar[bool] = False  # whether the command covers all of DATA, even if a part was set aside for testing
    helps: ClassVar[Mapping[str, str]] = {}  # help of options that have no docstring below them

    def __call__(self) -> Any:
        """Carry out the command."""
        module, _, name = self.action.partition(":")
        return getattr(importlib.import_module(module), name)(self)


@dataclass(frozen=True)
class OnRun(Command):
    """Base of the commands on a run."""

    run: _Run
    """Folder of a run, as `tightbound train` writes it."""


@dataclass(frozen=True)
class Options:
    """Options for loading a run."""

    weights: Literal["auto", "best", "ema", "last"] = "auto"
    """Weights to use: best (by validation), ema (averaged) or last; auto takes the first of these that exists."""
    seed: int = 0
    """Random seed."""
    device: str = "auto"
    """Device: auto (the first available of cuda, mps and cpu), or the name of a torch device."""
    trust: Flag[bool] = False
    """Allow importing components of your own that the run names ("module:Class")."""


@dataclass(frozen=True)
class OnGivenData(Options, OnRun):
    """Base of the commands on a run and, optionally, other data."""

    strict: Flag[bool] = False
    """Stop with an error if the data have entries that the model cannot hold, such as an unknown category.
    Default: such entries count as missing."""


@dataclass(frozen=True)
class OnData(OnGivenData):
    """Base of the commands on a run and one split of data."""

    data: _Data = None
    """Data to use instead of the run's own: built-in data set, file, folder or tar shards."""
    split: SplitName = "auto"
    """Split of the data to use; auto: the test split of the run's own data and of built-in data sets, all examples of
    other data. embed, reconstruct and score take all examples of any file that is given."""


@dataclass(frozen=True)
class OnSplits(OnGivenData):
    """Base of the commands on a run and both splits of its data."""

    split: ClassVar[SplitName] = "auto"

    data: _Data = None
    """Data to use instead of the run's own: built-in data set, file, folder or tar shards."""


@dataclass(frozen=True)
class Sample(Options, OnRun):
    """Write samples: decoded draws from the prior.

    A sample of images is the mean of p(x|z) for a draw of z; with --draw, x is drawn as well. Rows of a table are drawn
    unless --mean is given, because the mean of rows need not be a possible row. In .csv and .parquet files, numbers are
    moved into the range of the training data.
    """

    action = "tightbound.cli.actions.generate:sample"
    distributed = True
    data: ClassVar[None] = None  # --label and --keep compare with the run's own data
    split: ClassVar[SplitName] = "auto"

    n_samples: Annotated[int, _Count] = 64
    """Number of samples."""
    out: _Out = None
    """File to write: .png (a grid of images), .npz, .npy, or .csv or .parquet for tables. Default: samples.png or
    samples.csv."""
    draw: Flag[bool] = False
    """Draw x from p(x|z) instead of taking its mean, as for tables."""
    mean: Flag[bool] = False
    """Take the mean of p(x|z) instead of drawing x, as for images."""
    given: Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN=VALUE ...")] = ()
    """Draw rows of a table that have these values, such as "sex=female" "age=40", by importance resampling of latent
    codes."""
    context: Annotated[tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None, _Labels] = None
    """Context of a conditional model: class labels by name or number, which are used in turn; the numbers of one set of
    attributes; or covariates by name: batch=b1 age=30. Default: each class, or covariates of training examples, in
    turn."""
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Draw z from this latent sampler, fitted with `tightbound fit-sampler`, or from the "prior". Default: the sampler
    that training has fitted, if codes were far from the prior, else the prior."""
    label: Annotated[int | str | None, tyro.conf.arg(metavar="LABEL")] = None
    """Draw only examples of this class, by name or number; requires --sampler class-regions or m2."""
    temperature: float = 1.0
    """Temperature of a learned code prior: values below 1 give more probable and less varied samples."""
    top_k: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Draw each code index from the K most probable ones of a learned code prior."""
    keep: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Draw more samples and keep this share of each class, such as 0.25: those that a classifier is most certain about,
    which is trained on the labels of the run's data."""


@dataclass(frozen=True)
class Reconstruct(OnData):
    """Write examples beside their reconstructions from the posterior mean."""

    action = "tightbound.cli.actions.generate:reconstruct"
    distributed = True
    whole = True

    n_examples: Annotated[int, _Count] = 16
    """Number of examples in a picture; other files hold all examples."""
    out: _Out = None
    """File to write: .png (examples above reconstructions), .npz, .npy, or .csv or .parquet for tables. Default:
    reconstructions.png or reconstructions.csv."""
    draw: Flag[bool] = False
    """Draw z from q(z|x) and x from p(x|z) instead of taking means."""
    levels: Flag[bool] = False
    """For quantized latents with several levels: reconstruct from the highest level alone, from the two highest, and
    so on; writes .png or .npz."""


@dataclass(frozen=True)
class Impute(OnData):
    """Fill in the missing entries of a table with their conditional means, or with several random draws."""

    action = "tightbound.cli.actions.generate:impute"
    distributed = True
    whole = True

    out: _Out = None
    """File to write: .csv, .parquet, .npz or .npy. Default: imputed.csv."""
    samples: Annotated[int, _Count] = 200
    """Draws of z per example."""
    draws: Annotated[int | None, tyro.conf.arg(metavar="M")] = None
    """Multiple imputation: write M completed tables to one file, with a first column "draw" from 1 to M. In each table,
    random draws given the observed entries fill the gaps, so that differences between tables show the uncertainty."""


@dataclass(frozen=True)
class Complete(OnData):
    """Draw the hidden part of examples given the visible part (context 'visible')."""

    action = "tightbound.cli.actions.generate:complete"
    distributed = True

    n_examples: Annotated[int, _Count] = 8
    """Number of examples."""
    n_samples: int = 7
    """Number of completions of each example."""
    out: _Out = None
    """File to write: .png (a row per example: the example, then completions), .npz, .npy, or .csv or .parquet for
    tables. Default:
    completions.png or completions.csv."""
    draw: Flag[bool] = False
    """Draw x from p(x|z) instead of taking its mean, as for tables."""
    mean: Flag[bool] = False
    """Take the mean of p(x|z) instead of drawing x, as for images."""


@dataclass(frozen=True)
class Interpolate(OnData):
    """Decode a straight and a spherical path between the latent codes of two examples.

    `tightbound paths` measures many such paths.
    """

    action = "tightbound.cli.actions.generate:interpolate"

    start: Annotated[str | None, tyro.conf.arg(name="from", metavar="EXAMPLE")] = None
    """Example to begin with, as other commands name it: its file or id, its row in the file (counted from 1), or else
    its index in the data (counted from 0). Default: the first example of the split."""
    to: Annotated[str | None, tyro.conf.arg(metavar="EXAMPLE")] = None
    """Example to end with. Default: the eighth example of the split, or the last one."""
    steps: int = 9
    """Number of decoded points of each path, both ends included."""
    out: _Out = None
    """File to write: .png or .npz. Default: interpolation.png or interpolation.npz."""


@dataclass(frozen=True)
class Embed(OnData):
    """Write the latent codes of examples, with their labels and file names.

    For quantized latents the file also has the code indices of each level, the lowest first: indices_1 (N, positions,
    indices at each), with grid_1 (height, width) and codebook_size_1.
    """

    action = "tightbound.cli.actions.codes:embed"
    distributed = True
    whole = True

    out: Path = Path("codes.npz")
    """File to write. .npz has posterior means and standard deviations (`mean`, `std`), positions (`index`) and, if they
    exist, `draw`, `label`, `classes`, `row` and `name`. .csv has a row for each example: the row of the file (from 1)
    or the name, the latent code (z1, z2, ...) or code indices, and the label; .parquet has the same. .npy has only
    the latent codes. .h5ad has the cells of the .h5ad file of the examples (all cells, unless --split is given) with
    the latent codes in obsm["X_vae"]."""
    draw: Flag[bool] = False
    """Draw a latent code from each posterior instead of taking its mean."""
    unique: Flag[bool] = False
    """For quantized latents: add an index 0, 1, ... (`copy`) that distinguishes examples with the same code indices."""


@dataclass(frozen=True)
class FitSampler(OnData):
    """Fit a density to the training codes, for sampling when the prior does not match them.

    The latent sampler is saved in the run. To use it: tightbound sample RUN --sampler NAME
    """

    action = "tightbound.cli.actions.train:fit_sampler"
    group = "train"

    sampler: Annotated[str, tyro.conf.arg(metavar="COMPONENT")] = "gaussian-mixture"
    """Latent sampler: gaussian-mixture, kernel, flow, flow-matching, vae (a second VAE), class-regions (for labeled
    data) or m2 (for few labels), optionally with arguments: "gaussian-mixture(components=20)"."""
    split: SplitName = "train"
    """Split whose latent codes the sampler is fitted to."""
    epochs: _Whole = None
    """Epochs of a latent sampler that is trained by gradients (flow, flow-matching, vae, m2). Default: the
    sampler's own."""


@dataclass(frozen=True)
class FitPrior(OnRun):
    """Train the prior of a finished run: another one, the same again, or the same for longer.

    This is for priors that are trained after the rest of the model: flow-matching, or the code prior of a quantized
    run.

    The rest of the model stays as it is. The new prior replaces the old one when its training ends; if it is stopped
    before, the run stays as it was.
    """

    action = "tightbound.cli.actions.train:fit_prior"
    group = "train"
    weights: ClassVar[Literal["auto"]] = "auto"
    split: ClassVar[SplitName] = "train"

    data: _Data = None
    """The run's data, if they have moved: file, folder or tar shards."""
    prior: Annotated[str | None, tyro.conf.arg(metavar="COMPONENT")] = None
    """Prior: flow-matching, or pixelcnn or transformer for a quantized run, with arguments if you like. Default: the
    same as in the run."""
    epochs: _Whole = None
    """Passes over the latents. Default: as in the run."""
    lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Learning rate. Default: as in the run."""
    batch_size: _Whole = None
    """Examples per step. Default: as in the run."""
    max_examples: _Whole = None
    """Maximum number of training examples, picked at random. Default: as in the run."""
    resume: Flag[bool] = False
    """Continue the training that was interrupted, or train the present prior for longer, up to --epochs in all."""
    device: str = "auto"
    """Device: auto (the first available of cuda, mps and cpu), or the name of a torch device."""
    trust: Flag[bool] = False
    """Allow importing components of your own that the run names ("module:Class")."""


@dataclass(frozen=True)
class Report(OnSplits):
    """Write report.html: pictures, verdict and all numbers of a run on one page.

    Analyses that are not recorded in the run yet are carried out first.
    """

    action = "tightbound.cli.actions.ask:report"
    group = "share"

    quick: Flag[bool] = False
    """Carry out only the analyses that take seconds."""


Kind = Literal[
    "datasets", "recipes", "likelihoods", "priors", "posteriors", "objectives", "latents", "contexts", "samplers",
    "features", "networks", "observations", "schedules", "decays", "scores", "quantizers", "code-priors",
    "augmentations",
]  # fmt: skip


@dataclass(frozen=True)
class List(Command):
    """List the available components, data sets or recipes."""

    action = "tightbound.cli.actions.listing:show"
    group = "share"

    kind: Annotated[Kind, tyro.conf.Positional, tyro.conf.arg(metavar="KIND")]
    """Kind to list: datasets, recipes, or the components of a kind: likelihoods, priors, posteriors, objectives,
    latents, contexts, samplers, features, networks, observations, schedules, decays, scores, quantizers,
    code-priors or augmentations."""
    json: Flag[bool] = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True)
class Cite(Command):
    """Print the BibTeX entry of the paper behind a recipe."""

    action = "tightbound.cli.actions.listing:cite"
    group = "share"

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Name of the recipe (`tightbound list recipes`)."""
