"""The arguments of commands on runs, as frozen dataclasses that tyro reads. Free of torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

_Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
_Data = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")]
Flag = tyro.conf.FlagCreatePairsOff
SplitName = Literal["auto", "train", "test", "all"]


class Command:
    """A command: `action` names the function that carries it out, imported when it is called."""

    action: str
    distributed: ClassVar[bool] = False  # whether the processes of torchrun share it; else the first does it alone

    def __call__(self) -> Any:
        """Carries it out."""
        module, _, name = self.action.partition(":")
        return getattr(importlib.import_module(module), name)(self)


@dataclass(frozen=True)
class OnRun(Command):
    """A command on a run."""

    run: _Run
    """A run's folder."""


@dataclass(frozen=True)
class Options:
    """How a run is loaded."""

    weights: Literal["auto", "best", "ema", "last"] = "auto"
    """Which weights; auto: the best there are."""
    seed: int = 0
    """Of the random numbers drawn here."""
    device: str = "auto"
    """auto (cuda, mps or cpu), or a torch device."""
    trust: Flag[bool] = False
    """Import parts from outside tightbound that the run names."""


@dataclass(frozen=True)
class OnData(Options, OnRun):
    """A command on a run and data."""

    data: _Data = None
    """Other data than the run's: a built-in name, a file, a folder or shards."""
    split: SplitName = "auto"
    """Which data; auto: the test split of the run's data and of built-in ones, all of other data."""


@dataclass(frozen=True)
class OnSplits(Options, OnRun):
    """A command on a run and data of which it takes both splits."""

    split: ClassVar[SplitName] = "auto"

    data: _Data = None
    """Other data than the run's: a built-in name, a file, a folder or shards."""


@dataclass(frozen=True)
class Sample(Options, OnRun):
    """Decode draws from the prior."""

    action = "tightbound.cli.inspect:sample"
    distributed = True
    data: ClassVar[None] = None  # --label and --keep judge by the run's own
    split: ClassVar[SplitName] = "auto"

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """How many."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """.png (a grid), .npz, .npy, or for tables .csv; default: samples.png or samples.csv."""
    draw: Flag[bool] = False
    """Draw x from p(x | z), in place of its mean."""
    context: Annotated[tuple[int, ...] | tuple[float, ...] | None, tyro.conf.arg(metavar="LABEL ...")] = None
    """Of a model conditioned on labels: classes, taken in turn (default: each); on attributes: those of all samples."""
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Draw codes from a sampler that was fitted for the run, in place of the prior (see fit-sampler)."""
    label: Annotated[int | None, tyro.conf.arg(metavar="LABEL")] = None
    """Draw this class alone, by a sampler that knows classes (class-regions)."""
    temperature: float = 1.0
    """Of a learned prior over codes: less than 1 draws likelier codes, and less variety."""
    top_k: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Of a learned prior over codes: draw each code from the K likeliest alone."""
    keep: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Draw more, and keep this share of each class (0.25, say): those that a classifier, trained on the labels of the
    run's data, is surest of."""


@dataclass(frozen=True)
class FitSampler(OnData):
    """Fit a density to the codes of the training data: what to sample by where the prior is not where the codes are.

    It is saved in the run; sample with: tightbound sample RUN --sampler NAME.
    """

    action = "tightbound.cli.inspect:fit_sampler"

    sampler: Annotated[str, tyro.conf.arg(metavar="PART")] = "gaussian-mixture"
    """gaussian-mixture, kernel, flow, vae (a second one), class-regions (of labeled data), or with arguments:
    "gaussian-mixture(components=20)"."""
    split: SplitName = "train"
    """Which data; auto: the test split of the run's data and of built-in ones, all of other data."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Of samplers that are trained by gradients; default: their own number."""


@dataclass(frozen=True)
class FitPrior(OnRun):
    """Train the prior over the codes of a run with latents 'quantized' again, longer, or another one.

    The rest of the model stays as it is. The new prior takes the place of the old when it is trained: stopped before,
    the run is as it was.
    """

    action = "tightbound.cli.prior:fit_prior"
    weights: ClassVar[Literal["auto"]] = "auto"
    split: ClassVar[SplitName] = "train"

    data: _Data = None
    """Where the run's data are, if they have moved."""
    prior: Annotated[str | None, tyro.conf.arg(metavar="PART")] = None
    """pixelcnn, transformer, or with arguments; default: one like the run's."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Passes over the codes; default: as the run's."""
    lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Learning rate; default: as the run's."""
    batch_size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Data a step; default: as the run's."""
    data_limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Training data on whose codes it is trained, at most; default: as the run's."""
    resume: Flag[bool] = False
    """Go on, to --epochs in all, with what was stopped, or with the prior that the run has."""
    device: str = "auto"
    """auto (cuda, mps or cpu), or a torch device."""
    trust: Flag[bool] = False
    """Import parts from outside tightbound that the run names."""


