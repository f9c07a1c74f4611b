"""Parquet files: typed columns in row groups, of which each is read whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tightbound.core.errors import InputError, needs
from tightbound.data import arrow, files, shares
from tightbound.data.groups import GroupedSplit
from tightbound.data.split import WORKERS, Indexed
from tightbound.data.tables import Coder, Store

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".pq")
WINDOW = 1 << 28  # bytes of row groups that are held together to be shuffled
_PART = 1 << 24  # bytes of columns looked at together


class ParquetStore(Store):
    """One or more Parquet files of one schema."""

    def __init__(self, path: Path) -> None:
        """The files of a folder, or one file.

        Raises:
            InputError: without pyarrow; for files that cannot be read, and those that differ in their columns.
        """
        with needs("tables", "Parquet files"):
            import pyarrow.parquet
        self.title, self.classes = str(path), {}
        train, test, self.notes = shares.parted(sorted(found(path)) if path.is_dir() else [path])
        if folders := sorted({each.parent.name for each in (*train, *test) if "=" in each.parent.name}):
            self.notes += (f"left out: what the names of folders say, {', '.join(folders)[:100]}",)
        self._paths = [*train, *test]
        self._groups: list[tuple[Path, int]] = []
        self._about: dict[Path, Any] = {}
        sizes, weights = [], []
        for number, each in enumerate(self._paths):
            with arrow.readable(each, "Parquet"), pyarrow.parquet.ParquetFile(each) as file:
                about = self._about[each] = file.metadata
            schema = about.schema.to_arrow_schema().remove_metadata()
            if number == 0:
                self.schema = schema
            elif not schema.equals(self.schema):
                raise InputError(
                    f"{each} and {self._paths[0]} differ in their columns; {_difference(schema, self.schema)}"
                )
            if about.num_rows == 0:
                raise InputError(f"{each} has no rows; remove it")
            if test and number == len(train):
                self.train = sum(sizes)
            for group in range(about.num_row_groups):
                if about.row_group(group).num_rows:
                    self._groups.append((each, group))
                    sizes.append(about.row_group(group).num_rows)
                    weights.append(about.row_group(group).total_byte_size)
        self._sizes, self._weights = np.array(sizes, np.int64), np.array(weights, np.int64)
        self._ends = np.cumsum(self._sizes)

    def __len__(self) -> int:
        """Rows."""
        return int(self._ends[-1])

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """See `Store.scan`."""
        import pyarrow as pa

        part_rows = int(np.clip(_PART * self._sizes.sum() / max(1, self._weights.sum()), 64, 65_536))
        for path in self._paths:
            with arrow.readable(path, "Parquet"), self._open(path) as file:
                for part in file.iter_batches(part_rows, columns=list(names)):
                    yield pa.Table.from_batches([part])

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Store.take`; reads the row group of each."""
        import pyarrow as pa

        owner = np.searchsorted(self._ends, rows, side="right")
        parts, order = [], []
        for group in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == group)
            parts.append(self._group(group, names).take(rows[mine] - self._start(group)))
            order.append(mine)
        return pa.concat_tables(parts).take(np.argsort(np.concatenate(order)))

    def split(self, coder: Coder) -> tuple[Indexed, str]:
        """See `Store.split`: row group by row group."""
        row = int(np.prod(coder.shape)) * coder.dtype.itemsize
        lazy = coder.raw.pictures is not None
        weights = self._weights if lazy else self._sizes * row
        if weights.max() > files.MEMORY_LIMIT:
            path, number = self._groups[int(weights.argmax())]
            raise InputError(
                f"{path}: row group {number} takes {weights.max() / 2**30:.1f} GiB and is read whole; write the file "
                "with smaller ones, such as pyarrow.parquet.write_table(table, path, row_group_size=10_000)"
            )
        window = int(max(2, WINDOW // max(1, weights.mean())))
        coder = replace(coder, raw=replace(coder.raw, threads=WORKERS if lazy else 1))

        def load(number: int) -> Any:
            path, group = self._groups[number]
            where = f"{path}, row group {group}"
            table = self._group(number, coder.names)
            return _Pictures(table, coder, where) if lazy else coder(table, where, range(len(table)))

        split = GroupedSplit(load, self._sizes, coder.shape, coder.dtype, window)
        held = min(window, len(self._sizes))
        note = (
            f"{len(self):,} rows in {len(self._sizes):,} row groups, read as they are needed: too large for memory; "
            f"an epoch shuffles the row groups, and rows among those of {held} row groups (about "
            f"{int(self._sizes[:held].sum()):,} rows)"
        )
        return split, note

    def fingerprint(self) -> str:
        """Of the files' sizes and footers, which hold the place, the size and, as a rule, the range of each column."""
        digest = hashlib.sha256()
        for path in self._paths:
            with path.open("rb") as file:
                size = file.seek(-8, 2) + 8
                length = int.from_bytes(file.read(4), "little")
                file.seek(-8 - length, 2)
                digest.update(f"{path.name} {size}".encode() + file.read(length))
        return f"sha256:{digest.hexdigest()}"

    def _start(self, group: int) -> int:
        return int(self._ends[group] - self._sizes[group])

    def _group(self, number: int, names: Sequence[str]) -> pa.Table:
        path, group = self._groups[number]
        with arrow.readable(path, "Parquet"), self._open(path) as file:
            return file.read_row_group(group, columns=list(names))

    def _open(self, path: Path) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(path, metadata=self._about[path])


class _Pictures:
    """Encoded pictures of a row group, decoded as they are taken."""

    def __init__(self, table: pa.Table, coder: Coder, where: str) -> None:
        self._table, self._coder, self._where = table, coder, where

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return self._coder(self._table.take(places), self._where, places)


def is_parquet(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def found(folder: Path) -> Iterator[Path]:
    """The Parquet files of a folder and those below it, but for what is hidden or begins with an underscore."""
    for path in folder.rglob("*"):
        if is_parquet(path) and not any(part[0] in "._" for part in path.relative_to(folder).parts):
            yield path


def _difference(a: pa.Schema, b: pa.Schema) -> str:
    names = [
        n for n in (*a.names, *b.names) if n not in a.names or n not in b.names or a.field(n).type != b.field(n).type
    ]
    which = f"column {names[0]}" if names else "the order of the columns"
    return f"{which} is not the same in both: make them alike"
