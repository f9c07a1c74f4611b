"""The arguments of commands that train from data. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tightbound.cli.arguments import Command, Flag
from tightbound.config import Config
from tightbound.core.errors import InputError, whole
from tightbound.core.limits import PASSES


@dataclass(frozen=True)
class Training(Config, Command):
    """Base of the commands that train."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = "digits"
    """Built-in data set (`tightbound list datasets`), .npy, .npz, .csv, .parquet or .h5ad file, folder of images or of
    Parquet files, tar shards "shards-{000..009}.tar", or folder saved by Hugging Face's datasets."""
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Published composition to start from (`tightbound list recipes`); other options change parts of it."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of the run. Default: runs/ and a name made of data and recipe."""
    overwrite: Flag[bool] = False
    """Replace the run in the folder --run."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML file with values of these options, such as a run's config.yaml; flags take precedence."""
    evaluate_samples: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Importance samples per example in the evaluation at the end; 0: no evaluation and no report. Default: 500, or as
    many as take about a twentieth of the time of the training, at least 10 (a sweep: 500)."""
    evaluate_data: int = 1000
    """Maximum number of test examples in the evaluation at the end, picked at random; fewer after a short training on
    large examples (`tightbound evaluate` takes all)."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimizer: adam, or adamw (decoupled weight decay)."""
    trust: Flag[bool] = False
    """Allow importing components of your own, written "module:Class(argument=value)"."""

    def __post_init__(self) -> None:
        """Leave the checks to `__call__`, since tyro would put a box around the error."""

    def check(self) -> None:
        """Raise InputError for numbers out of range and options that do not go together."""
        Config.check(self)
        if self.evaluate_samples is not None:
            whole("evaluate_samples", self.evaluate_samples, least=0, most=PASSES)
        whole("evaluate_data", self.evaluate_data, least=1)
        if self.evaluate_samples == 0 and self.evaluate_data != Training.evaluate_data:
            raise InputError(
                "--evaluate-samples 0 skips the evaluation, so that --evaluate-data does nothing; leave it out"
            )
        if self.patience is not None and self.validation_size == 0:
            raise InputError("--patience needs validation data, and --validation-size 0 leaves none; give one of them")
        if self.overwrite and self.run is None:
            raise InputError("--overwrite needs the run to replace; add --run FOLDER")


@dataclass(frozen=True)
class Train(Training):
    """Train a model, evaluate it and write a report.

    A COMPONENT is a name, or a name with arguments: "vamp(components=50)". `tightbound list` shows the names and
    arguments of each kind, such as `tightbound list priors`.

    Without DATA, and for digits, the defaults are those of the recipe "digits" instead of the ones below.
    """

    action = "tightbound.cli.actions.train:train"
    group = "train"
    distributed = True

    resume: Flag[bool] = False
    """Continue the run in the folder --run from its last checkpoint. With more --epochs or --steps, schedules
    of the whole run, such as cosine, are from then on those of the new length."""
    processes: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Number of processes on this machine that train together, one per GPU. On a CPU, one process with all cores is
    faster."""

    def __call__(self) -> None:
        """Check the options and train."""
        self.check()
        whole("processes", self.processes, least=1)
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite were both given; give one of them")
        Command.__call__(self)