@dataclass(frozen=True)
class Complete(OnData):
    """Draw the hidden part of data, given the visible one, from a model with context 'visible'."""

    action = "tightbound.cli.inspect:complete"
    distributed = True

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 8
    """How many data."""
    draws: int = 7
    """Completions of each."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """.png (a row an example: itself, then completions), .npz, .npy, or for tables .csv; default: completions.png or
    .csv."""
    draw: Flag[bool] = False
    """Draw x from p(x | z), in place of its mean."""


@dataclass(frozen=True)
class Reconstruct(OnData):
    """Data beside their reconstructions from the posterior mean."""

    action = "tightbound.cli.inspect:reconstruct"
    distributed = True

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 16
    """How many, in a picture."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """.png (originals above), .npz, .npy (all data), or for tables .csv; default: reconstructions.png or .csv."""
    levels: Flag[bool] = False
    """Of codes in several levels: from the highest alone, from the two highest, ..., from all; .png or .npz."""


@dataclass(frozen=True)
class Interpolate(OnData):
    """Decode a straight and a spherical path between the codes of two data; with --pairs, measure many such paths."""

    action = "tightbound.cli.inspect:interpolate"

    start: Annotated[int, tyro.conf.arg(name="from")] = 0
    """Number of the example to start from."""
    to: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of the example to go to; default: 7, or the last."""
    steps: int = 9
    """Pictures, both ends included."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """.png or .npz; default: interpolation.png or .npz."""
    pairs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Measure the paths between this many pairs of data, picked at random, in place of a picture of one: length,
    evenness, and how far from data they lead."""
    against: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """With --pairs: another run on the same data, whose paths between the same pairs are compared."""
    json: Flag[bool] = False
    """With --pairs: one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Attribute(OnSplits):
    """Add what a label is in latent space to codes of other data, decode them, and measure what became of them."""

    action = "tightbound.cli.attribute:attribute"

    label: Annotated[int, tyro.conf.arg(metavar="LABEL")]
    """Where to."""
    against: Annotated[int | None, tyro.conf.arg(metavar="LABEL")] = None
    """Where from; default: from all others."""
    factor: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which column of the labels is meant, where each example has several."""
    direction: Literal["means", "probe"] = "means"
    """The difference of the classes' mean codes, or the normal of a linear probe that tells them apart."""
    most: int = 500
    """Test data that are measured, at most, picked at random."""
    rows: int = 8
    """Test data in the picture."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """.png (a row an example, a column a strength) or .npz; default: attribute.png or .npz."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Embed(OnData):
    """Write the codes of data: posterior means, standard deviations, labels and file names.

    Of discrete latents, also the integer codes of each level, the lowest first: codes_1 (N, positions, codes at each),
    ..., with grid_1 (height, width) and entries_1; std where codes are drawn, as it is 0 otherwise.
    """

    action = "tightbound.cli.codes:embed"
    distributed = True

    out: Path = Path("codes.npz")
    """.npz with mean, std, index and, where there are, sample, label, name; .npy or .csv: codes alone, of discrete
    latents the integers of all levels in a row."""
    sample: Flag[bool] = False
    """Draw a code from each posterior, in place of its mean."""


@dataclass(frozen=True)
class Report(OnData):
    """Write report.html: one self-contained page on a run, with all that is known of it.

    What the run does not hold yet is measured first: evaluation, diagnosis, sample quality, interpolation, probes.
    """

    action = "tightbound.cli.report:report"

    samples: int = 500
    """Importance samples, where the run has not been evaluated yet."""
    quick: Flag[bool] = False
    """Show what the run holds, and measure nothing but the evaluation."""


Kind = Literal[
    "datasets", "recipes", "likelihoods", "priors", "posteriors", "objectives", "latents", "contexts", "samplers",
    "features", "networks", "observations", "schedules", "decays", "scores", "quantizers", "code-priors",
]  # fmt: skip


@dataclass(frozen=True)
class List(Command):
    """What there is, by name."""

    action = "tightbound.cli.listing:show"

    kind: Annotated[Kind, tyro.conf.Positional]
    """Of which kind."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Cite(Command):
    """Print the BibTeX entry of the paper that a recipe follows."""

    action = "tightbound.cli.listing:cite"

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Its name (`tightbound list recipes`)."""
