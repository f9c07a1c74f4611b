"""Tar shards in the manner of WebDataset: an index of their members, and random access to samples."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import files, pictures, shares
from tightbound.data.arrow import LABELS, first_line
from tightbound.data.pictures import Header, Pictures, Wish
from tightbound.data.rows import Opened, Rows, fits, gathered, mapped, spread

DATA = frozenset({suffix.lstrip(".") for suffix in pictures.SUFFIXES} | {"npy"})
_MARKS = ("cls", "json")  # suffixes of labels
_META = re.compile(r"__[^/]*__($|/)")  # what WebDataset leaves out
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # longer ones are words
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str
    offset: int
    size: int
    checksum: int  # of its header, which holds name, size and time


def is_pattern(source: str) -> bool:
    """Whether this stands for several tar files, by braces or wildcards."""
    return source.endswith(".tar") and bool(_RANGE.search(source) or set("*?[") & set(source))


def expanded(pattern: str) -> list[str]:
    """Every number of a range in braces, {000..009}, of which there may be several.

    Raises:
        InputError: for one that ends before it begins.
    """
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    if int(first) > int(last):
        raise InputError(f"{pattern} holds the range {match.group()}; needed: the smaller number first")
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    numbers = (str(number).zfill(width) for number in range(int(first), int(last) + 1))
    return [name for number in numbers for name in expanded(pattern[: match.start()] + number + pattern[match.end() :])]


def stem(source: str) -> str:
    """A name for the data set: what is before the numbers of its files."""
    path = Path(source)
    name = re.split(r"[{*?\[]", path.name)[0] if is_pattern(source) else path.resolve().stem
    return name.rstrip("-_.") or "shards"


def found(source: str) -> list[Path]:
    """The tar files of a folder or a pattern.

    Raises:
        InputError: where one of a range, or all of a wildcard, are missing.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.is_file():
        return [path]
    paths: list[Path] = []
    for each in map(Path, expanded(str(path))):
        these = sorted(each.parent.glob(each.name)) if set("*?[") & set(each.name) else [each]
        paths += (one for one in these if one.is_file())
        if not these or not these[0].is_file():
            raise InputError(f"there is no file {each}, which {source!r} stands for; correct the pattern")
    return paths


def members(path: Path) -> Iterator[Member]:
    """The files in a tar, by reading the headers alone; links and folders are left out.

    Raises:
        InputError: for a damaged or shortened file, and for one that holds a sparse file.
    """
    at, end = 0, path.stat().st_size
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="replace") as tar, path.open("rb") as file:
            while (info := tar.next()) is not None:
                if info.issparse():
                    raise InputError(f"{path}: {info.name} is stored as a sparse file; write the tar without --sparse")
                if info.isreg():
                    if info.offset_data + info.size > end:
                        raise InputError(f"{path} is cut short at byte {end:,}, within a file; fetch it again")
                    yield Member(info.name, info.offset_data, info.size, info.chksum)
                at = tar.offset
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # kept by it, and nobody needs them
            file.seek(at)  # it stops alike at an end mark, a damaged header and the end of the file
            head: bytes | None = file.read(tarfile.BLOCKSIZE)
    except tarfile.TarError:
        head = None
    if at and at + tarfile.BLOCKSIZE > end:
        raise InputError(f"{path} is cut short: it ends at byte {end:,} without an end mark; fetch it again")
    if head is None or any(head):
        raise InputError(
            f"{path} is no tar file, or damaged or cut short at byte {at:,}; fetch it again, and unpack compressed ones"
        )


