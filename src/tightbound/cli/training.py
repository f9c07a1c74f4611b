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

    action = "tightbound.cli.train:train"
    group = "train"
    distributed = True

    resume: Flag[bool] = False
    """Go on with --run from its last checkpoint."""

    def __call__(self) -> None:
        """Carries it out."""
        self.check()
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite were both given; give one of them")
        Command.__call__(self)


@dataclass(frozen=True)
class Sweep(Training):
    """Train a run for each of several values of options of `tightbound train`, and compare them in a table and on the
    rate-distortion plane: --beta 0.1 1 10, --prior normal vamp --latent 2 5 10, --seed 0 1 2 --lr 1e-3 3e-3, ...

    All other options are those of `train`. A random or TPE search takes ranges, too, for an option or an argument of
    a part: --lr "log(1e-4, 1e-2)", --beta "uniform(0.1, 4)", --latent "int(2, 64)", --prior "vamp(components=int(10,
    500, log=True))". Runs are chosen by validation data, never by test data. Each is a run of its own in a folder of
    --run, beside sweep.json. After Ctrl-C or a crash the same command goes on; runs that are finished are kept. The
    same command may run several times at once, on machines that share the folder.
    """

    action = "tightbound.cli.sweep:sweep"
    group = "train"

    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The folder of the runs; default: runs/ and a name made of data, recipe and options."""
    overwrite: Flag[bool] = False
    """Replace the runs that are there."""
    search: Literal["grid", "random", "tpe"] = "grid"
    """grid: all combinations of the values; random: draws from values and ranges; tpe: what Optuna's estimator
    advises, given the runs before."""
    trials: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Runs of a random or TPE search; default: 20."""
    metric: Literal["elbo", "objective", "distortion"] = "elbo"
    """What runs are chosen and pruned by, on validation data; the objective compares only where all train for the same
    one."""
    prune: Flag[bool] = False
    """Give up a run whose best validation value is below the median of the others' at the same epoch, from the fifth
    on, once five runs have ended."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Runs trained at once; default: one a core of OMP_NUM_THREADS threads (1, if that is not set), and one on an
    accelerator."""
    retry: Flag[bool] = False
    """Train runs that failed again."""
    storage: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Of Optuna's study, "postgresql://..." for many machines; default: the SQLite file study.db beside the runs."""
    search_seed: int = 0
    """Of the values that are drawn (--seed is that of each run)."""

    def check(self) -> None:
        """Refuses numbers out of range, and options of another search."""
        Training.check(self)
        for name in ("trials", "jobs"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1)
        whole("search_seed", self.search_seed, least=0)
        if not self.evaluate_samples:
            raise InputError("--evaluate-samples 0 leaves nothing to compare; a sweep needs at least 1")
        if self.search == "grid" and self.trials is not None:
            raise InputError("--trials is of --search random or tpe; a grid has as many runs as combinations of values")
