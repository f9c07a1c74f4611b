"""Tar files in the format of WebDataset on this machine: an index of their samples, and random access to them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError, first_line
from tightbound.data.readers import images
from tightbound.data.readers.paths import found, parted_files
from tightbound.data.readers.tabular.arrow import LABELS
from tightbound.data.readers.tabular.tables import Table

F = TypeVar("F")
DATA = frozenset({suffix.lstrip(".") for suffix in images.SUFFIXES} | {"npy"})
LABEL_FILES = ("cls", "json")
_META = re.compile(r"__[^/]*__($|/)")  # files that WebDataset leaves out
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # longer ones are words


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the files in a tar, reading their headers only; links and folders are left out."""
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
    """Return the label that a .cls or .json file holds, or None."""
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


def samples(
    files: Iterable[tuple[str, F]], title: str, read: Callable[[F], bytes], others: set[str]
) -> Iterator[tuple[str, str, F, int | float | str | None]]:
    """Yield key, name and file of the image or array of each sample, and its label.

    A sample consists of named files that follow each other. Hidden files, ones without a suffix and metadata are left
    out, as by WebDataset; `others` is told of them.
    """
    for key, sample in groupby(_visible(files, others), lambda file: file[0]):
        data, mark = [], None
        for _, extension, file in sample:
            name, last = f"{key}.{extension}", extension.rpartition(".")[2]
            if last in DATA:
                data.append((name, file))
            elif last not in LABEL_FILES:
                others.add(f".{last}")
            elif mark is None:
                mark = label(last, read(file), f"{title}: {name}")
        if len(data) > 1:
            raise InputError(f"{title}: sample {key} holds more than one image or array; keep one")
        if not data:
            raise InputError(
                f"{title}: sample {key} has neither an image nor a .npy; needed: a file of one of "
                f"{', '.join(sorted(DATA))}, next to the others of that name"
            )
        yield key, *data[0], mark


def _visible(files: Iterable[tuple[str, F]], others: set[str]) -> Iterator[tuple[str, str, F]]:
    for name, file in files:
        key, extension = key_of(name)
        if _META.match(name):
            continue
        if extension and key[-1:] not in ("", "/"):
            yield key, extension, file
        else:
            others.add("hidden ones" if extension else "ones without a suffix")


class TarTable(Table):
    """The samples of tar files: each has an image or a .npy file, and perhaps a label."""

    def __init__(self, source: str) -> None:
        """Index the files of a folder, a file or a pattern; a name, a label and 32 bytes are kept for each sample."""
        self.title, self.schema = source, pa.schema([("x", pa.binary())])
        self._paths, train, held, notes = parted_files(found(source))
        ends = [0]  # samples before each file
        self.names = self._keys = list[str]()
        self._extensions: list[str] = []
        labels: list[int | float | str | None] = []
        places: list[tuple[int, int, int]] = []  # of each sample: file, offset, size
        others, digest = set[str](), hashlib.sha256()

        def noted(path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
            for member in members(path):
                if not _META.match(member.name):
                    digest.update(f"{member.name} {member.size} {member.chksum}".encode())
                    yield member.name, member

        for number, path in enumerate(self._paths):
            with path.open("rb") as file:

                def read(member: tarfile.TarInfo, file: BinaryIO = file) -> bytes:
                    file.seek(member.offset_data)
                    return file.read(member.size)

                for key, name, member, mark in samples(noted(path), str(path), read, others):
                    self._keys.append(key)
                    self._extensions.append(sys.intern(name[len(key) :]))
                    labels.append(mark)
                    places.append((number, member.offset_data, member.size))
            ends.append(len(self._keys))
            if ends[-1] == ends[-2]:
                raise InputError(f"{path} has no samples: it is empty, or holds other files; remove it")
        self.train, self.validation = None if train is None else ends[train], ends[-1] - ends[-1 - held]
        self._places, self._digest = np.array(places, np.int64), digest.hexdigest()
        missing = sum(each is None for each in labels)
        self.y = np.array(labels) if missing == 0 else None
        self.notes = (f"{len(self):,} samples in {len(self._paths)} tar file{'s' * (len(self._paths) > 1)}", *notes)
        self.notes += (f"left out: files, {', '.join(sorted(others))[:100]}",) if others else ()
        self.notes += (f"no labels: {missing:,} samples have none",) if 0 < missing < len(self) else ()

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        content = []
        for number, offset, size in self._places[rows].tolist():
            with self._paths[number].open("rb", buffering=0) as file:
                file.seek(offset)
                content.append(file.read(size))
        return pa.table({"x": pa.array(content, pa.binary())})

    def place(self, row: int) -> str:
        """See `Table.place`."""
        return f"{self._paths[self._places[row, 0]]}: {self._keys[row]}{self._extensions[row]}"

    def fingerprint(self) -> str:
        """See `Table.fingerprint`: of the names, sizes and header checksums of the files."""
        return f"sha256:{self._digest}"