def parted(name: str) -> tuple[str, str]:
    """Key and extension of a member: what is before and after the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    key, _, extension = file.partition(".")
    return folder + slash + key, extension.lower()


def label(extension: str, content: bytes, where: str) -> int | float | str | None:
    """What a .cls or .json file says; None: nothing."""
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


def array(extension: str, file: BinaryIO, seen: Pictures | None, where: str) -> np.ndarray:
    """A sample's picture (C, H, W) uint8, or its array.

    Raises:
        InputError: where it is damaged; names the sample.
    """
    try:
        if extension == "npy":
            return np.load(file, allow_pickle=False)
        if seen is None:
            raise ValueError("it is a picture, and those before it are arrays")
        return seen.decode(file)
    except pictures.errors() as error:
        raise InputError(f"{where} cannot be decoded: {first_line(error)}; remove it or its shard") from None


class TarRows(Rows):
    """The samples of tar files on this machine, each a picture or an array, and perhaps a label."""

    together = True

    def __init__(self, paths: Sequence[Path], title: str) -> None:
        """Indexes the files; 32 bytes, a name and a label are kept of each sample, and more while its file is read.

        Raises:
            InputError: for damaged files, those without samples, and samples without data or with several.
        """
        self.title, self._paths = title, list(paths)
        self.keys: list[str] = []
        self.sizes: list[int] = []  # samples of each file
        self._extensions: list[str] = []
        marks: list[int | float | str | None] = []
        places: list[np.ndarray] = []
        digest = hashlib.sha256()
        others: set[str] = set()
        for number, path in enumerate(self._paths):
            mine: list[tuple[int, int, int, int]] = []
            before = len(self.keys)
            with path.open("rb") as file:
                key = None
                for member in members(path):
                    if _META.match(member.name):
                        continue
                    digest.update(f"{member.name} {member.size} {member.checksum}".encode())
                    own, extension = parted(member.name)
                    last = extension.rpartition(".")[2]
                    if not extension or own[-1:] in ("", "/"):  # WebDataset leaves them out, too
                        others.add("hidden ones" if extension else "ones without a suffix")
                        continue
                    if own != key:
                        self._complete(mine, path)
                        key = own
                        self.keys.append(own)
                        marks.append(None)
                        mine.append((number, -1, 0, 0))
                    if last in DATA:
                        if mine[-1][1] >= 0:
                            raise InputError(f"{path}: sample {own} holds more than one picture or array; keep one")
                        if last not in self._extensions:
                            self._extensions.append(last)
                        mine[-1] = (number, member.offset, member.size, self._extensions.index(last))
                    elif last in _MARKS:
                        file.seek(member.offset)
                        read = label(last, file.read(member.size), f"{path}: {member.name}")
                        marks[-1] = read if marks[-1] is None else marks[-1]
                    else:
                        others.add(f".{last}")
            self._complete(mine, path)
            if not mine:
                raise InputError(f"{path} has no samples: it is empty, or holds other files; remove it")
            places.append(np.array(mine, np.int64))
            self.sizes.append(len(self.keys) - before)
        self._places = np.concatenate(places)
        self.fingerprint = f"sha256:{digest.hexdigest()}"
        lacking = sum(mark is None for mark in marks)
        self.y = np.array(marks) if lacking == 0 else None
        self.notes = ((f"left out: files, {', '.join(sorted(others))[:100]}",) if others else ()) + (
            (f"no labels: {lacking:,} samples have none",) if 0 < lacking < len(marks) else ()
        )
        self.pictures: Pictures | None = None
        self._told: Domain | None = None

    def _complete(self, samples: Sequence[tuple[int, int, int, int]], path: Path) -> None:
        if samples and samples[-1][1] < 0:
            raise InputError(
                f"{path}: sample {self.keys[-1]} has neither a picture nor a .npy; "
                f"needed: a file of one of {', '.join(sorted(DATA))}, next to the others of that name"
            )

    def __len__(self) -> int:
        """Samples."""
        return len(self._places)

    def judge(self, wish: Wish, told: Domain | None) -> tuple[str, ...]:
        """Finds out what the pictures have in common, from a few of them; notes."""
        wish.check()
        headers: dict[str, Header] = {}
        for i in spread(len(self)).tolist():
            if self._extensions[self._places[i, 3]] != "npy":
                file, where = self._file(i)
                header = pictures.header(file)
                if header is None:
                    raise InputError(f"{where} cannot be decoded; remove it, or fetch the shard again")
                headers[self.keys[i]] = header
        if not headers:
            if wish:
                raise InputError(f"resize and gray are for pictures, and {self.title} holds none; leave them out")
            return ()
        self.pictures, self._told = pictures.judge(headers, wish, self.title), told
        self.domain = self.pictures.domain
        return self.pictures.described(len(self)), *self.pictures.notes

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        """See `Rows.read`."""
        found = [self._array(i) for i in indices.tolist()]
        for i, x in zip(indices.tolist(), found, strict=True):
            if x.shape != found[0].shape:
                raise InputError(
                    f"{self._where(i)} has shape {x.shape}, that of {self.keys[indices[0]]} is {found[0].shape}; "
                    "make them equal"
                )
        x = np.stack(found)
        return (x if self.pictures is None else pictures.scaled(x, self._told)), None

    def _array(self, i: int) -> np.ndarray:
        file, where = self._file(i)
        return array(self._extensions[self._places[i, 3]], file, self.pictures, where)

    def _where(self, i: int) -> str:
        extension = self._extensions[self._places[i, 3]]
        return f"{self._paths[self._places[i, 0]]}: {self.keys[i]}.{extension}"

    def _file(self, i: int) -> tuple[BinaryIO, str]:
        shard, offset, size, _ = self._places[i].tolist()
        with self._paths[shard].open("rb", buffering=0) as file:
            file.seek(offset)
            return io.BytesIO(file.read(size)), self._where(i)


def open_tars(source: str, told: Domain | None, wish: Wish) -> files.Arrays | Opened:
    """The samples of tar files: a pattern, a folder or a file.

    Raises:
        InputError: for files that are missing, damaged or empty, and samples that cannot be used.
    """
    train, test, split_notes = shares.parted(found(source))
    rows = TarRows([*train, *test], source)
    first = sum(rows.sizes[: len(train)]) if test else None
    shards = len(train) + len(test)
    notes = (f"{len(rows):,} samples in {shards} tar file{'s' * (shards > 1)}", *split_notes, *rows.notes)
    notes += rows.judge(wish, told)
    if fits(rows):
        x, _ = gathered(rows)
        return files.Arrays(x, rows.y, first, notes, names=rows.keys)
    split, code, how = mapped(rows, told, rows.keys, spread(len(rows)))
    return Opened(split, code.domain, (*notes, *how), rows.fingerprint, rows.y, first)


def sample(source: Mapping[str, Any]) -> tuple[str, bytes, int | float | str | None]:
    """Extension and content of a sample's data, and its label, from a mapping of extensions to bytes."""
    data = [name for name in source if name.rpartition(".")[2] in DATA]
    if len(data) != 1:
        raise InputError(
            f"sample {source.get('__key__')} of {source.get('__url__')} holds {len(data)} pictures or arrays; needed: 1"
        )
    marks = (label(n, source[n], f"{source.get('__key__')}.{n}") for n in source if n in _MARKS)
    return data[0].rpartition(".")[2], source[data[0]], next((m for m in marks if m is not None), None)
