"""One subcommand for each analysis, made from its class. Free of torch."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import tyro

from tightbound.analysis.base import Analysis
from tightbound.analysis.table import analyses
from tightbound.cli import options
from tightbound.cli.arguments import Command, Flag, OnData, OnGivenData, OnSplits, SplitName

_GIVEN = ("seed", "progress")  # `--seed` is an option of every command; progress is always shown
_GIVEN_AS: dict[str, Any] = {"Trained": Path, "Component": str}  # how a command line names objects of these types


class Ask(Command):
    """Base of the commands that ask a question of a run."""

    action = "tightbound.cli.actions.ask:ask"
    analysis: ClassVar[type[Analysis[Any]]]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Options for writing the answer."""

    json: Flag[bool] = False
    """Print one JSON object on standard output."""
    figures: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Also write the figures to this folder, as .svg and .png files."""


@dataclass(frozen=True, kw_only=True)
class PerExample:
    """Option for writing the values of each example."""

    per_example: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the values of each example to this .npz, .csv or .parquet file."""


@dataclass(frozen=True, kw_only=True)
class OnOtherData(OnGivenData):
    """Base of the commands on a run and on other data, which must be given."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Data to compare with the run's own: built-in data set, file, folder or tar shards."""
    split: SplitName = "auto"
    """Split of DATA to use; auto: the test split of built-in data sets, all examples of other data."""


@dataclass(frozen=True, kw_only=True)
class OnNamedData(OnGivenData):
    """Base of the commands on a run, with data as an option."""

    data: Annotated[str | None, tyro.conf.arg(metavar="DATA")] = None
    """Data to use instead of the run's own: built-in data set, file, folder or tar shards."""
    split: SplitName = "auto"
    """Split of the data to use; auto: the test split of the run's own data and of built-in data sets, all examples of
    other data."""


_DATA = {"optional": OnData, "required": OnOtherData, "named": OnNamedData}


def commands() -> dict[str, type[Command]]:
    """Return the command class of each analysis, by name."""
    return {name: _command(analysis) for name, analysis in analyses().items()}


def _command(analysis: type[Analysis[Any]]) -> type[Command]:
    hints = get_type_hints(analysis, localns=_GIVEN_AS, include_extras=True)
    own: list[Any] = []
    for option in dataclasses.fields(analysis):
        if option.name in _GIVEN:
            continue
        hint = Flag[bool] if hints[option.name] is bool else hints[option.name]
        hint = Annotated[hint, tyro.conf.arg(**option.metadata.get("flag", {}))]
        if option.metadata.get("positional"):
            hint = Annotated[hint, tyro.conf.Positional]
        given = {} if option.default is dataclasses.MISSING else {"default": option.default}
        own.append((option.name, hint, dataclasses.field(**given)))
    on = OnSplits if analysis.splits else _DATA[analysis.data]
    bases = (PerExample,) * analysis.per_example + (Output, on, Ask)
    about = f"{analysis.question}\n\n{inspect.cleandoc(analysis.__doc__ or '').partition('References:')[0].strip()}"
    members = {
        "analysis": analysis, "group": analysis.group, "distributed": analysis.distributed, "__doc__": about,
        "whole": analysis.whole, "helps": options.descriptions(analysis),
    }  # fmt: skip
    return dataclasses.make_dataclass(analysis.__name__, own, bases=bases, namespace=members, frozen=True, kw_only=True)
