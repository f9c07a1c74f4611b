"""Tar files in the format of WebDataset on this machine: an index of their samples, and random access to them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tightbound.core.errors import InputError
from tightbound.data.readers import images
from tightbound.data.readers.arrow import LABELS, first_line
from tightbound.data.readers.paths import found, parted
from tightbound.data.readers.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

DATA = frozenset({suffix.lstrip(".") for suffix in images.SUFFIXES} | {"npy"})
LABEL_FILES = ("cls", "json")
_META = re.compile(r"__[^/]*__($|/)")  # files that WebDataset leaves out
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # longer ones are words


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the files in a tar, reading their headers only; links and folders are left out.

    Raises:
        InputError: If the tar is damaged or cut short, or holds a sparse file.
    """
    at, end = 0, path.stat().st_size
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="replace") as tar, path.open("rb") as file:
            while (info := tar.next()) is not None:
                if info.issparse():
                    raise InputError(
                        f"{path}: {info.name} is stored as a sparse file; write the tar without sparse files"
                    )
                if info.isreg():
                    if info.offset_data + info.size > end:
                        raise InputError(f"{path} is cut short at byte {end:,}, within a file; fetch it again")
                    yield info
                at = tar.offset
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # they are not needed again
            file.seek(at)  # tarfile stops alike at an end mark, a damaged header and the end of the file
            head: bytes | None = file.read(tarfile.BLOCKSIZE)
    except tarfile.TarError:
        head = None
    if at and at + tarfile.BLOCKSIZE > end:
        raise InputError(f"{path} is cut short: it ends at byte {end:,} without an end mark; fetch it again")
    if head is None or any(head):
        raise InputError(
            f"{path} is no tar file, or damaged or cut short at byte {at:,}; fetch it again, and unpack compressed ones"
        )


def key_of(name: str) -> tuple[str, str]:
    """Return key and extension of a member: what is before and after the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    key, _, extension = file.partition(".")
    return folder + slash + key, extension.lower()


def label(extension: str, content: bytes, where: str) -> int | float | str | None:
    """Return the label that a .cls or .json file holds, or None.

    Raises:
        InputError: If it is not text, or not JSON.
    """
    try:
        text = content.decode().strip()
        value = json.loads(text) if extension == "json" else text
    except ValueError as error:
        raise InputError(f"{where} cannot be read as a label: {first_line(error)}") from None
    if isinstance(value, dict):
        value = next((value[name] for name in LABELS if name in value), None)
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else value or None
    return value if isinstance(value, int | float) and math.isfinite(value) else None


class TarTable(Table):
    """The samples of tar files: each has an image or a .npy file, and perhaps a label."""

    def __init__(self, source: str) -> None:
        """Index the files of a folder, a file or a pattern; a name, a label and 32 bytes are kept for each sample.

        Raises:
            InputError: If a file is damaged or has no samples, or a sample has no image, or several.
        """
        import pyarrow as pa

        self.title, self.schema = source, pa.schema([("x", pa.binary())])
        train, test, notes = parted(found(source))
        self._paths = [*train, *test]
        self.names = self._keys = list[str]()
        self._extensions: list[str] = []
        self._places: list[list[int]] = []  # of each sample: file, offset, size, extension
        self._labels: list[int | float | str | None] = []
        self._others: set[str] = set()
        digest = hashlib.sha256()
        for number, path in enumerate(self._paths):
            if test and number == len(train):
                self.train = len(self._keys)
            before = len(self._keys)
            for line in self._index(number, path):
                digest.update(line.encode())
            if len(self._keys) == before:
                raise InputError(f"{path} has no samples: it is empty, or holds other files; remove it")
        self._table = np.array(self._places, np.int64)
        self._places.clear()
        self._digest = digest.hexdigest()
        missing = sum(each is None for each in self._labels)
        self.y = np.array(self._labels) if missing == 0 else None
        self.notes = (f"{len(self):,} samples in {len(self._paths)} tar file{'s' * (len(self._paths) > 1)}", *notes)
        self.notes += (f"left out: files, {', '.join(sorted(self._others))[:100]}",) if self._others else ()
        self.notes += (f"no labels: {missing:,} samples have none",) if 0 < missing < len(self) else ()

    def _index(self, number: int, path: Path) -> Iterator[str]:
        """Index one file; yield what identifies each of its members."""
        key: str | None = None
        with path.open("rb") as file:
            for member in members(path):
                if _META.match(member.name):
                    continue
                yield f"{member.name} {member.size} {member.chksum}"
                own, extension = key_of(member.name)
                last = extension.rpartition(".")[2]
                if not extension or own[-1:] in ("", "/"):  # WebDataset leaves them out, too
                    self._others.add("hidden ones" if extension else "ones without a suffix")
                    continue
                if own != key:
                    self._check_complete(key)
                    key = own
                    self._keys.append(own)
                    self._labels.append(None)
                    self._places.append([number, -1, 0, 0])
                if last in DATA:
                    if self._places[-1][1] >= 0:
                        raise InputError(f"{path}: sample {own} holds more than one image or array; keep one")
                    if last not in self._extensions:
                        self._extensions.append(last)
                    self._places[-1] = [number, member.offset_data, member.size, self._extensions.index(last)]
                elif last in LABEL_FILES:
                    file.seek(member.offset_data)
                    read = label(last, file.read(member.size), f"{path}: {member.name}")
                    self._labels[-1] = read if self._labels[-1] is None else self._labels[-1]
                else:
                    self._others.add(f".{last}")
            self._check_complete(key)

    def _check_complete(self, key: str | None) -> None:
        if key is not None and self._places[-1][1] < 0:
            raise InputError(
                f"{self._paths[self._places[-1][0]]}: sample {key} has neither an image nor a .npy; "
                f"needed: a file of one of {', '.join(sorted(DATA))}, next to the others of that name"
            )

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        import pyarrow as pa

        content = []
        for number, offset, size, _ in self._table[rows].tolist():
            with self._paths[number].open("rb", buffering=0) as file:
                file.seek(offset)
                content.append(file.read(size))
        return pa.table({"x": pa.array(content, pa.binary())})

    def place(self, row: int) -> str:
        """See `Table.place`."""
        number, _, _, extension = self._table[row]
        return f"{self._paths[number]}: {self._keys[row]}.{self._extensions[extension]}"

    def fingerprint(self) -> str:
        """See `Table.fingerprint`: of the names, sizes and header checksums of the files."""
        return f"sha256:{self._digest}"
