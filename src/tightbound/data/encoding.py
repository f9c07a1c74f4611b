"""From raw numbers to stored ones: the domain of the values, and how they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tightbound.core.domain import BINARY, COUNTS, PLAIN, REAL, UNIT, Domain
from tightbound.core.errors import InputError, suggestion

TRAINED = "the model was trained on such values only"  # advice for values outside the domain of a model
MAX_LEVELS = 65_536
MAX_COUNT = 2**24  # float32 holds every whole number up to here
MAX_WHOLE = 2**53  # float64 holds every whole number up to here
FEW = 20  # rows of a table that may all differ by chance
_TOLERANCE = 1e-4  # of a level
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = 1e-36  # standard deviation, so that ten-thousandths of it are still told apart
_CHUNK = 1 << 22  # numbers per part of a pass


@dataclass(frozen=True)
class Encoding:
    """How raw values are stored: `stored = dtype(raw * scale)`."""

    domain: Domain
    dtype: np.dtype
    scale: int = 1
    fix: str | None = None  # how to fix values outside the domain; None: by declaring another domain

    def __call__(self, x: np.ndarray, name: str = "the data") -> np.ndarray:
        """Return x (B, ...) as stored."""
        if x.size:
            _check(Seen.of(x, self.scale, name), self.domain, self.scale, name, self.fix)
        return self.convert(x)

    def convert(self, x: np.ndarray) -> np.ndarray:
        """Return values as stored that are known to lie in the domain."""
        if x.dtype == self.dtype and self.scale == 1:
            return x
        if self.domain.discrete and x.dtype.kind == "f":
            out = np.empty(x.shape, self.dtype)
            for part, into in zip(_parts(x), _parts(out), strict=True):
                into[...] = np.rint(part * np.float64(self.scale))
            return out
        return x.astype(self.dtype)


@dataclass
class Seen:
    """Result of a pass over values."""

    low: float = np.inf
    high: float = -np.inf
    integers: bool = True
    multiples: bool = True  # of 1 / scale, in [0, 1]
    inexact: bool = False  # stored as floating-point numbers

    def merged(self, other: Seen) -> Seen:
        """Return the result of a pass over both sets of values."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        integers, multiples = self.integers and other.integers, self.multiples and other.multiples
        return Seen(low, high, integers, multiples, self.inexact or other.inexact)

    @classmethod
    def of(cls, x: np.ndarray, scale: int, name: str) -> Seen:
        """Look at values (N, ...); raise InputError if one is not finite."""
        _check_finite(x, name)
        seen = cls(inexact=x.dtype.kind == "f")
        for part in _parts(x):
            seen.low, seen.high = min(seen.low, float(part.min())), max(seen.high, float(part.max()))
            if seen.inexact and seen.integers:
                seen.integers = bool((part == np.rint(part)).all())
            seen.multiples = seen.multiples and seen.low >= 0 and seen.high <= 1
            if seen.inexact and seen.multiples:
                level = part * np.float64(scale)
                near = np.maximum(_TOLERANCE, level * np.finfo(x.dtype).eps)  # float16 holds a share less exactly
                seen.multiples = bool((np.abs(level - np.rint(level)) <= near).all())
        return seen


def infer(
    x: np.ndarray,
    declared: Domain | None = None,
    name: str = "the data",
    fix: str | None = None,
    *,
    sample: bool = False,
    header: Sequence[str] = (),
) -> tuple[Encoding, str]:
    """Return the encoding of raw values, and a note on how it was found.

    Args:
        x: Raw values (N, ...).
        declared: Domain that the user declared, which overrules the inference.
        name: Name of the source, for messages.
        fix: Advice for values outside the declared domain; None: declare another domain.
        sample: Whether these are some of the values, so that others may be of another kind.
        header: Names of the columns of a table, for messages.
    """
    check_numeric(x, name)
    return judge(Seen.of(x, scale_of(declared), name), x, declared, name, fix, sample=sample, header=header)


