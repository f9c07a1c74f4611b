"""The arguments of commands that train from data. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tightbound.cli.arguments import Command, Flag
from tightbound.config import Config
from tightbound.core.errors import InputError, whole


@dataclass(frozen=True)
class Training(Config, Command):
    """What commands that train have in common."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = "digits"
    """A built-in data set (`tightbound list datasets`), a .npy, .npz, .csv or .parquet file, a folder of images or of
    Parquet files, tar shards "shards-{000..009}.tar", or a folder saved by Hugging Face's datasets."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """The run's folder; default: runs/ and a name made of data and recipe."""
    overwrite: Flag[bool] = False
    """Replace the run of that name."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of these options, such as a run's config.yaml; flags change parts of it."""
    evaluate_samples: int = 500
    """Importance samples of the evaluation at the end; 0: no evaluation and no report."""
    evaluate_data: int = 1000
    """Test data of the evaluation at the end, at most, picked at random (`tightbound evaluate` takes all)."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW (decoupled weight decay)."""
    trust: Flag[bool] = False
    """Import parts of your own, written "module:Class(...)"."""

    def __post_init__(self) -> None:
        """Checks in `__call__`, since tyro would put a box around the error."""

    def check(self) -> None:
        """Refuses numbers out of range."""
        Config.check(self)
        whole("evaluate_samples", self.evaluate_samples, least=0)
        whole("evaluate_data", self.evaluate_data, least=1)
        if self.overwrite and self.run is None:
            raise InputError("--overwrite needs the run to replace; add --run FOLDER")


@dataclass(frozen=True)
class Train(Training):
    """Train a model, evaluate it and write a report.

    Parts are written "name" or "name(argument=value)"; `tightbound list likelihoods` and the like name them.
    On digits, and with no data named, it starts from the recipe of that name, not from the defaults below.
    """

    action = "tightbound.cli.actions.train:train"
    group = "train"
    distributed = True

    resume: Flag[bool] = False
    """Go on with --run from its last checkpoint."""
    processes: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Processes of this machine that train together: one per GPU. On a CPU, one process with all cores is faster."""

    def __call__(self) -> None:
        """Carries it out."""
        self.check()
        whole("processes", self.processes, least=1)
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite were both given; give one of them")
        Command.__call__(self)
