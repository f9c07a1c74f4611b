"""Encoded images: what they have in common, and how they become arrays of one shape."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from tightbound.core.domain import BINARY, Domain
from tightbound.core.errors import InputError
from tightbound.data.options import Options
from tightbound.data.readers.arrays import load

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
NUMPY = b"\x93NUMPY"  # how a .npy file begins
_GRAY = frozenset({"1", "L", "LA"})
_TRANSPARENT = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_DEEP = ("I", "F")  # modes with more than 8 bits, which Pillow would clip
_COLORS = {"1": "black and white", "L": "gray", "RGB": "color"}

File = Path | BinaryIO
Header = tuple[str, tuple[int, int]]  # mode of Pillow; height and width


@dataclass(frozen=True)
class ImageFormat:
    """How encoded images are read."""

    mode: str  # of Pillow: "1", "L" or "RGB"
    size: tuple[int, int]  # height, width
    resize: bool
    gray: bool  # whether colors may be lost
    notes: tuple[str, ...]  # on what is left out or converted

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    @property
    def domain(self) -> Domain:
        """Domain of the pixels."""
        return BINARY if self.mode == "1" else Domain("levels", 256)

    def described(self, count: int) -> str:
        """Return a note on the images."""
        how = "resized to" if self.resize else "of"
        return f"{count:,} {_COLORS[self.mode]} images {how} {self.size[0]}x{self.size[1]}, height x width"

    def decode(self, file: File) -> np.ndarray:
        """Return the pixels (C, H, W), uint8; raise one of `errors()`, where a ValueError says what does not fit."""
        with Image.open(file) as image:
            self._check(image.mode, (image.height, image.width))
            converted = image.convert(self.mode)
            if self.resize:
                converted = converted.resize((self.size[1], self.size[0]), Image.Resampling.LANCZOS)
            pixels = np.asarray(converted, np.uint8)
        return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]

    def _check(self, mode: str, size: tuple[int, int]) -> None:
        """Refuse what `judge` may not have seen, as it looks at some of the images only."""
        if mode.startswith(_DEEP):
            raise ValueError("it has more than 8 bits per pixel")
        if not self.resize and size != self.size:
            needed = f"{self.size[0]}x{self.size[1]}"
            raise ValueError(f"it is {size[0]}x{size[1]} and others are {needed}: use resize=(HEIGHT, WIDTH)")
        lost = (self.mode == "1" and mode != "1") or (self.mode == "L" and mode not in _GRAY)
        if lost and not self.gray:
            raise ValueError(f"its mode is {mode} and others are {_COLORS[self.mode]}: use gray=True")


def judge(headers: Mapping[str, Header], options: Options, where: object) -> ImageFormat:
    """Return how images with these headers, by name, are to be read; black and white ones as gray if so declared."""
    resize, declared = options.resize, options.declared
    if resize is not None and (len(resize) != 2 or min(resize) < 1):
        raise InputError(f"resize={resize} was given; it must be a height and a width, such as (64, 64)")
    modes = {mode for mode, _ in headers.values()}
    if deep := next((n for n, (mode, _) in headers.items() if mode.startswith(_DEEP)), None):
        raise InputError(f"{where}: {deep} has more than 8 bits per pixel; convert it, or give the pixels as .npy")
    sizes: dict[tuple[int, int], str] = {}
    for name, (_, size) in headers.items():
        sizes.setdefault(size, name)
    if len(sizes) > 1 and resize is None:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"{where}: images differ in size ({first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}, "
            "height x width); use resize=(HEIGHT, WIDTH)"
        )
    mode = "L" if options.gray or modes <= _GRAY else "RGB"
    if modes == {"1"} and resize is None and declared in (None, BINARY):
        mode = "1"
    notes = []
    if not options.gray and modes & _GRAY and mode == "RGB":
        notes.append("gray and color images are mixed: all are read as RGB")
    if modes & _TRANSPARENT:
        notes.append("transparency is left out")
    size = next(iter(sizes)) if resize is None else (int(resize[0]), int(resize[1]))
    return ImageFormat(mode, size, resize is not None, options.gray, tuple(notes))


def header(file: File) -> Header | None:
    """Return the mode and the size (height, width) of an image; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            return image.mode, (image.height, image.width)
    except errors():
        return None


def is_numpy(file: File) -> bool:
    """Whether this is a .npy file and not an image."""
    return isinstance(file, io.BytesIO) and file.getbuffer()[:6] == NUMPY


def decode(file: File, form: ImageFormat | None) -> np.ndarray:
    """Return an image (C, H, W), or the array of a .npy file; raise one of `errors()`."""
    if is_numpy(file):
        return load(file)
    if form is None:
        raise ValueError("it is not a .npy file, unlike those before it")
    return form.decode(file)


def scaled(x: np.ndarray, declared: Domain | None) -> np.ndarray:
    """Return pixels (..., H, W) divided by 255 if the declared domain is "unit"."""
    return x / np.float32(255) if declared is not None and declared.kind == "unit" else x


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that Pillow raises for files that are not images, truncated or far too large."""
    return OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError
