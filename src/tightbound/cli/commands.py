"""The commands, by name; their overview; messages in their words. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from tightbound.cli import analyses, arguments
from tightbound.cli.options import is_positional, shown
from tightbound.cli.sweep_arguments import Sweep
from tightbound.cli.training import Train
from tightbound.cli.translate import flag, translate

GROUPS = {
    "train": "Train a model",
    "look": "Look at what it makes",
    "judge": "Judge it",
    "share": "Share and look up",
}
_INTRODUCTION = """\
usage: tightbound COMMAND [OPTIONS]    (tightbound COMMAND --help explains a command)

Variational autoencoders with honest numbers. Begin with: tightbound train
"""
_COMMANDS: dict[str, type[arguments.Command]] = {
    "train": Train,
    "sweep": Sweep,
    "fit-sampler": arguments.FitSampler,
    "fit-prior": arguments.FitPrior,
    "sample": arguments.Sample,
    "reconstruct": arguments.Reconstruct,
    "impute": arguments.Impute,
    "interpolate": arguments.Interpolate,
    "complete": arguments.Complete,
    "embed": arguments.Embed,
    **analyses.commands(),
    "report": arguments.Report,
    "list": arguments.List,
    "cite": arguments.Cite,
}
COMMANDS = {name: shown(command, _COMMANDS) for name, command in _COMMANDS.items()}


def overview() -> str:
    """Return the text of `tightbound --help`: one line for each command, in groups."""
    width = max(map(len, COMMANDS)) + 2
    lines = [_INTRODUCTION]
    for group, title in GROUPS.items():
        about = {name: (command.__doc__ or "").strip() for name, command in COMMANDS.items() if command.group == group}
        lines.append(f"{title}:")
        lines += [f"  {name:{width}}{text.splitlines()[0].removesuffix('.')}" for name, text in about.items()]
    return "\n".join(lines)


def in_flags(message: str, command: type[arguments.Command] | None, argv: Sequence[str] = ()) -> str:
    """Return a message of the library in the words of the command line.

    Args:
        message: The message.
        command: The command that it is about; None: not known.
        argv: The words that were given, for messages about one of their values.
    """
    names = [] if command is None else [field.name for field in dataclasses.fields(cast(Any, command))]
    words = {word.partition("=")[0] for word in argv}
    counted = {name: "-n" for name in ("n", "n_samples", "n_examples", "max_examples") if "-n" in words}
    return translate(
        message,
        {*names, *(field.name for field in dataclasses.fields(Train))},  # options of training, for what to train anew
        COMMANDS,
        positional=[name for name in names if name == "data" and is_positional(command, name)],
        given={name: flag(name) for name in names if flag(name) in words} | counted,
    )
