"""A pass over a table that finds the domain of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tightbound.core.domain import BINARY, REAL, WHOLE, Domain, as_domain
from tightbound.core.errors import InputError
from tightbound.core.schema import listed
from tightbound.data import encoding
from tightbound.data.columns import (
    LEARNED,
    MAX_CATEGORIES,
    MAX_OWN,
    MAX_VALUES,
    REPEATED,
    Words,
    codes,
    kind_of,
    whole_numbers,
)
from tightbound.data.encoding import Seen, title

RECURRING = 0.2  # minimum share of entries that hold the most frequent number in a "semicontinuous" column
SECOND = 0.25  # maximum frequency of the next most frequent number, relative to the most frequent one
_PROBLEMS = 12  # maximum number of problems in a message
_LISTED = 8  # maximum number of rows in a message


@dataclass
class _Found:
    """Findings of a survey about one column."""

    seen: Seen = field(default_factory=Seen)
    first: np.ndarray = field(default_factory=lambda: np.zeros(0))  # some of its values
    distinct: np.ndarray = field(default_factory=lambda: np.zeros(0))  # for categories and a few numbers
    many: bool = False  # whether there are too many numbers to list
    frequent: float = np.nan  # the most frequent number of `first`
    second: float = 0.0  # frequency of the next most frequent number of `first`, relative to `frequent`
    times: int = 0  # how often `frequent` occurs in the table
    words: tuple[str, ...] = ()
    missing: int = 0
    odd: int = 0  # number of entries that the model's column cannot hold
    shown: tuple[str, ...] = ()  # these entries, without repetition
    rows: tuple[int, ...] = ()  # the first rows that hold one, from 1


class Survey:
    """A pass over a table, part by part, that finds the domain of each column; some kinds may be declared.

    A column without a declared kind holds categories if it holds words, and is binary if it holds only 0 and 1. It is
    "values" if it holds at most `MAX_VALUES` numbers that repeat `REPEATED` times on average, since a density on them
    would grow without limit. Other columns of whole numbers from 0 on are "whole". Any other column is
    "semicontinuous" if one number makes up a share of `RECURRING` and no other number is nearly as frequent (`SECOND`;
    in rounded data, its neighbors are), and real otherwise. If there are more than `MAX_OWN` columns of numbers, all
    are real except those that always hold the same number.
    """

    def __init__(
        self,
        header: Sequence[str],
        kinds: Mapping[int, Any],
        name: str,
        problems: Mapping[int, str] | None = None,
        *,
        like: bool = False,
        sample: bool = False,
        absent: Sequence[str] = (),
    ) -> None:
        """Begin a pass.

        Args:
            header: Names of the columns, if they are known.
            kinds: Declared kinds, by number of the column.
            name: Name of the data, in messages.
            problems: Known problems of columns; they are reported with those that the pass finds.
            like: Whether the data are for a model that was trained on columns of these kinds.
            sample: Whether the rows are a part of the data, so that others may hold other numbers.
            absent: Columns of the model that the data lack.
        """
        self._absent = absent
        self._header, self._kinds, self._name, self._like = header, kinds, name, like
        self._sample = sample
        self._problems = dict(problems or {})  # by column
        self._found: list[_Found] = []
        self.size = 0

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._found)

    @property
    def mixed(self) -> bool:
        """Whether the columns need domains of their own: there are words, missing entries or declared kinds."""
        return bool(self._kinds) or any(found.words or found.missing for found in self._found)

    def add(self, x: np.ndarray, words: Words) -> None:
        """Examine rows (B, D); NaN marks a missing entry."""
        if not self.size:
            self._found = [_Found() for _ in range(x.shape[1])]
        elif x.shape[1] != self.width:
            shapes = f"row 0 has {self.width} entries, row {self.size} has {x.shape[1]}"
            raise InputError(f"{self._name}: rows differ in shape: {shapes}; make them equal")
        self.size += len(x)
        for i, (column, found) in enumerate(zip(x.T, self._found, strict=True)):
            if i in self._problems:
                continue
            values = column[~np.isnan(column)]
            found.missing += len(column) - len(values)
            if self._like and i in self._kinds:
                self._compare(found, column, words.get(i), as_domain(self._kinds[i]))
            if i in words:
                found.words = tuple(words[i] if not found.words else sorted({*found.words, *words[i]}))
                if len(found.words) > MAX_CATEGORIES and self._kinds.get(i) in (None, "categories"):
                    self._problems[i] = self._too_many(i, f"more than {MAX_CATEGORIES} different words")
            elif bad := int(np.isinf(values).sum()):
                row = self.size - len(x) + int(np.isinf(column).argmax())
                self._problems[i] = (
                    f"{title(i, self._header)} has {bad} infinite value{'s' * (bad > 1)}, the first in row {row + 1}; "
                    "remove such rows, or replace the values by NaN, which stands for a missing entry"
                )
            elif len(values):
                try:
                    encoding.check_exact(values, title(i, self._header))
                    self._look(i, found, values)
                except InputError as error:
                    self._problems[i] = str(error).removeprefix(f"{self._name}: ")

    def _compare(self, found: _Found, column: np.ndarray, words: tuple[str, ...] | None, own: Domain) -> None:
        """Record entries that the model's column cannot hold."""
        unknown = ~np.isnan(column) & ~encoding.held(column, own, words)
        odd, first = column[unknown], self.size - len(column) + 1
        found.rows = (*found.rows, *(np.flatnonzero(unknown)[:_LISTED] + first).tolist())[:_LISTED]
        names = (words[int(v)] if words else encoding.as_word(v) for v in np.unique(odd))
        known = dict.fromkeys(found.shown) | dict.fromkeys(map(repr, names) if own.kind == "categories" else names)
        found.odd, found.shown = found.odd + len(odd), tuple(known)

    def _look(self, i: int, found: _Found, values: np.ndarray) -> None:
        kind = self._kinds.get(i)
        known = kind_of(kind)
        if known == "categories":
            found.distinct = np.union1d(found.distinct, values)
        elif known in (None, "values") and not found.many:
            found.many = len(np.unique(values[:1000])) > MAX_VALUES
            found.distinct = np.zeros(0) if found.many else np.union1d(found.distinct, values)
            found.many = found.many or len(found.distinct) > MAX_VALUES
        learned = known is None or known in LEARNED
        scale = encoding.scale_of(None if learned else as_domain(kind))
        found.seen = found.seen.merged(Seen.of(values[:, None], scale, self._where(i)))
        if not len(found.first):
            found.first = values[:100_000]
            found.frequent, found.second = _most_frequent(found.first)
        found.times += int((values == found.frequent).sum())

    def _too_many(self, i: int, found: str) -> str:
        limits = f"a column of categories has from 2 to {MAX_CATEGORIES}"
        fix = "leave it out with ignore=, or name its categories in kinds="
        return f"{title(i, self._header)} has {found}; {limits}: {fix}"

    def _where(self, i: int) -> str:
        return f"{self._name}: {title(i, self._header)}"

    def numbers(self, plain: Domain) -> tuple[Domain, tuple[str, ...]] | None:
        """Return the domain of a numeric table, and notes; None: `plain`, one domain for all columns, suffices."""
        found = self._domains()
        if self.width > MAX_OWN:  # only a constant column cannot be real
            columns = zip(found, self._found, strict=True)
            found = tuple(own if each.seen.low == each.seen.high else REAL for own, each in columns)
        if all(own == REAL for own in found):
            return None
        return Domain("mixed", columns=found, plain=plain), self._notes(found)

    def domain(self, declared: Domain | None = None) -> tuple[Domain, tuple[str, ...]]:
        """Return the domain of the table, and notes; `declared` is the domain of columns without a declared kind."""
        columns = self._domains(declared)
        return Domain("mixed", columns=columns), self._unknown(columns) if self._like else self._notes(columns)

    def _domains(self, declared: Domain | None = None) -> tuple[Domain, ...]:
        columns = []
        for i, found in enumerate(self._found):
            if i in self._problems:
                continue
            try:
                columns.append(
                    self._known(i, found) if self._like else self._column(i, found, self._kinds.get(i, declared))
                )
            except InputError as error:
                self._problems[i] = str(error).removeprefix(f"{self._name}: ")
        if self._problems:
            raise InputError(f"{self._name}: {_all([self._problems[i] for i in sorted(self._problems)])}")
        return tuple(columns)

    def _column(self, i: int, found: _Found, kind: Any) -> Domain:
        where = self._where(i)
        if not found.words and not len(found.first):
            raise InputError(f"{where} has no values; leave it out{' with ignore=' if self._header else ''}")
        known = kind_of(kind)
        if found.words or known == "categories":
            words = found.words or tuple(map(encoding.as_word, found.distinct))
            if known not in (None, "categories"):
                wanted = as_domain(kind) if isinstance(kind, Domain) else repr(kind)
                raise InputError(
                    f"{where} holds words, such as {words[0]!r}, so it cannot be {wanted}; use 'categories'"
                )
            if kind != known:
                declared = as_domain(kind)
                codes(np.arange(len(words)) if found.words else found.distinct, found.words or None, declared, where)
                return declared
            if not 2 <= len(words) <= MAX_CATEGORIES:
                number = f"one value only, {words[0]!r}" if len(words) == 1 else f"{len(words)} different values"
                raise InputError(self._too_many(i, number))
            return Domain("categories", len(words), words)
        if known == "values":
            return self._numbers(i, found, kind)
        if kind == "semicontinuous":
            if found.times < 2:
                raise InputError(
                    f"{where} holds no number more than once, so it is not 'semicontinuous': use 'real', or name the "
                    "number, as in ('semicontinuous', 0)"
                )
            kind = Domain("semicontinuous", atom=found.frequent)
        if kind is None:
            kind = self._inferred(found)
            if kind.kind == "values":
                return kind
        fix = "correct them, or give the column another kind in kinds="
        own = encoding.judge(found.seen, found.first[:, None], as_domain(kind), where, fix)[0].domain
        plain = {"levels": "floats", "unit": "integers"}.get(own.kind, "")  # all columns may have become floats
        return replace(own, given=own.given or plain)

    def _inferred(self, found: _Found) -> Domain:
        """Return the domain of a column of numbers whose kind was not declared."""
        seen = found.seen
        if seen.integers and seen.low >= 0 and seen.high <= 1:
            return BINARY
        if self._sample:
            return REAL
        if not found.many and 1 <= len(found.distinct) <= (self.size - found.missing) / REPEATED:
            return as_domain(("values", found.distinct.tolist()))
        whole = seen.integers and 0 <= seen.low < seen.high <= encoding.MAX_COUNT / 2
        if whole:
            return WHOLE
        least = max(REPEATED, RECURRING * (self.size - found.missing))
        recurs = found.times >= least and found.second <= SECOND
        return Domain("semicontinuous", atom=found.frequent) if recurs else REAL

    def _numbers(self, i: int, found: _Found, kind: Any) -> Domain:
        """Check a column that was declared to hold a few numbers, and return its domain."""
        where = self._where(i)
        if kind == "values":
            if found.many:
                raise InputError(
                    f"{where} has more than {MAX_VALUES} different numbers, the maximum of 'values'; use 'real'"
                )
            return as_domain(("values", found.distinct.tolist()))
        domain = as_domain(kind)
        other = found.distinct[~encoding.held(found.distinct, domain)]
        if found.many or len(other):
            odd = found.first[~encoding.held(found.first, domain)] if found.many else other
            raise InputError(f"{where} holds {odd[0]:g}, which is none of its {domain}")
        return domain

    def _known(self, i: int, found: _Found) -> Domain:
        """Return the domain that the model knows for a column; raise InputError if it needs all entries."""
        if i in self._kinds:
            return as_domain(self._kinds[i])
        given = f"holds words, such as {found.words[0]!r}" if found.words else f"lacks {found.missing:,} entries"
        if not found.words and not found.missing:
            return REAL
        raise InputError(
            f"{self._where(i)} {given}, and the model was trained on numbers without missing entries; correct or fill "
            "them, or train on data with missing entries"
        )

    def _unknown(self, columns: Sequence[Domain]) -> tuple[str, ...]:
        """Return notes on columns without entries, and on entries that they cannot hold."""
        notes = []
        for i, (own, found) in enumerate(zip(columns, self._found, strict=True)):
            if self._header and self._header[i] in self._absent:
                notes.append(f"{self._name} has no column {self._header[i]!r}: its entries count as missing")
            elif found.missing == self.size:
                notes.append(f"{self._where(i)} has no entries: they count as missing")
            elif found.odd:
                entries = "this entry counts" if found.odd == 1 else f"these {found.odd:,} entries count"
                rows = ", ".join(map(str, found.rows)) + ", ..." * (found.odd > len(found.rows))
                notes.append(
                    f"{self._where(i)} holds {listed(found.shown)}, unknown to the model, which knows {own}: {entries} "
                    f"as missing (row{'s' * (found.odd > 1)} {rows}), and likelihoods and scores leave "
                    f"{'it' if found.odd == 1 else 'them'} out"
                )
        return tuple(notes)

    def _notes(self, columns: Sequence[Domain]) -> tuple[str, ...]:
        names = [self._header[i] if self._header else title(i, ()) for i in range(self.width)]
        whole = {
            self._header[i] if self._header else i: (found.seen.low, found.seen.high)
            for i, (own, found) in enumerate(zip(columns, self._found, strict=True))
            if own == REAL and found.seen.integers and found.seen.low >= 0 and i not in self._kinds
        }
        shown = [f"{name}: {own}" for name, own in zip(names[:8], columns, strict=False)]
        missing = sum(found.missing for found in self._found)
        by_name = ", ".join(f"{n} {f.missing}" for n, f in zip(names, self._found, strict=True) if f.missing)
        entries = f"missing: {missing:,} of {self.size * self.width:,} entries"
        entries += f" ({by_name:.120})" if missing else ""
        names_of_rows = [
            name
            for name, own, found in zip(names, columns, self._found, strict=True)
            if own.kind == "categories" and found.words and 2 * len(found.words) > self.size > encoding.FEW
        ]
        unique = (f"most rows have a word of their own in {listed(names_of_rows)}: if it names the rows, pass ignore= "
                  "or id=",) if names_of_rows else ()  # fmt: skip
        return "; ".join(shown) + "; ..." * (self.width > 8), entries, *unique, *whole_numbers(whole)


def _most_frequent(values: np.ndarray) -> tuple[float, float]:
    """Return the most frequent of values (N,), and the frequency of the next one relative to it."""
    distinct, times = np.unique(values, return_counts=True)
    order = np.argsort(-times, kind="stable")
    return float(distinct[order[0]]), float(times[order[1]] / times[order[0]]) if len(order) > 1 else 0.0


def _all(problems: Sequence[str]) -> str:
    """Return problems as one line."""
    if len(problems) == 1:
        return problems[0]
    shown = " ".join(f"({i}) {problem}." for i, problem in enumerate(problems[:_PROBLEMS], 1))
    more = f" And {len(problems) - _PROBLEMS:,} more." if len(problems) > _PROBLEMS else ""
    return f"{len(problems):,} columns cannot be used: {shown}{more}"
