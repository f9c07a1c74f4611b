"""`tightbound --help`: one line for each command, in groups. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping

from tightbound.cli.arguments import Command

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


def overview(commands: Mapping[str, type[Command]]) -> str:
    """Return the text of `tightbound --help`."""
    width = max(map(len, commands)) + 2
    lines = [_INTRODUCTION]
    for group, title in GROUPS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:{width}}{_line(command)}" for name, command in commands.items() if command.group == group]
        lines.append("")
    return "\n".join([*lines, _END])


def _line(command: type[Command]) -> str:
    """Return the first line of a command's description."""
    return (command.__doc__ or "").strip().splitlines()[0].removesuffix(".")
