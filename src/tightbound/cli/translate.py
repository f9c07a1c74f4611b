"""Messages of the library in the words of the command line: `name=` becomes `--name`, `name()` a command."""

from __future__ import annotations

import re
from collections.abc import Collection

_QUOTED = re.compile(r"('[^']*'|\"[^\"]*\")")
_OPTION = re.compile(r"(?<![\w.(])([a-z][a-z0-9_]*)=(?:([A-Za-z0-9_.\-]+))?")
_CALL = re.compile(r"(?<![\w.])([a-z][a-z0-9_]*)\(\)")


def translate(message: str, options: Collection[str], commands: Collection[str]) -> str:
    """Return a message with Python's keyword arguments and methods as flags and commands.

    Args:
        message: Text such as "lower lr= (now 0.01), or see diagnose()"; quoted parts stay as they are.
        options: Options of the command that was given, as Python names.
        commands: Names of the commands.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in options:
            return match[0]
        flag = f"--{name.replace('_', '-')}"
        if value is None:
            return f"{flag} " if match.end() == len(match.string) else flag  # a quoted value follows
        return f"{flag} {value}"

    def call(match: re.Match[str]) -> str:
        name = match[1].replace("_", "-")
        return f"`tightbound {name}`" if name in commands else match[0]

    parts = _QUOTED.split(message)
    return "".join(part if i % 2 else _CALL.sub(call, _OPTION.sub(option, part)) for i, part in enumerate(parts))
