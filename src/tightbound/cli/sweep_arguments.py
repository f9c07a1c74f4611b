"""The arguments of `tightbound sweep`: those of `train`, some with several values. Free of torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tightbound.cli.arguments import Command, Flag
from tightbound.cli.training import Training
from tightbound.components import parse
from tightbound.core.errors import InputError, suggestion, whole
from tightbound.search.space import OPTIONS, ranges, space_of

Values = Mapping[str, tuple[str, ...]]  # option -> its values as text


@dataclass(frozen=True)
class Sweep(Training):
    """Train a run for each of several settings, and compare them.

    Give an option of `tightbound train` several values, and the sweep trains every combination:

        tightbound sweep digits --beta 0.5 1 4 --latent 2 8
        tightbound sweep digits --prior normal "vamp(components=50)" --seed 0 1 2

    A random or TPE search also takes ranges, for an option or for an argument of a component:

        tightbound sweep digits --search tpe --trials 20 --lr "log(1e-4, 1e-2)" --latent "int(2, 64)"
        tightbound sweep digits --search random --beta "uniform(0.1, 4)" --prior "vamp(components=int(9, 99))"

    The folder of the sweep (--run) holds a run for each combination, sweep.json with all numbers and, for a grid,
    a picture of rate against distortion. The best run is chosen by validation data, never by test data. To continue
    after Ctrl-C or a crash, repeat the command. Machines that share the folder can work on one sweep: start the same
    command on each. All other options are those of `train` and apply to every run.
    """

    action = "tightbound.cli.actions.sweep:sweep"
    group = "train"

    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of the sweep. Default: runs/ and a name made of data, recipe and the options that vary."""
    overwrite: Flag[bool] = False
    """Delete the sweep in the folder --run first."""
    search: Literal["grid", "random", "tpe"] = "grid"
    """How settings are chosen: grid (every combination of the values), random (random draws from values and ranges) or
    tpe (draws guided by the results of earlier runs, by a tree-structured Parzen estimator)."""
    trials: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of runs of a random or TPE search. Default: 20."""
    metric: Literal["elbo", "objective", "distortion"] = "elbo"
    """Validation number by which runs are chosen and pruned. Use objective only if all runs have the same objective,
    and distortion for autoencoders, which have no ELBO."""
    prune: Flag[bool] = False
    """Stop a run early if its best validation number is below the median of the other runs at the same epoch (from the
    fifth epoch on, after five runs have ended)."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of runs trained at once. Default: number of cores divided by OMP_NUM_THREADS (1 if unset); 1 on an
    accelerator."""
    retry: Flag[bool] = False
    """Train failed runs again."""
    search_seed: int = 0
    """Random seed of the values that a search draws (--seed is the seed of each run)."""

    def check(self, values: Values | None = None) -> None:
        """Raise InputError for options that do not go together."""
        if self.overwrite and self.run is None:
            raise InputError("--overwrite was given without a folder; add --run FOLDER")
        for name in ("trials", "jobs"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1)
        if self.search == "grid" and self.trials is not None:
            raise InputError("--trials was given for a grid, which has one run per combination; add --search random or "
                             "--search tpe")  # fmt: skip


@dataclass(frozen=True)
class Swept(Command):
    """A sweep: the options that vary, and the command with all others."""

    action = Sweep.action

    command: Sweep
    values: Values


def varying(argv: Sequence[str]) -> tuple[Values, list[str]]:
    """Separate options with several values or a range from the other words.

    Raises:
        InputError: There is none, an option cannot vary, or a value is given twice.
    """
    if "--resume" in argv:
        raise InputError("--resume was given; leave it out: the same command continues the sweep")
    values, rest = dict[str, tuple[str, ...]](), list[str]()
    for flag, *words in _flags(argv):
        field = flag.removeprefix("--").replace("-", "_")
        ranged = field in OPTIONS and any(_ranged(flag, word) for word in words)
        if not flag.startswith("--") or flag == "--resize" or not (len(words) > 1 or ranged):
            rest += [flag, *words]
        elif field not in OPTIONS:
            known = [f"--{name.replace('_', '-')}" for name in OPTIONS]
            raise InputError(f"{flag} cannot take several values; {suggestion(flag, known)}")
        elif field in values:
            raise InputError(f"{flag} was given twice; give all of its values after it once")
        else:
            values[field] = tuple(words)
    if not values:
        for word in rest:
            if "(" in word:
                parse(word)  # says what is wrong with a range that cannot be read
        raise InputError("no option has several values; a sweep needs two or more, such as --beta 0.1 1 10")
    space_of(values)
    return values, rest


def _ranged(flag: str, word: str) -> bool:
    try:
        return bool(ranges(word))
    except InputError as error:
        raise InputError(f"{flag} {word}: {error}") from None


def _flags(argv: Sequence[str]) -> list[list[str]]:
    """Return each flag with the words that follow it; the words before the first flag stand alone."""
    found: list[list[str]] = []
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            found.append([flag, value] if equals and ranges(value) else [word])
        elif not found or (word.startswith("-") and not _is_number(word)) or not found[-1][0].startswith("--"):
            found.append([word])
        else:
            found[-1].append(word)
    return found


def _is_number(word: str) -> bool:
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False
