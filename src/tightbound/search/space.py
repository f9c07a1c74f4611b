"""What varies: options with the values they may take, as the command line writes them. Free of torch."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tightbound.components import Spec, parse
from tightbound.config import Config
from tightbound.core.errors import InputError, number

FORMS = "uniform(low, high), log(low, high) or int(low, high, log=False)"
_TRUTHS = {f.name for f in dataclasses.fields(Config) if f.type == "bool"}
_WHOLE = {f.name for f in dataclasses.fields(Config) if "int" in str(f.type) and "float" not in str(f.type)}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: real ones, or whole ones; on a log scale where asked."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Range | None:
        """The range that a spec writes; None where it writes something else.

        Raises:
            InputError: limits that are none.
        """
        if spec.name not in ("uniform", "log", "int") or not spec.args:
            return None
        integer, options = spec.name == "int", dict(spec.kwargs)
        log = options.pop("log", False) if integer else spec.name == "log"
        if len(spec.args) != 2 or options or not isinstance(log, bool):
            raise InputError(f"cannot read the range {str(spec)!r}; write {FORMS}")
        low, high = spec.args
        low = number("low", low, above=0 if log else -math.inf, whole=integer)
        high = number("high", high, above=low, whole=integer)
        return cls(low, high, log, integer)

    def nearest(self, value: float) -> float:
        """A number of it, of four digits, so that what is shown is what was used."""
        return int(value) if self.whole else min(max(float(f"{value:.4g}"), self.low), self.high)


class Suggest(Protocol):
    """What picks values."""

    def choice(self, name: str, options: Sequence[str]) -> str:
        """One of these."""
        ...

    def number(self, name: str, within: Range) -> float:
        """A number of this range."""
        ...


@dataclass(frozen=True)
class Dimension:
    """An option that varies.

    Arguments:
        field: Its name.
        words: What it may be, as the command line writes it: values; ranges; parts with ranges as arguments.
    """

    field: str
    words: tuple[str, ...]

    @property
    def flag(self) -> str:
        """As the command line writes it."""
        return f"--{self.field.replace('_', '-')}"

    def check(self) -> None:
        """Refuses what names no values.

        Raises:
            InputError: a word twice, a range that cannot be read, or one of real numbers for a whole number.
        """
        meant = [_meant(word) for word in self.words]
        twice = next((word for word, own in zip(self.words, meant, strict=True) if meant.count(own) > 1), None)
        if twice is not None:
            raise InputError(f"{self.flag} has the value {twice} twice; give each once")
        for word in self.words:
            if self.field in _WHOLE and any(not found.whole for found in ranges(word)):
                raise InputError(f"{self.flag} {word}; needed: whole numbers, int(low, high)")

    @property
    def ranged(self) -> bool:
        """Whether it takes more values than can be listed."""
        return any(ranges(word) for word in self.words)

    def draw(self, suggest: Suggest) -> str:
        """One value."""
        word = suggest.choice(self.field, self.words) if self.words[1:] else self.words[0]
        return _fill(word, self.field, suggest)

    def extremes(self) -> tuple[str, ...]:
        """Values by which the rest can be judged before anything is trained: words, and ranges at both ends."""
        found = [_fill(word, self.field, end) for word in self.words for end in (_End(False), _End(True))]
        return tuple(dict.fromkeys(found))

    def argv(self, value: str) -> list[str]:
        """The words of a command line that set it."""
        if self.field in _TRUTHS:
            truths = {"true": "", "false": "no-"}
            if value.lower() not in truths:
                raise InputError(f"{self.flag} {value}; needed: True or False")
            return [f"--{truths[value.lower()]}{self.flag[2:]}"]
        return [self.flag, value]


Space = tuple[Dimension, ...]


def _meant(word: str) -> str | float:
    """The number that a word is, if it is one: 1, 1.0 and 1e0 are the same."""
    try:
        return float(word)
    except ValueError:
        return word


def title(values: Mapping[str, str]) -> str:
    """Values in words."""
    return ", ".join(f"{field} = {value}" for field, value in values.items())


def grid(space: Space) -> list[dict[str, str]]:
    """All combinations; the last option varies fastest."""
    fields = [d.field for d in space]
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*(d.words for d in space))]


def ranges(word: str) -> list[Range]:
    """Those in a word."""
    spec = _spec(word)
    return [] if spec is None else list(_ranges(spec))


def _ranges(value: Any) -> Iterator[Range]:
    if not isinstance(value, Spec):
        return
    if (found := Range.of(value)) is not None:
        yield found
        return
    for argument in (*value.args, *value.kwargs.values()):
        yield from _ranges(argument)


def _spec(word: str) -> Spec | None:
    """A word that is a part with arguments, or a range; None of others."""
    try:
        return parse(word) if "(" in word else None
    except InputError:
        return None  # what it is of is read, and refused, with the rest of the command


def _fill(word: str, name: str, suggest: Suggest) -> str:
    spec = _spec(word)
    if spec is None or not list(_ranges(spec)):
        return word
    return str(_filled(spec, name, suggest))


def _filled(value: Any, name: str, suggest: Suggest) -> Any:
    if not isinstance(value, Spec):
        return value
    if (found := Range.of(value)) is not None:
        return found.nearest(suggest.number(name, found))
    start = f"{name}.{value.name}"
    args = tuple(_filled(a, f"{start}.{i}", suggest) for i, a in enumerate(value.args))
    return dataclasses.replace(
        value, args=args, kwargs={k: _filled(a, f"{start}.{k}", suggest) for k, a in value.kwargs.items()}
    )


@dataclass(frozen=True)
class _End:
    """Picks the end of each range."""

    upper: bool

    def choice(self, name: str, options: Sequence[str]) -> str:
        return options[0]

    def number(self, name: str, within: Range) -> float:
        return within.high if self.upper else within.low
