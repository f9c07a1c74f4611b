"""From raw numbers to stored ones: which set the values lie in, and how they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tightbound.core.domain import BINARY, COUNTS, REAL, UNIT, Domain
from tightbound.core.errors import InputError, suggestion

KINDS = ("binary", "counts", "unit", "real")
MOST_LEVELS = 65_536
MOST_COUNTED = 2**24  # up to which float32 holds every whole number
TOLERANCE = 1e-4  # of a level
_CHUNK = 1 << 22  # numbers looked at together


@dataclass(frozen=True)
class Encoding:
    """How raw values become stored ones: `stored = dtype(raw * scale)`.

    Called with an array of raw values, it gives the stored ones and refuses values outside the domain.
    """

    domain: Domain
    dtype: np.dtype
    scale: int = 1

    def __call__(self, x: np.ndarray, name: str = "the data") -> np.ndarray:
        """x (B, ...) as stored, the same shape.

        Raises:
            InputError: where a value is not finite, or outside the domain.
        """
        if x.size == 0:
            return x.astype(self.dtype)
        seen = Seen.of(x, self.scale, name)
        _check(seen, self.domain, self.scale, name)
        return self.convert(x)

    def convert(self, x: np.ndarray) -> np.ndarray:
        """Like a call, for values known to lie in the domain."""
        if x.dtype == self.dtype and self.scale == 1:
            return x
        if self.domain.discrete and x.dtype.kind == "f":
            out = np.empty(x.shape, self.dtype)
            for part, into in zip(_rows(x), _rows(out), strict=True):
                into[...] = np.rint(part * np.float64(self.scale))
            return out
        return x.astype(self.dtype)


@dataclass
class Seen:
    """What a pass over the values found."""

    low: float
    high: float
    integers: bool
    multiples: bool  # of 1 / scale, in [0, 1]
    inexact: bool  # stored as floats

    def merged(self, other: Seen) -> Seen:
        """What a pass over these values and others found."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        integers, multiples = self.integers and other.integers, self.multiples and other.multiples
        return Seen(low, high, integers, multiples, self.inexact or other.inexact)

    @classmethod
    def of(cls, x: np.ndarray, scale: int, name: str) -> Seen:
        """Of values (N, ...); raises InputError where one is not finite."""
        _finite(x, name)
        seen = cls(np.inf, -np.inf, True, True, x.dtype.kind == "f")
        for part in _rows(x):
            seen.low, seen.high = min(seen.low, float(part.min())), max(seen.high, float(part.max()))
            if seen.inexact and seen.integers:
                seen.integers = bool((part == np.rint(part)).all())
            seen.multiples = seen.multiples and seen.low >= 0 and seen.high <= 1
            if seen.inexact and seen.multiples:
                level = part * np.float64(scale)
                seen.multiples = bool((np.abs(level - np.rint(level)) <= TOLERANCE).all())
        return seen


def infer(x: np.ndarray, told: Domain | None = None, name: str = "the data") -> tuple[Encoding, str]:
    """The encoding of raw values (N, ...), and a line that says how it was found.

    Arguments:
        x: Raw values.
        told: What the user says they are, which overrules the inference; see `override`.
        name: Of the source, for messages.

    Raises:
        InputError: for values that are not finite, or that contradict `told`.
    """
    numeric(x, name)
    return judge(Seen.of(x, sought(told), name), x, told, name)


def sought(told: Domain | None) -> int:
    """The scale whose multiples are looked for."""
    return 255 if told is None else max((told.levels or 2) - 1, 1)


def judge(seen: Seen, x: np.ndarray, told: Domain | None, name: str) -> tuple[Encoding, str]:
    """As `infer`, of values that were looked at part by part; `x` is the first part."""
    if told is not None:
        scaled = told.kind == "levels" and seen.inexact and not seen.integers and seen.high <= 1
        encoding = stored(told, (told.levels or 0) - 1 if scaled else 1)
        _check(seen, told, encoding.scale, name)
        if told.kind == "real":
            _check_precision(x, name)
        return encoding, f"values: {told}, as told"
    span = f"values: {x.dtype} in {seen.low:g}..{seen.high:g}"
    unit = seen.low >= 0 and seen.high <= 1
    if unit and seen.integers:
        return stored(BINARY), f"{span}, taken as {BINARY}"
    if unit and seen.multiples:
        how = "all multiples of 1/255, taken as integers 0..255 and stored as uint8"
        return stored(Domain("levels", 256), 255), f"{span}, {how}"
    if unit:
        return stored(UNIT), f"{span}, taken as {UNIT}"
    countable = seen.integers and seen.low >= 0 and seen.high < MOST_LEVELS
    if countable and not seen.inexact:
        found = Domain("levels", 256 if x.dtype == np.uint8 else int(seen.high) + 1)
        return stored(found), f"{span}, taken as {found}"
    _check(seen, REAL, 1, name)
    _check_precision(x, name)
    hint = f"; if they are levels, say levels={int(seen.high) + 1}" if countable else ""
    return stored(REAL), f"{span}, taken as {REAL}{hint}"