def held(x: np.ndarray, domain: Domain, words: Sequence[str] | None = None) -> np.ndarray:
    """Return which entries x (N,) a column of this domain can hold as float32; NaN is none of them.

    Args:
        x: Numbers, or indices of words.
        domain: Domain of the column.
        words: The words that the indices stand for; None: x holds numbers.
    """
    if domain.kind == "values":
        with np.errstate(over="ignore"):
            return np.isin(x.astype(np.float32), np.array(domain.values, np.float32))
    if domain.kind == "categories" and (words is not None or all(map(is_number, domain.words))):
        distinct, places = np.unique(x, return_inverse=True)
        names = (as_word(v) if words is None or np.isnan(v) else words[int(v)] for v in distinct)
        return np.array([name in domain.words for name in names], bool)[places] & ~np.isnan(x)
    top = MAX_COUNT if domain.kind == "counts" else largest(domain)
    inside = (x >= max(domain.low, -_LARGEST)) & (x <= top)
    if not domain.discrete:
        return inside
    whole = inside & (x == np.rint(x))
    some = x[inside]
    if (
        domain.kind == "levels"
        and some.size
        and some.max() <= 1
        and (domain.given == "shares" or not whole[inside].all())
    ):
        level = x * domain.high  # shares of the highest one
        return inside & (np.abs(level - np.rint(level)) <= _TOLERANCE)
    return whole


def largest(domain: Domain) -> float:
    """Return the largest number of a domain that can be stored; of whole numbers, that squares can be taken of."""
    return MAX_WHOLE if domain.kind == "whole" else min(domain.high, _LARGEST)


def check_exact(x: np.ndarray, name: str) -> None:
    """Raise InputError if different integers in x (N,) become equal as float64; other types are not checked."""
    if x.dtype.kind not in "iuO" or not len(x) or max(-int(x.min()), int(x.max())) <= MAX_WHOLE:
        return
    distinct = np.unique(x)
    same = np.flatnonzero(distinct[1:].astype(np.float64) == distinct[:-1].astype(np.float64))
    if len(same):
        raise InputError(
            f"{name} holds {distinct[same[0]]} and {distinct[same[0] + 1]}, which floating-point numbers cannot tell "
            "apart; subtract an offset from them, or pass them as words of the kind 'categories'"
        )


def as_word(number: float) -> str:
    """Return a number as the name of a category."""
    return str(int(number)) if abs(number) < 2**63 and number == np.rint(number) else f"{number:.9g}"


