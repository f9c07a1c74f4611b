"""The commands by name, and the text of `tightbound --help`. Free of torch."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

from tightbound.cli import analyses, arguments
from tightbound.cli.sweep_arguments import Sweep
from tightbound.cli.training import Train

_Class = TypeVar("_Class", bound=type)
GROUPS = {
    "train": "Train a model",
    "look": "Look at what it makes",
    "judge": "Judge it",
    "share": "Share and look up",
}
_INTRODUCTION = """\
usage: tightbound COMMAND [OPTIONS]

Variational autoencoders with honest numbers.
Begin with: tightbound train    (8x8 digits, about a minute, ends with a report)
"""
_END = "tightbound COMMAND --help explains a command; tightbound --version prints the version."


def _shown(command: _Class) -> _Class:
    """Let tyro show a command's fields as a person expects.

    The placeholder in `Annotated[type, "PLACEHOLDER"]` becomes the metavar. A default of None or False is not shown:
    the help text says what happens then.
    """
    hints: dict[str, Any] = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):  # pyright: ignore[reportArgumentType]
        hint = hints[field.name]
        kind, *markers = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        known = [tyro.conf.arg(metavar=marker) if isinstance(marker, str) else marker for marker in markers]
        if field.default is None or field.default is False:
            known.append(tyro.conf.arg(help_behavior_hint=""))
        if known:
            command.__annotations__[field.name] = Annotated[kind, *known]
    return command


_COMMANDS: dict[str, type[arguments.Command]] = {
    "train": Train,
    "sweep": Sweep,
    "fit-sampler": arguments.FitSampler,
    "fit-code-prior": arguments.FitCodePrior,
    "sample": arguments.Sample,
    "reconstruct": arguments.Reconstruct,
    "interpolate": arguments.Interpolate,
    "complete": arguments.Complete,
    "embed": arguments.Embed,
    **analyses.commands(),
    "report": arguments.Report,
    "list": arguments.List,
    "cite": arguments.Cite,
}
COMMANDS = {name: _shown(command) for name, command in _COMMANDS.items()}


def overview() -> str:
    """Return the text of `tightbound --help`: one line for each command, in groups."""
    width = max(map(len, COMMANDS)) + 2
    lines = [_INTRODUCTION]
    for group, title in GROUPS.items():
        named = [
            (name, (command.__doc__ or "").strip()) for name, command in COMMANDS.items() if command.group == group
        ]
        lines += [
            f"{title}:",
            *(f"  {name:{width}}{text.splitlines()[0].removesuffix('.')}" for name, text in named),
            "",
        ]
    return "\n".join([*lines, _END])
