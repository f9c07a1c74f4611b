"""A folder of images as a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import encoding, files, pictures
from tightbound.data.encoding import Encoding
from tightbound.data.pictures import Pictures, Wish
from tightbound.data.split import WORKERS, ArraySplit, Indexed, MappedSplit

_SHOWN = 5  # names in a note
_MANY = 5_000  # images, from which progress is shown


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder that can be read, and how they are to be."""

    root: Path
    names: tuple[str, ...]  # relative to root
    pictures: Pictures
    skipped: tuple[str, ...]
    others: int  # files that are no pictures

    def decode(self, name: str) -> np.ndarray:
        """(C, H, W) uint8; raises what Pillow raises."""
        return self.pictures.decode(self.root / name)


def scan(root: Path, wish: Wish) -> Folder:
    """Looks at the header of each picture below a folder, hidden ones left out.

    Raises:
        InputError: for a folder without readable pictures, sizes that differ, or more than 8 bits.
    """
    wish.check()
    every = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    names = [name for name in every if Path(name).suffix.lower() in pictures.SUFFIXES]
    if not names:
        raise InputError(
            f"{root} holds no images, only {len(every)} other files; give a folder with "
            f"{', '.join(sorted(pictures.SUFFIXES))}"
        )
    with ThreadPoolExecutor(WORKERS) as pool:
        headers = list(pool.map(pictures.header, [root / name for name in names]))
    found = {name: header for name, header in zip(names, headers, strict=True) if header is not None}
    if not found:
        raise InputError(f"{root}: none of {len(names)} images can be read, such as {names[0]}; check them")
    skipped = tuple(name for name in names if name not in found)
    return Folder(root, tuple(found), pictures.judge(found, wish, root), skipped, len(every) - len(names))


def load(folder: Folder, told: Domain | None) -> tuple[Indexed, Encoding, tuple[str, ...], str]:
    """The pictures as a split, with encoding, notes and fingerprint: decoded once where they fit in memory.

    Raises:
        InputError: where none can be decoded, or `told` does not fit pixels.
    """
    if len(folder.names) * int(np.prod(folder.pictures.shape)) > files.MEMORY_LIMIT:
        return _lazy(folder, told)
    x = np.empty((len(folder.names), *folder.pictures.shape), np.uint8)
    good = np.zeros(len(x), bool)

    def decode(i: int) -> None:
        try:
            x[i] = folder.decode(folder.names[i])
            good[i] = True
        except pictures.errors():
            pass

    with ThreadPoolExecutor(WORKERS) as pool:
        list(_progress(pool.map(decode, range(len(x))), len(x)))
    if not good.any():
        raise InputError(f"{folder.root}: no image can be decoded, such as {folder.names[0]}; check them")
    names = [name for name, fine in zip(folder.names, good, strict=True) if fine]
    skipped = (*folder.skipped, *(name for name, fine in zip(folder.names, good, strict=True) if not fine))
    x = pictures.scaled(x if good.all() else x[good], told)
    code, values = encoding.infer(x, told, str(folder.root))
    x = code.convert(x)
    labels, words = _classes(names)
    digest = hashlib.sha256(f"{x.dtype} {x.shape}".encode())
    digest.update(np.ascontiguousarray(x).data)
    notes = _notes(folder, len(names), skipped, values, words)
    return ArraySplit(x, labels, names), code, notes, f"sha256:{digest.hexdigest()}"


def legend(words: Sequence[str]) -> str:
    """A note on which number stands for which class."""
    shown = ", ".join(f"{word}={i}" for i, word in enumerate(words[:10]))
    return f"labels: {shown}" + (f" and {len(words) - 10} more" if len(words) > 10 else "")


class _Reader:
    """Positions -> pixels as stored, for worker processes."""

    def __init__(self, folder: Folder, code: Encoding, told: Domain | None) -> None:
        self._folder, self._code, self._told = folder, code, told

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, None]:
        x = np.empty((len(indices), *self._folder.pictures.shape), np.uint8)
        for row, i in zip(x, indices.tolist(), strict=True):
            name = self._folder.names[i]
            try:
                row[...] = self._folder.decode(name)
            except pictures.errors() as error:
                raise InputError(
                    f"{self._folder.root / name} cannot be decoded ({str(error).splitlines()[0]}); remove it"
                ) from None
        return self._code(pictures.scaled(x, self._told), str(self._folder.root)), None


def _lazy(folder: Folder, told: Domain | None) -> tuple[Indexed, Encoding, tuple[str, ...], str]:
    code = encoding.stored(told or folder.pictures.domain)
    labels, words = _classes(folder.names)
    split = MappedSplit(
        _Reader(folder, code, told),
        len(folder.names),
        folder.pictures.shape,
        labels=labels,
        names=folder.names,
        workers=WORKERS,
    )
    values = f"values: {code.domain}; images are decoded as they are needed, by {WORKERS} processes"
    files_ = [(name, (folder.root / name).stat().st_size) for name in folder.names]
    digest = hashlib.sha256(f"{files_} {folder.pictures.shape} {folder.pictures.mode}".encode()).hexdigest()
    notes = _notes(folder, len(folder.names), folder.skipped, values, words)
    return split, code, notes, f"sha256:{digest}"


def _classes(names: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels (N,) from the first folder of each name, where all have one and there are at least two."""
    first = [name.split("/")[0] if "/" in name else "" for name in names]
    words, codes = np.unique(first, return_inverse=True)
    if len(words) < 2 or "" in words:
        return None, ()
    return torch.from_numpy(codes.astype(np.int64)), (legend(words.tolist()),)


def _notes(folder: Folder, count: int, skipped: Sequence[str], values: str, words: tuple[str, ...]) -> tuple[str, ...]:
    notes = [folder.pictures.described(count)]
    notes += [f"{folder.others:,} other files left out"] if folder.others else []
    notes += folder.pictures.notes
    if skipped:
        more = f" and {len(skipped) - _SHOWN:,} more" if len(skipped) > _SHOWN else ""
        notes.append(f"{len(skipped):,} unreadable files skipped: {', '.join(skipped[:_SHOWN])}{more}")
    return (*notes, values, *words)


def _progress(items: Iterable[None], total: int) -> Iterable[None]:
    if total < _MANY:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc="images", unit="")
