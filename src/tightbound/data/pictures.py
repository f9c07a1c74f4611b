"""Encoded pictures: what they have in common, and how they become arrays of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tightbound.core.domain import BINARY, Domain
from tightbound.core.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
_GRAY = frozenset({"1", "L", "LA"})
_TRANSPARENT = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_DEEP = ("I", "F")  # more than 8 bits, which Pillow would clip
_KINDS = {"1": "black and white", "L": "gray", "RGB": "color"}

Header = tuple[str, tuple[int, int]]  # mode of Pillow; height and width


@dataclass(frozen=True)
class Wish:
    """What a person asks of pictures."""

    resize: tuple[int, int] | None = None  # height, width
    gray: bool = False

    def __bool__(self) -> bool:
        return self.resize is not None or bool(self.gray)

    def check(self) -> None:
        """Raises InputError for a size that is none."""
        if self.resize is not None and (len(self.resize) != 2 or min(self.resize) < 1):
            raise InputError(f"resize={self.resize} was given; it must be a height and a width, such as (64, 64)")


@dataclass(frozen=True)
class Pictures:
    """How pictures are read."""

    mode: str  # of Pillow: "1", "L" or "RGB"
    size: tuple[int, int]  # height, width
    wish: Wish
    notes: tuple[str, ...]  # on what is left out or converted

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    @property
    def domain(self) -> Domain:
        """Of the pixels."""
        return BINARY if self.mode == "1" else Domain("levels", 256)

    def described(self, count: int) -> str:
        """A note on so many of them."""
        how = "of" if self.wish.resize is None else "resized to"
        return f"{count:,} {_KINDS[self.mode]} images {how} {self.size[0]}x{self.size[1]}, height x width"

    def decode(self, file: Path | BinaryIO) -> np.ndarray:
        """(C, H, W) uint8; raises one of `errors()`, of which a ValueError says what does not fit."""
        from PIL import Image

        with Image.open(file) as image:
            self._check(image.mode, (image.height, image.width))
            picture = image.convert(self.mode)
            if self.wish.resize is not None:
                picture = picture.resize((self.size[1], self.size[0]), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture, np.uint8)
        return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]

    def _check(self, mode: str, size: tuple[int, int]) -> None:
        """Refuses what `judge` did not see, as it may look at some of the pictures alone."""
        if mode.startswith(_DEEP):
            raise ValueError("it has more than 8 bits a pixel")
        if self.wish.resize is None and size != self.size:
            wanted = f"{self.size[0]}x{self.size[1]}"
            raise ValueError(f"it is {size[0]}x{size[1]} and others are {wanted}: use resize=(H, W), --resize 64 64")
        lost = (self.mode == "1" and mode != "1") or (self.mode == "L" and mode not in _GRAY)
        if lost and not self.wish.gray:
            raise ValueError(f"its mode is {mode} and others are {_KINDS[self.mode]}: use gray=True, --gray")


def judge(headers: Mapping[str, Header], wish: Wish, where: object) -> Pictures:
    """How pictures with these headers, by name, are to be read.

    Raises:
        InputError: for sizes that differ, or more than 8 bits.
    """
    modes = {mode for mode, _ in headers.values()}
    if deep := next((n for n, (mode, _) in headers.items() if mode.startswith(_DEEP)), None):
        raise InputError(f"{where}/{deep} has more than 8 bits a pixel; convert it, or give the pixels as .npy")
    sizes: dict[tuple[int, int], str] = {}
    for name, (_, size) in headers.items():
        sizes.setdefault(size, name)
    if len(sizes) > 1 and wish.resize is None:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"{where}: images differ in size ({first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}, "
            "height x width); use resize=(H, W), or --resize 64 64"
        )
    mode = "L" if wish.gray or modes <= _GRAY else "RGB"
    if modes == {"1"} and wish.resize is None:
        mode = "1"
    notes = []
    if not wish.gray and modes & _GRAY and mode == "RGB":
        notes.append("gray and color images are mixed: all are read as RGB")
    if modes & _TRANSPARENT:
        notes.append("transparency is left out")
    size = next(iter(sizes)) if wish.resize is None else (int(wish.resize[0]), int(wish.resize[1]))
    return Pictures(mode, size, wish, tuple(notes))


def header(file: Path | BinaryIO) -> Header | None:
    """Mode, and height and width; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.mode, (image.height, image.width)
    except errors():
        return None


def scaled(x: np.ndarray, told: Domain | None) -> np.ndarray:
    """Pixels (..., H, W) as the user wants them: "unit" stands for 0 .. 255 divided by 255."""
    return x / np.float32(255) if told is not None and told.kind == "unit" else x


def errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for files that are no images, truncated or far too large."""
    from PIL import Image

    return OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError
