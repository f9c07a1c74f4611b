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

from tightbound.core.domain import BINARY, Domain
from tightbound.core.errors import InputError
from tightbound.data import encoding, files
from tightbound.data.encoding import Encoding
from tightbound.data.split import WORKERS, ArraySplit, Indexed, MappedSplit

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
_GREY = frozenset({"1", "L", "LA"})
_TRANSPARENT = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_DEEP = ("I", "F")  # more than 8 bits, which Pillow would clip
_SHOWN = 5  # names in a note
_MANY = 5_000  # images, from which progress is shown


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder that can be read, and how they are to be."""

    root: Path
    names: tuple[str, ...]  # relative to root
    mode: str  # of Pillow: "1", "L" or "RGB"
    size: tuple[int, int]  # height, width
    resize: bool
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    def decode(self, name: str) -> np.ndarray:
        """(C, H, W) uint8; raises what Pillow raises."""
        from PIL import Image

        with Image.open(self.root / name) as image:
            picture = image.convert(self.mode)
            if self.resize:
                picture = picture.resize((self.size[1], self.size[0]), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture, np.uint8)
        return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]


def scan(root: Path, resize: tuple[int, int] | None, grey: bool) -> Folder:
    """Looks at the header of each picture below a folder, hidden ones left out.

    Raises:
        InputError: for a folder without readable pictures, sizes that differ, or more than 8 bits.
    """
    if resize is not None and (len(resize) != 2 or min(resize) < 1):
        raise InputError(f"resize={resize} was given; it must be a height and a width, such as (64, 64)")
    every = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    pictures = [name for name in every if Path(name).suffix.lower() in SUFFIXES]
    if not pictures:
        raise InputError(
            f"{root} holds no images, only {len(every)} other files; give a folder with {', '.join(sorted(SUFFIXES))}"
        )
    with ThreadPoolExecutor(WORKERS) as pool:
        headers = list(pool.map(_header, [root / name for name in pictures]))
    found = {name: header for name, header in zip(pictures, headers, strict=True) if header is not None}
    if not found:
        raise InputError(f"{root}: none of {len(pictures)} images can be read, such as {pictures[0]}; check them")
    modes = {mode for mode, _ in found.values()}
    if deep := next((n for n, (mode, _) in found.items() if mode.startswith(_DEEP)), None):
        raise InputError(f"{root / deep} has more than 8 bits a pixel; convert it, or give the pixels as .npy")
    sizes: dict[tuple[int, int], str] = {}
    for name, (_, size) in found.items():
        sizes.setdefault(size, name)
    if len(sizes) > 1 and resize is None:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"{root}: images differ in size ({first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}, "
            "height x width); use resize=(H, W), or --resize 64 64"
        )
    mode = "L" if grey or modes <= _GREY else "RGB"
    if modes == {"1"} and resize is None:
        mode = "1"
    notes = [f"{len(every) - len(pictures):,} other files left out"] if len(every) > len(pictures) else []
    if not grey and modes & _GREY and mode == "RGB":
        notes.append("grey and colour images are mixed: all are read as RGB")
    if modes & _TRANSPARENT:
        notes.append("transparency is left out")
    skipped = tuple(name for name in pictures if name not in found)
    size = next(iter(sizes)) if resize is None else (int(resize[0]), int(resize[1]))
    return Folder(root, tuple(found), mode, size, resize is not None, skipped, tuple(notes))


def load(folder: Folder, told: Domain | None) -> tuple[Indexed, Encoding, tuple[str, ...], str]:
    """The pictures as a split, with encoding, notes and fingerprint: decoded once where they fit in memory.

    Raises:
        InputError: where none can be decoded, or `told` does not fit pixels.
    """
    if len(folder.names) * int(np.prod(folder.shape)) > files.MEMORY_LIMIT:
        return _lazy(folder, told)
    x = np.empty((len(folder.names), *folder.shape), np.uint8)
    good = np.zeros(len(x), bool)

    def decode(i: int) -> None:
        try:
            x[i] = folder.decode(folder.names[i])
            good[i] = True
        except _errors():
            pass

    with ThreadPoolExecutor(WORKERS) as pool:
        list(_progress(pool.map(decode, range(len(x))), len(x)))
    if not good.any():
        raise InputError(f"{folder.root}: no image can be decoded, such as {folder.names[0]}; check them")
    names = [name for name, fine in zip(folder.names, good, strict=True) if fine]
    skipped = (*folder.skipped, *(name for name, fine in zip(folder.names, good, strict=True) if not fine))
    x = _values(x if good.all() else x[good], told)
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
        x = np.empty((len(indices), *self._folder.shape), np.uint8)
        for row, i in zip(x, indices.tolist(), strict=True):
            name = self._folder.names[i]
            try:
                row[...] = self._folder.decode(name)
            except _errors() as error:
                raise InputError(
                    f"{self._folder.root / name} cannot be decoded ({str(error).splitlines()[0]}); remove it"
                ) from None
        return self._code(_values(x, self._told), str(self._folder.root)), None


def _lazy(folder: Folder, told: Domain | None) -> tuple[Indexed, Encoding, tuple[str, ...], str]:
    code = encoding.stored(told or (BINARY if folder.mode == "1" else Domain("levels", 256)))
    labels, words = _classes(folder.names)
    split = MappedSplit(
        _Reader(folder, code, told),
        len(folder.names),
        folder.shape,
        labels=labels,
        names=folder.names,
        workers=WORKERS,
    )
    values = f"values: {code.domain}; images are decoded as they are needed, by {WORKERS} processes"
    files_ = [(name, (folder.root / name).stat().st_size) for name in folder.names]
    digest = hashlib.sha256(f"{files_} {folder.shape} {folder.mode}".encode()).hexdigest()
    notes = _notes(folder, len(folder.names), folder.skipped, values, words)
    return split, code, notes, f"sha256:{digest}"


def _values(x: np.ndarray, told: Domain | None) -> np.ndarray:
    """Pixels (..., H, W) as the user wants them: "unit" stands for 0 .. 255 divided by 255."""
    return x / np.float32(255) if told is not None and told.kind == "unit" else x


def _classes(names: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels (N,) from the first folder of each name, where all have one and there are at least two."""
    first = [name.split("/")[0] if "/" in name else "" for name in names]
    words, codes = np.unique(first, return_inverse=True)
    if len(words) < 2 or "" in words:
        return None, ()
    return torch.from_numpy(codes.astype(np.int64)), (legend(words.tolist()),)


def _notes(folder: Folder, count: int, skipped: Sequence[str], values: str, words: tuple[str, ...]) -> tuple[str, ...]:
    kind = {"1": "black and white", "L": "grey", "RGB": "colour"}[folder.mode]
    how = "resized to" if folder.resize else "of"
    notes = [
        f"{count:,} {kind} images {how} {folder.size[0]}x{folder.size[1]}, height x width",
        *folder.notes,
    ]
    if skipped:
        more = f" and {len(skipped) - _SHOWN:,} more" if len(skipped) > _SHOWN else ""
        notes.append(f"{len(skipped):,} unreadable files skipped: {', '.join(skipped[:_SHOWN])}{more}")
    return (*notes, values, *words)


def _header(path: Path) -> tuple[str, tuple[int, int]] | None:
    """Mode, and height and width; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode, (image.height, image.width)
    except _errors():
        return None


def _errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for files that are no images, truncated or far too large."""
    from PIL import Image

    return OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError


def _progress(items: Iterable[None], total: int) -> Iterable[None]:
    if total < _MANY:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc="images", unit="")