def _check_precision(x: np.ndarray, name: str) -> None:
    """Refuses columns whose variation float32 cannot hold."""
    columns = x.reshape(len(x), -1) if x.ndim == 2 else x.reshape(-1, 1)
    for i, column in enumerate(columns.T):
        part = column[:100_000].astype(np.float64)
        spread = part.std()
        if spread > 0 and np.abs(part - part.astype(np.float32)).max() > 1e-2 * spread:
            raise InputError(
                f"{name}: column {i} varies by {spread:.3g} around {part.mean():.10g}, finer than float32 holds there; "
                "subtract an offset from it first"
            )


def override(levels: int | None, domain: str | None) -> Domain | None:
    """The domain that a user asks for, or None.

    Raises:
        InputError: for an unknown name, both at once, or a number of levels outside 2..65536.
    """
    if levels is not None and domain is not None:
        raise InputError(f"levels={levels} and domain={domain!r} were both given; give one of them")
    if levels is not None:
        if isinstance(levels, bool) or not isinstance(levels, int | np.integer) or not 2 <= levels <= MOST_LEVELS:
            raise InputError(f"levels={levels!r} was given; it must be an integer from 2 to {MOST_LEVELS}")
        return BINARY if levels == 2 else Domain("levels", int(levels))
    if domain is None:
        return None
    if domain not in KINDS:
        raise InputError(f"no domain is called {domain!r}; {suggestion(str(domain), KINDS)}, or give levels=K")
    return {"binary": BINARY, "counts": COUNTS, "unit": UNIT, "real": REAL}[domain]


def numeric(x: np.ndarray, name: str) -> None:
    """Refuses an array that holds no numbers, or none at all.

    Raises:
        InputError: with the dtype or the shape, and the reason.
    """
    reasons = {
        "O": "Python objects; convert to one numeric dtype (rows of one length)",
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
        raise InputError(f"{name} is empty: its shape is {x.shape}; it must hold at least 2 data")


def channels_first(x: np.ndarray, name: str) -> tuple[np.ndarray, str]:
    """A view of x (N, ...) as (N, D) or (N, C, H, W), and a line that says how its shape was read.

    Raises:
        InputError: for a rank below 2 or above 4.
    """
    given = f"shape: {x.shape}"
    if x.ndim < 2:
        raise InputError(
            f"{name} has shape {x.shape}; it must have at least one axis after that of the data: "
            "use x[:, None] for data of one number, or x[None] for a single example"
        )
    if x.ndim > 4:
        raise InputError(
            f"{name} has shape {x.shape}, rank {x.ndim}; the most is 4, (N, C, H, W): "
            "use x.reshape(len(x), -1) for flat data"
        )
    if x.ndim == 2:
        return x, f"{given}, read as {x.shape[0]} data of {x.shape[1]} numbers"
    if x.ndim == 3:
        return x[:, None], f"{given}, read as {x.shape[0]} pictures (1, H, W)"
    if x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return x.transpose(0, 3, 1, 2), f"{given}, read as (N, H, W, C); channels moved to the front"
    return x, f"{given}, read as (N, C, H, W)"


def stored(domain: Domain, scale: int = 1) -> Encoding:
    """The encoding of values that lie in a domain once multiplied by `scale`: uint8 up to 256 levels."""
    if not domain.discrete:
        return Encoding(domain, np.dtype(np.float32))
    return Encoding(domain, np.dtype(np.uint8 if domain.high <= 255 else np.int32), scale)


def _check(seen: Seen, domain: Domain, scale: int, name: str) -> None:
    span = f"{name}: values lie in {seen.low:g}..{seen.high:g}"
    if domain.kind == "real":
        if max(abs(seen.low), abs(seen.high)) > float(np.finfo(np.float32).max):
            raise InputError(f"{span}, beyond what float32 holds; rescale them")
        return
    if domain.kind == "counts" and seen.high > MOST_COUNTED:
        raise InputError(f"{span}, beyond {MOST_COUNTED}, up to which float32 holds whole numbers; use domain='real'")
    if seen.low < 0 or seen.high > domain.high / scale:
        fix = "rescale them" if domain.kind == "unit" else "give levels=K for integers 0..K-1, or domain='real'"
        raise InputError(f"{span}, outside {domain}; {fix}")
    if domain.discrete and not (seen.integers if scale == 1 else seen.multiples):
        what = "not all are integers" if scale == 1 else f"not all are multiples of 1/{scale}"
        raise InputError(f"{span} but {what}, so they are not {domain}; use domain='unit' or 'real', or round them")


def _finite(x: np.ndarray, name: str) -> None:
    if x.dtype.kind != "f":
        return
    bad, first = 0, None
    done = 0
    for part in _rows(x):
        wrong = ~np.isfinite(part)
        count = int(wrong.sum())
        if count and first is None:
            at = np.unravel_index(int(wrong.argmax()), wrong.shape)
            first = (done + int(at[0]), *(int(i) for i in at[1:]))
        bad, done = bad + count, done + len(part)
    if bad:
        numbers = "value is" if bad == 1 else "values are"
        raise InputError(f"{name}: {bad} {numbers} NaN or infinite, the first at {first}; remove or fill them")


def _rows(x: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, x[0].size)) if len(x) else 1
    return (x[i : i + step] for i in range(0, len(x), step))
