"""One option with several values, on the command line of a sweep. Free of torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tightbound.cli.arguments import Command, Sweep
from tightbound.config import Config
from tightbound.core.errors import InputError, suggestion

# not those that change the data: their numbers would not compare
OPTIONS = tuple(
    f.name
    for f in dataclasses.fields(Config)
    if f.name not in ("data", "levels", "domain", "kinds", "resize", "grey", "test")
)


@dataclass(frozen=True)
class Swept(Command):
    """A sweep as it was read."""

    action = Sweep.action

    field: str  # the option that varies
    points: tuple[tuple[str, Sweep], ...]  # its values as they were written, and the whole command for each


def several(argv: Sequence[str]) -> tuple[str, tuple[str, ...], list[str]]:
    """The option that has several values, these values, and the other words.

    Raises:
        InputError: none or more than one such option, one that training does not have, or a value twice.
    """
    if "--resume" in argv:
        raise InputError("a sweep has no --resume; the same command goes on where it was stopped")
    runs = _flags(argv)
    found = [i for i, words in runs if len(words) > 2 and words[0] != "--resize"]
    if len(found) > 1:
        both = " and ".join(argv[i] for i in found)
        raise InputError(f"{both} have several values each; sweep over one option, and give the others one value")
    if not found:
        raise InputError("no option has several values; a sweep needs two or more, such as --beta 0.1 1 10")
    (start,) = found
    flag, *values = dict(runs)[start]
    field = flag.removeprefix("--").replace("-", "_")
    if field not in OPTIONS:
        known = [f"--{name.replace('_', '-')}" for name in OPTIONS]
        raise InputError(f"there is no option {flag} to sweep over; {suggestion(flag, known)}")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise InputError(f"{flag} has the value {twice} twice; give each once")
    return field, tuple(values), [*argv[:start], *argv[start + 1 + len(values) :]]


def _flags(argv: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Where each flag stands, and its words: itself and all up to the next flag."""
    starts = [i for i, word in enumerate(argv) if word.startswith("--")]
    words = [[argv[i], *_values(argv[i + 1 :])] for i in starts]
    return list(zip(starts, words, strict=True))


def _values(words: Sequence[str]) -> list[str]:
    values = []
    for word in words:
        if word.startswith("-") and not _is_number(word):
            break
        values.append(word)
    return values


def _is_number(word: str) -> bool:
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False