def is_number(cell: str) -> bool:
    """Whether a cell of text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def scale_of(declared: Domain | None) -> int:
    """Return the scale whose multiples a pass looks for."""
    return 255 if declared is None else max((declared.levels or 2) - 1, 1)


def judge(
    seen: Seen,
    x: np.ndarray,
    declared: Domain | None,
    name: str,
    fix: str | None = None,
    *,
    sample: bool = False,
    header: Sequence[str] = (),
) -> tuple[Encoding, str]:
    """As `infer`, for values that were looked at part by part; `x` is the first part."""
    if declared is not None:
        encoding = _declared(seen, x.dtype, declared, name)
        _check(seen, declared, encoding.scale, name, fix)
        if declared.kind in ("real", "semicontinuous"):
            _check_precision(x, name, header)
        return encoding, f"values: {declared}, as declared"
    span = f"values: {x.dtype} in {seen.low:g}..{seen.high:g}"
    unit = seen.low >= 0 and seen.high <= 1
    if unit and seen.integers:
        return stored(BINARY), f"{span}, taken as {BINARY}"
    if unit and seen.multiples:
        how = "all multiples of 1/255, taken as integers 0..255 and stored as uint8"
        return stored(Domain("levels", 256, given="shares"), 255), f"{span}, {how}"
    if unit:
        return stored(UNIT), f"{span}, taken as {UNIT}"
    table = x.ndim <= 2
    countable = seen.integers and seen.low >= 0 and seen.high < (MAX_COUNT if table else MAX_LEVELS)
    if countable and not (sample and table and seen.inexact):  # the other examples may hold fractions
        full = x.dtype == np.uint8 or 128 <= seen.high <= 255
        found = Domain("levels", 256 if full else int(seen.high) + 1, given="floats" if seen.inexact else "")
        found = COUNTS if table and seen.high > 255 else found  # a table of larger numbers counts something
        return stored(found), f"{span}, {'whole, ' * seen.inexact}taken as {found}"
    _check(seen, REAL, 1, name)
    _check_precision(x, name, header)
    return stored(REAL), f"{span}, taken as {REAL}"


def _declared(seen: Seen, dtype: np.dtype, domain: Domain, name: str) -> Encoding:
    """Return the encoding of values in a declared domain, which may be levels or shares of the highest one."""
    if domain.kind == "unit":
        if dtype == np.uint8 and seen.high == 1 and not domain.given:
            raise InputError(
                f"{name} holds bytes (uint8) that are all 0 or 1; needed: {domain}, as floating-point numbers: convert "
                "them if they are such numbers, or divide levels by 255"
            )
        return stored(replace(domain, given="" if seen.inexact else "integers"))
    top = (domain.levels or 2) - 1
    if domain.kind != "levels" or top == 1:
        return stored(domain)
    if dtype.kind == "b":
        raise InputError(
            f"{name} holds booleans; needed: {domain}: convert them to integers for the levels 0 and 1, or multiply "
            f"them by {top}"
        )
    given = domain.given
    if not seen.inexact or seen.high > 1:
        given = "floats" if seen.inexact else ""
    elif not seen.integers:
        given = "shares"
    elif not given and seen.high == 1:
        raise InputError(
            f"{name} holds floating-point numbers that are all 0 or 1: levels, or shares of the highest one; needed: "
            f"{domain}: give integers for the levels 0 and 1, or multiply by {top}"
        )
    return stored(replace(domain, given=given), top if given == "shares" else 1)


def unclear(x: np.ndarray, domain: Domain) -> bool:
    """Whether numbers within a domain could be levels or shares of the highest one, so that `infer` must tell."""
    if domain.kind == "levels":
        return x.dtype.kind == "b" or (x.dtype.kind == "f" and x.size > 0 and float(x.max()) <= 1)
    return domain.kind == "unit" and x.dtype == np.uint8


def declared_domain(levels: int | None, domain: str | None) -> Domain | None:
    """Return the domain that the user declared, or None."""
    if levels is not None and domain is not None:
        raise InputError(f"levels={levels} and domain={domain!r} were both given; give one of them")
    if levels is not None:
        if isinstance(levels, bool) or not isinstance(levels, int | np.integer) or not 2 <= levels <= MAX_LEVELS:
            raise InputError(f"levels={levels!r} was given; it must be an integer from 2 to {MAX_LEVELS}")
        return BINARY if levels == 2 else Domain("levels", int(levels), given="floats")
    if domain is None:
        return None
    if domain not in PLAIN:
        raise InputError(f"no domain is called {domain!r}; {suggestion(str(domain), PLAIN)}, or give levels=K")
    return PLAIN[domain]


def check_numeric(x: np.ndarray, name: str) -> None:
    """Raise InputError if an array holds anything but real numbers, or nothing."""
    reasons = {
        "O": "Python objects; convert them to one numeric type (rows of one length)",
        "c": "complex numbers; stack the real and imaginary parts as channels",
        "U": "strings; convert them to numbers",
        "S": "bytes; convert them to numbers",
        "M": "dates; convert them to numbers",
        "m": "time differences; convert them to numbers",
        "V": "records; stack their columns into one numeric array",
    }
    if x.dtype.kind in reasons:
        raise InputError(f"{name} holds {reasons[x.dtype.kind]}")
    if x.size == 0:
        raise InputError(f"{name} is empty: its shape is {x.shape}; it must hold at least one example")


def stored(domain: Domain, scale: int = 1) -> Encoding:
    """Return the encoding of values that lie in a domain once multiplied by `scale`: uint8 up to 256 levels."""
    if not domain.discrete or domain.kind == "whole":  # they may be larger than integers of 32 bits
        return Encoding(domain, np.dtype(np.float32))
    return Encoding(domain, np.dtype(np.uint8 if domain.high <= 255 else np.int32), scale)


def _check(seen: Seen, domain: Domain, scale: int, name: str, fix: str | None = None) -> None:
    """Raise InputError, with a fix, if values lie outside a domain."""
    span = f"{name}: values lie in {seen.low:g}..{seen.high:g}"
    if domain.kind in ("real", "semicontinuous"):
        if max(abs(seen.low), abs(seen.high)) > _LARGEST:
            raise InputError(f"{span}, beyond the range of float32; rescale them")
        return
    if domain.kind == "whole" and seen.high > MAX_WHOLE:
        raise InputError(f"{span}; whole numbers may be at most {MAX_WHOLE}: {fix or 'rescale them'}")
    if domain.kind == "counts" and seen.high > MAX_COUNT:
        other = "use domain='real'"
        raise InputError(f"{span}; float32 holds whole numbers up to {MAX_COUNT} only: {fix or other}")
    if seen.low < 0 or seen.high > domain.high / scale:
        other = "rescale them" if domain.kind == "unit" else "give levels=K for integers 0..K-1, or domain='real'"
        raise InputError(f"{span}, outside {domain}; {fix or other}")
    if domain.discrete and not (seen.integers if scale == 1 else seen.multiples):
        what = "not all are integers" if scale == 1 else f"not all are multiples of 1/{scale}"
        other = "use domain='unit' or 'real', or round them"
        raise InputError(f"{span} but {what}, so they are not {domain}; {fix or other}")


def title(column: int, header: Sequence[str]) -> str:
    """Return a column's title for messages: its number from 1, and its name or the index that `kinds` takes."""
    return f"column {column + 1} ({header[column] if header else f'index {column}'})"


