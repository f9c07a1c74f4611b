"""Error classes, and checks of numbers. Does not import torch."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

COUNT = 10**9  # largest count that any argument accepts


class TightboundError(Exception):
    """Base class of errors that tightbound raises on purpose; the command line prints them on one line."""

    exit_status = 2


class InputError(TightboundError, ValueError):
    """Invalid data, file, argument or number."""


class CompositionError(TightboundError, ValueError):
    """Components that cannot be combined."""


class NotABound(CompositionError):
    """A bound on log p(x) was requested from a model whose posterior or prior has no density."""


class DensityUnknown(CompositionError, NotImplementedError):
    """A density was requested where it is unknown, as for some flows at points they did not draw themselves."""


class NonFinite(TightboundError, ArithmeticError):
    """A loss, a term or a gradient became NaN or infinite."""

    exit_status = 1


class OtherFailed(TightboundError):
    """Another process of the same launch has ended or failed."""

    exit_status = 1

    def __str__(self) -> str:
        return "another process has ended, and this one cannot continue without it"


class ReaderLost(TightboundError, OSError):
    """A data-loading process was killed."""

    exit_status = 1

    @classmethod
    def of(cls, error: Exception) -> ReaderLost | None:
        """Return this error if torch's error means that a data-loading process was killed, else None.

        Torch can raise its error at any point of the program. If the process died while it was sending a message, torch
        raises EOFError or ConnectionError instead.
        """
        if not isinstance(error, EOFError | ConnectionError) and "DataLoader worker (pid" not in str(error):
            return None
        return cls(
            "a data-loading process was killed, perhaps because memory ran out; pass resume= to continue a run from "
            "its last checkpoint"
        )


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Report a missing optional package that is imported in this block, in one line.

    Args:
        extra: Extra of tightbound that installs the package.
        what: Feature that needs the package, as a plural noun.

    Raises:
        InputError: If a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{what} need {error.name}; pip install 'tightbound[{extra}]'") from None


def first_line(error: object) -> str:
    """Return the first line of an error's message, or the error's name."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" with the nearest known word, else the list of known words."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> float:
    """Check a finite number against its limits and return it; `above` and `below` are exclusive.

    Raises:
        InputError: If the check fails; the message names the argument, its value and what is needed.
    """
    limits = [f"above {above:g}"] * (above > -math.inf) + [f"of at least {least:g}"] * (least > -math.inf)
    limits += [f"below {below:g}"] * (below < math.inf)
    good = _is_real(value) and math.isfinite(value)
    if most < COUNT or (good and value > most):  # name the general limit of counts only if it is exceeded
        limits += [f"of at most {most:,}" if whole else f"of at most {most:g}"] * (most < math.inf)
    if not good or (whole and value != int(value)) or not (least <= value <= most and above < value < below):
        kind = "a whole number" if whole else "a finite number"
        readable = value is None or isinstance(value, (bool, int, float, str, tuple, list, dict))
        shown = repr(value) if readable else type(value).__name__
        raise InputError(f"{name} = {shown}; needed: {kind} {' and '.join(limits)}".rstrip())
    return int(value) if whole else float(value) if not isinstance(value, int) else value


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)  # includes NumPy's numbers


def plain(value: Any) -> Any:
    """Return the number that a scalar of NumPy or torch holds, as from `np.logspace`, and anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def whole(name: str, value: Any, *, least: int, most: float = COUNT) -> int:
    """Check a whole number from `least` to `most` and return it; raise InputError if it is anything else.

    The default `most` limits all counts, since work of so many parts does not end or does not fit in memory.
    """
    return int(number(name, value, least=least, most=most, whole=True))
