"""Messages of the library in the words of the command line: `name=` becomes `--name`, `name()` a command."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping

_ARGUMENTS = r"\((?:[^()'\"]|'[^']*'|\"[^\"]*\"|\([^()]*\))+\)"
_QUOTED = r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\""  # an apostrophe in a word opens no quotation
_VALUE = rf"{_QUOTED}|\{{[^{{}}]*\}}|\([^()]*\)|-?\w+(?:[.\-/]\w+)*|\.\.\."
_PARTS = re.compile(
    rf"(?P<option>(?<![\w.'\"])(?P<name>[a-z][a-z0-9_]*)=(?P<value>{_VALUE})?)"
    rf"|(?P<kept>{_QUOTED}|[\w.:\-]+{_ARGUMENTS})"  # quotations and calls with arguments stay as they are
    r"|(?<![\w.])(?P<method>[a-z][a-z0-9_]*)\(\)"
    r"|(?<![\w.])(?P<assigned>[a-z][a-z0-9_]*) = "
)
_METHODS = {"fit": "train"}  # methods that have another name on the command line


def translate(
    message: str,
    options: Collection[str],
    commands: Collection[str],
    *,
    positional: Collection[str] = (),
    given: Mapping[str, str] | None = None,
) -> str:
    """Return a message with Python's keyword arguments and methods as flags and commands.

    Args:
        message: Text such as "lower lr= (now 0.01), or see diagnose()". Quoted parts, and calls with arguments such as
            "load(run, model=mine)", stay as they are.
        options: Options of the command that was given, as Python names.
        commands: Names of the commands.
        positional: Those options that are words without a flag; they are written in capitals, as in the help.
        given: The flags that were given, by the option that a message calls them, for "latent = 0; needed: ...".
    """

    def part(match: re.Match[str]) -> str:
        if match["method"] is not None:
            name = _METHODS.get(match["method"], match["method"]).replace("_", "-")
            return f"`tightbound {name}`" if name in commands else match[0]
        if match["assigned"] is not None:
            word = (given or {}).get(match["assigned"])
            return match[0] if word is None else f"{word} "
        name, value = match["name"], match["value"]
        if match["kept"] is not None or name not in options:
            return match[0]
        if name in positional:
            return name.upper() if value is None else value.strip("'\"")
        return _written(name, value)

    return _PARTS.sub(part, message)


def flag(name: str) -> str:
    """Return the flag of an option: "--batch-size" for "batch_size"."""
    return f"--{name.replace('_', '-')}"


def _written(name: str, value: str | None) -> str:
    """Return an option as it is written on the command line."""
    if value in (None, "True"):
        return flag(name)
    if value == "False":
        return flag(f"no_{name}")
    if value.startswith("{"):
        return f'{flag(name)} "{value}"'
    if value.startswith("("):  # several values, such as resize=(64, 64)
        return f"{flag(name)} {' '.join(part.strip() for part in value[1:-1].split(',') if part.strip())}"
    if value.startswith("'"):
        text = ast.literal_eval(value)
        return f"{flag(name)} {text}" if re.fullmatch(r"[\w.\-/:]+", text) else f'{flag(name)} "{text}"'
    return f"{flag(name)} {value}"
