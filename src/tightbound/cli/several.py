"""Options with several values or a range, on the command line of a sweep. Free of torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tightbound.cli.arguments import Command
from tightbound.cli.training import Sweep
from tightbound.components import parse
from tightbound.config import Config
from tightbound.core.errors import InputError, suggestion
from tightbound.search.space import Dimension, Space, ranges

# not those that change the data: their numbers would not compare
OPTIONS = tuple(
    f.name
    for f in dataclasses.fields(Config)
    if f.name not in ("data", "levels", "domain", "kinds", "resize", "gray", "test")
)


@dataclass(frozen=True)
class Swept(Command):
    """A sweep as it was read."""

    action = Sweep.action

    space: Space  # what varies
    rest: tuple[str, ...]  # the other words
    read: Callable[[Sequence[str]], Sweep]  # words -> the command, at one point

    def at(self, values: Mapping[str, str]) -> Sweep:
        """The command for these values."""
        words = [word for dimension in self.space for word in dimension.argv(values[dimension.field])]
        return self.read([*self.rest, *words])

    @property
    def start(self) -> dict[str, str]:
        """The first value of each."""
        return {d.field: d.extremes()[0] for d in self.space}

    @property
    def first(self) -> Sweep:
        """That for the first value of each."""
        return self.at(self.start)


def several(argv: Sequence[str]) -> tuple[Space, tuple[str, ...]]:
    """The options that vary, and the other words.

    Raises:
        InputError: none, one that training does not have, or a value twice.
    """
    if "--resume" in argv:
        raise InputError("a sweep has no --resume; the same command goes on where it was stopped")
    space, rest = list[Dimension](), list[str]()
    for words in _flags(argv):
        flag, *values = words
        field = flag.removeprefix("--").replace("-", "_")
        ranged = field in OPTIONS and any(_ranged(flag, value) for value in values)
        if not flag.startswith("--") or flag == "--resize" or not (len(values) > 1 or ranged):
            rest += words
            continue
        if field not in OPTIONS:
            known = [f"--{name.replace('_', '-')}" for name in OPTIONS]
            raise InputError(f"there is no option {flag} to sweep over; {suggestion(flag, known)}")
        if field in [d.field for d in space]:
            raise InputError(f"{flag} is given twice; give all of its values once")
        space.append(Dimension(field, tuple(values)))
    if not space:
        for word in rest:
            if "(" in word:
                parse(word)  # says what is wrong with a range that cannot be read
        raise InputError("no option has several values; a sweep needs two or more, such as --beta 0.1 1 10")
    for dimension in space:
        dimension.check()
    return tuple(space), tuple(rest)


def _ranged(flag: str, value: str) -> bool:
    try:
        return bool(ranges(value))
    except InputError as error:
        raise InputError(f"{flag} {value}: {error}") from None


def _flags(argv: Sequence[str]) -> list[list[str]]:
    """Each flag with its words, all up to the next; the words before the first stand alone."""
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