def _check_precision(x: np.ndarray, name: str, header: Sequence[str] = ()) -> None:
    """Raise InputError for columns that vary by less than float32 can resolve; constant ones do not vary."""
    columns = x.reshape(len(x), -1) if x.ndim == 2 else x.reshape(-1, 1)
    for i, column in enumerate(columns.T):
        given = column[:100_000]
        if given.min() == given.max():
            continue
        part = given.astype(np.float64)
        size = np.abs(part).max()
        spread = (part / size).std() * size  # squares of tiny numbers underflow
        fix = "subtract an offset from it first" if size > _SMALLEST else "multiply it by a constant first"
        if np.abs(part - part.astype(np.float32)).max() > 1e-2 * spread or spread < _SMALLEST:
            raise InputError(
                f"{name}: {title(i, header)} varies by {spread:.3g} around {part.mean():.10g}, too little for float32; "
                f"{fix}"
            )


def _check_finite(x: np.ndarray, name: str) -> None:
    """Raise InputError for NaN and infinite values; it names the first."""
    if x.dtype.kind != "f":
        return
    bad, missing, first, done = 0, 0, (), 0
    for part in _parts(x):
        wrong = ~np.isfinite(part)
        count = int(wrong.sum())
        if count and not first:
            at = np.unravel_index(int(wrong.argmax()), wrong.shape)
            first = (done + int(at[0]), *(int(i) for i in at[1:]))
        bad, missing, done = bad + count, missing + int(np.isnan(part).sum()), done + len(part)
    if bad:
        numbers = "value is" if bad == 1 else "values are"
        what = "NaN" if missing == bad else "NaN or infinite" if missing else "infinite"
        index = ", ".join(map(str, first))
        fix = "correct or leave out such examples"
        if x.ndim == 2 and not missing:
            fix = "remove such rows, or replace the values by NaN, which stands for a missing entry"
        raise InputError(f"{name}: {bad} {numbers} {what}, the first at x[{index}]; {fix}")


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, x[0].size)) if len(x) else 1
    return (x[i : i + step] for i in range(0, len(x), step))
