"""Parquet files: typed columns in row groups, each of which is read whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import dataset as ds

from tightbound.core.errors import InputError
from tightbound.data.options import Limits
from tightbound.data.readers.paths import PARQUET, parted_files
from tightbound.data.readers.tabular.arrow import readable
from tightbound.data.readers.tabular.coding import Coder
from tightbound.data.readers.tabular.tables import Table
from tightbound.data.splits.groups import Group, GroupedSplit
from tightbound.data.splits.indexed import Indexed
from tightbound.data.splits.workers import WORKERS

_PART = 1 << 24  # bytes of columns per part of a scan


class ParquetTable(Table):
    """One or more Parquet files with the same columns."""

    def __init__(self, path: Path) -> None:
        """Open a file, or the files of a folder and those below it."""
        self.title = str(path)
        files, train, held, self.notes = parted_files(sorted(found(path)) if path.is_dir() else [path])
        if folders := sorted({each.parent.name for each in files if "=" in each.parent.name}):
            self.notes += (f"left out: the values in the names of folders, {', '.join(folders)[:100]}",)
        self._groups: list[Any] = []  # fragments of a data set of Arrow, each a row group
        digest = hashlib.sha256()
        ends = [0]  # rows before each file
        for number, each in enumerate(files):
            with readable(each, "Parquet"):
                [file] = ds.dataset(each, format="parquet").get_fragments()
                schema = file.physical_schema.remove_metadata()
                groups = [group for group in file.split_by_row_group() if group.row_groups[0].num_rows]
                digest.update(f"{each.name} {each.stat().st_size} {file.metadata.to_dict()}".encode())
            if number == 0:
                self.schema = schema
            elif not schema.equals(self.schema):
                raise InputError(f"{each} and {files[0]} differ in their columns; {_difference(schema, self.schema)}")
            if not groups:
                raise InputError(f"{each} has no rows; remove it")
            self._groups += groups
            ends.append(ends[-1] + sum(group.row_groups[0].num_rows for group in groups))
        self.train, self.validation = None if train is None else ends[train], ends[-1] - ends[-1 - held]
        self._digest = digest.hexdigest()
        self._sizes = np.array([group.row_groups[0].num_rows for group in self._groups], np.int64)
        self._weights = np.array([group.row_groups[0].total_byte_size for group in self._groups], np.int64)
        self._ends = np.cumsum(self._sizes)
        self.row_numbers = range(1, int(self._ends[-1]) + 1)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def scan(self, names: tuple[str, ...]) -> Iterator[pa.Table]:
        """See `Table.scan`."""
        rows = int(np.clip(_PART * self._sizes.sum() / max(1, self._weights.sum()), 64, 65_536))
        for group in self._groups:
            with readable(group.path, "Parquet"):
                for part in group.to_batches(columns=list(names), batch_size=rows, batch_readahead=0):
                    if len(part):
                        yield pa.Table.from_batches([part])

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`; reads the row group of each row."""
        owner = np.searchsorted(self._ends, rows, side="right")
        parts, order = [], []
        for group in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == group)
            parts.append(self._read(group, names).take(rows[mine] - self._start(group)))
            order.append(mine)
        return pa.concat_tables(parts).take(np.argsort(np.concatenate(order)))

    def split(self, coder: Coder, limits: Limits) -> tuple[Indexed, str]:
        """See `Table.split`: row group by row group."""
        lazy = coder.raw.images is not None  # images are decoded as they are taken
        weights = self._weights if lazy else self._sizes * int(np.prod(coder.shape)) * coder.dtype.itemsize
        if weights.max() > limits.memory:
            path = self._groups[int(weights.argmax())].path
            raise InputError(
                f"{path}: a row group takes {weights.max() / 2**30:.1f} GiB and is read whole; write the file with "
                "smaller ones, such as pyarrow.parquet.write_table(table, path, row_group_size=10_000)"
            )
        window = int(max(2, limits.window // max(1, weights.mean())))
        coder = replace(coder, raw=replace(coder.raw, threads=WORKERS if lazy else 1))

        def load(number: int) -> Group:
            table, start = self._read(number, coder.names), self._start(number)

            def rows(places: np.ndarray) -> np.ndarray:
                return coder(table.take(places), lambda i: self.place(start + int(places[i])))

            return rows if lazy else rows(np.arange(len(table))).__getitem__

        held = min(window, len(self._sizes))
        note = (
            f"{len(self):,} rows in {len(self._sizes):,} row groups, read as they are needed: too large for memory; "
            f"an epoch shuffles the row groups, and rows among those of {held} row groups (about "
            f"{int(self._sizes[:held].sum()):,} rows)"
        )
        return GroupedSplit(load, self._sizes, coder.shape, coder.dtype, window), note

    def fingerprint(self) -> str:
        """See `Table.fingerprint`: of the footers, which hold the size and usually the range of each column."""
        return f"sha256:{self._digest}"

    def _start(self, group: int) -> int:
        return int(self._ends[group] - self._sizes[group])

    def _read(self, number: int, names: tuple[str, ...]) -> pa.Table:
        group = self._groups[number]
        with readable(group.path, "Parquet"):
            return group.to_table(columns=list(names), use_threads=False)


def is_parquet(path: Path) -> bool:
    """Whether this is a Parquet file, by its name."""
    return path.suffix.lower() in PARQUET


def found(folder: Path) -> Iterator[Path]:
    """Yield the Parquet files of a folder and those below it, except hidden ones and those that begin with "_"."""
    for path in folder.rglob("*"):
        if is_parquet(path) and not any(part[0] in "._" for part in path.relative_to(folder).parts):
            yield path


def _difference(a: pa.Schema, b: pa.Schema) -> str:
    names = [
        n for n in (*a.names, *b.names) if n not in a.names or n not in b.names or a.field(n).type != b.field(n).type
    ]
    which = f"column {names[0]}" if names else "the order of the columns"
    return f"{which} is not the same in both: make them alike"
