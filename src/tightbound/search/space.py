"""Options that vary in a sweep, and the values that each can take. Does not import torch."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from tightbound.components import Spec, parse
from tightbound.config import Config
from tightbound.core.errors import InputError, number, suggestion

if TYPE_CHECKING:
    from optuna.trial import Trial

# without options that change the data or the defaults of others, since runs would not be comparable
_EXCLUDED = ("data", "recipe", "levels", "domain", "kinds", "labels", "ignore", "id", "resize", "gray", "test")
OPTIONS = tuple(f.name for f in dataclasses.fields(Config) if f.name not in _EXCLUDED)
_TYPES = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(Config).items()}

Pick = Callable[[str, "Range"], float]  # parameter name, range -> a number


@dataclass(frozen=True)
class Range:
    """Range of numbers from `low` to `high`, both included.

    Args:
        low, high: Limits.
        log: Uniform on a logarithmic scale.
        integer: Integers only.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Range | None:
        """Return the range that a spec describes, or None if it describes something else.

        Raises:
            InputError: The limits are missing, in the wrong order or out of range.
        """
        if spec.name not in ("uniform", "log", "int") or not spec.args:
            return None
        integer, options = spec.name == "int", dict(spec.kwargs)
        log = options.pop("log", False) if integer else spec.name == "log"
        if len(spec.args) != 2 or options or not isinstance(log, bool):
            forms = "uniform(low, high), log(low, high) or int(low, high, log=False)"
            raise InputError(f"cannot read the range {str(spec)!r}; write {forms}")
        low, high = spec.args
        low = number("low", low, above=0 if log else -math.inf, whole=integer)
        high = number("high", high, above=low, whole=integer)
        return cls(low, high, log, integer)

    def suggest(self, trial: Trial, name: str) -> float:
        """Let an Optuna trial choose a number, rounded to four digits for tables."""
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Dimension:
    """Option that varies in a sweep.

    Args:
        field: Name of the option.
        words: Values as text: plain values, ranges, and components with ranges as arguments.

    Raises:
        InputError: The option cannot vary, a value is given twice, or a range does not fit the option's type.
    """

    field: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.field not in OPTIONS:
            raise InputError(f"{self.field}= cannot vary in a sweep; {suggestion(self.field, OPTIONS)}")
        seen = [_meaning(word) for word in self.words]
        for word, own in zip(self.words, seen, strict=True):
            if seen.count(own) > 1:
                raise InputError(f"{self.field}={word} was given twice; pass each value once")
            if int in _TYPES[self.field] and any(not found.integer for found in ranges(word)):
                raise InputError(f"{self.field}={word} was given; needed: integers, such as int(2, 64)")

    @property
    def ranged(self) -> bool:
        """Whether any value contains a range."""
        return any(ranges(word) for word in self.words)

    def draw(self, trial: Trial) -> str:
        """Let an Optuna trial choose one value."""
        word = trial.suggest_categorical(self.field, self.words) if self.words[1:] else self.words[0]
        return _fill(word, self.field, lambda name, within: within.suggest(trial, name))

    def extremes(self) -> tuple[str, ...]:
        """Return every value with its ranges replaced by their lower limits, and by their upper limits."""
        ends: tuple[Pick, Pick] = (lambda name, within: within.low, lambda name, within: within.high)
        return tuple(dict.fromkeys(_fill(word, self.field, end) for word in self.words for end in ends))


Space = tuple[Dimension, ...]


def space_of(values: Mapping[str, Any]) -> Space:
    """Return the dimensions for `{option: value, range or sequence of these}`.

    Raises:
        InputError: No option has several values or a range, or one of them cannot vary (see `Dimension`).
    """
    lists = {k: list(v) if isinstance(v, Iterable) and not isinstance(v, str) else [v] for k, v in values.items()}
    space = tuple(Dimension(field, tuple(map(str, words))) for field, words in lists.items() if words)
    if not any(d.ranged or len(d.words) > 1 for d in space):
        raise InputError("no option has several values; a sweep needs two or more, such as beta=(0.1, 1, 10)")
    return space


def configured(base: Config, values: Mapping[str, str]) -> Config:
    """Return the config with some options replaced by values written as text.

    Raises:
        InputError: A value has the wrong type or is out of range.
    """
    changes: dict[str, Any] = {field: _typed(field, word) for field, word in values.items()}
    if "epochs" in changes and "steps" not in changes:
        changes["steps"] = None  # varying epochs replace the steps of a recipe
    return base.replace(**changes)


def _typed(field: str, word: str) -> Any:
    types = _TYPES[field]
    choices = [choice for kind in types for choice in get_args(kind)]  # such as "auto", in place of a number
    try:
        if type(None) in types and word == "None":
            return None
        if word in choices:
            return word
        if bool in types:
            return {"true": True, "false": False}[word.lower()]
        return int(word) if int in types else float(word) if float in types else word
    except (ValueError, KeyError):
        needed = "True or False" if bool in types else "an integer" if int in types else "a number"
        needed = " or ".join([needed, *map(repr, choices)])
        raise InputError(f"{field}={word} was given; needed: {needed}") from None


def grid(space: Space) -> dict[str, dict[str, str]]:
    """Return all combinations of the values, by run name; the last option varies fastest.

    A name depends only on the values, so runs keep their names when values are added.
    """
    fields = [d.field for d in space]
    points = [dict(zip(fields, words, strict=True)) for words in itertools.product(*(d.words for d in space))]
    plain = ["_".join(f"{k.replace('_', '-')}-{_as_file(v)}" for k, v in point.items()) for point in points]
    often = Counter(plain)
    return {
        name if often[name] == 1 and len(name) <= 120 else f"{name[:100]}-{_digest(point)}": point
        for name, point in zip(plain, points, strict=True)
    }


def _as_file(word: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", word).strip("_") or "value"


def _digest(point: Mapping[str, str]) -> str:
    return blake2b(repr(tuple(point.values())).encode(), digest_size=8).hexdigest()


def label(values: Mapping[str, str]) -> str:
    """Return values as readable text: "beta = 1, latent = 8"."""
    return ", ".join(f"{field} = {value}" for field, value in values.items())


def ranges(word: str) -> list[Range]:
    """Return the ranges that a word contains."""
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


def _meaning(word: str) -> str | float:
    """Convert a word to a number if possible, so that 1, 1.0 and 1e0 are equal."""
    try:
        return float(word)
    except ValueError:
        return word


def _spec(word: str) -> Spec | None:
    try:
        return parse(word) if "(" in word else None
    except InputError:
        return None  # the option parses the word again, and raises the error


def _fill(word: str, name: str, pick: Pick) -> str:
    return str(_filled(_spec(word), name, pick)) if ranges(word) else word


def _filled(value: Any, name: str, pick: Pick) -> Any:
    if not isinstance(value, Spec):
        return value
    if (found := Range.of(value)) is not None:
        return pick(name, found)
    start = f"{name}.{value.name}"
    args = tuple(_filled(a, f"{start}.{i}", pick) for i, a in enumerate(value.args))
    return dataclasses.replace(
        value, args=args, kwargs={k: _filled(a, f"{start}.{k}", pick) for k, a in value.kwargs.items()}
    )
