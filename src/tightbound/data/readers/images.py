"""Encoded images: what they have in common, and how they become arrays of one shape."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from tightbound.core.domain import BINARY, Domain
from tightbound.core.errors import InputError
from tightbound.data.options import Options
from tightbound.data.readers.arrays import load

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
NUMPY = b"\x93NUMPY"  # how a .npy file begins
_GRAY = frozenset({"1", "L", "LA"})
_TRANSPARENT = frozenset({"LA", "PA", "RGBA", "RGBa"})
DEEP = "I;16"  # 16 bits per pixel, which Pillow also reads as "I;16B" and "I"
_COLORS = {"1": "black and white", "L": "gray", "RGB": "color", DEEP: "16-bit gray"}
_ORIENTATION = 0x0112  # of EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

File = Path | BinaryIO


class Header(NamedTuple):
    """Properties that an image file states about itself."""

    mode: str  # of Pillow; "LA" or "RGBA" if some pixels are transparent
    size: tuple[int, int]  # height and width as a person sees it
    turned: int = 1  # EXIF orientation; 1: upright
    frames: bool = False  # whether there is more than one


@dataclass(frozen=True)
class ImageFormat:
    """How encoded images are read."""

    mode: str  # of Pillow: "1", "L", "RGB" or `DEEP`
    size: tuple[int, int]  # height, width
    resize: bool
    gray: bool  # whether colors may be lost
    background: tuple[int, ...]  # color behind transparent pixels
    notes: tuple[str, ...]  # on what is left out or converted

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    @property
    def domain(self) -> Domain:
        """Domain of the pixels."""
        return BINARY if self.mode == "1" else Domain("levels", 1 << 16 if self.mode == DEEP else 256)

    def described(self, count: int) -> str:
        """Return a note on the images."""
        how = "resized to" if self.resize else "of"
        return f"{count:,} {_COLORS[self.mode]} images {how} {self.size[0]}x{self.size[1]}, height x width"

    def decode(self, file: File) -> np.ndarray:
        """Return the pixels (C, H, W); raise one of `errors()`, where a ValueError says what does not fit."""
        with Image.open(file) as image:
            found = _header(image)
            self._check(found)
            pixels = self._pixels(_opaque(image, found, self.background))
        if found.turned in _UPRIGHT:
            pixels = pixels.transpose(_UPRIGHT[found.turned])
        if self.resize:
            pixels = pixels.resize((self.size[1], self.size[0]), Image.Resampling.LANCZOS)
        if self.mode != DEEP:
            x = np.asarray(pixels, np.uint8)
            return x.transpose(2, 0, 1) if x.ndim == 3 else x[None]
        x = np.rint(np.asarray(pixels))
        if x.min() < 0 or (x.max() >= 1 << 16 and not self.resize):
            raise ValueError("it has more than 16 bits per pixel")
        return x.clip(0, (1 << 16) - 1).astype(np.uint16)[None]

    def _pixels(self, image: Image.Image) -> Image.Image:
        return image.convert("I").convert("F") if self.mode == DEEP else image.convert(self.mode)

    def scaled(self, x: np.ndarray, declared: Domain | None) -> np.ndarray:
        """Return pixels (..., H, W) divided by the highest level if the declared domain is "unit"."""
        return x / np.float32(self.domain.high) if declared is not None and declared.kind == "unit" else x

    def _check(self, found: Header) -> None:
        """Refuse what `judge` may not have seen, as it looks at some of the images only."""
        mode, size = found.mode, found.size
        if _deep(mode) != (self.mode == DEEP) or mode == "F":
            raise ValueError(f"its mode is {mode} and others are {_COLORS[self.mode]}: convert them alike")
        if not self.resize and size != self.size:
            needed = f"{self.size[0]}x{self.size[1]}"
            raise ValueError(f"it is {size[0]}x{size[1]} and others are {needed}: resize it")
        lost = (self.mode == "1" and mode != "1") or (self.mode == "L" and mode not in _GRAY)
        if lost and not self.gray:
            raise ValueError(f"its mode is {mode} and others are {_COLORS[self.mode]}: use gray=True")


def judge(headers: Mapping[str, Header], options: Options, where: object) -> ImageFormat:
    """Return how images with these headers, by name, are to be read; black and white ones as gray if so declared."""
    resize, declared = options.resize, options.declared
    if resize is not None and (len(resize) != 2 or min(resize) < 1):
        raise InputError(f"resize={resize} was given; it must be a height and a width, such as (64, 64)")
    modes = {each.mode for each in headers.values()}
    if odd := next((name for name, each in headers.items() if each.mode == "F"), None):
        raise InputError(f"{where}: {odd} holds floating-point pixels; give them as .npy")
    deep = [name for name, each in headers.items() if _deep(each.mode)]
    if 0 < len(deep) < len(headers):
        raise InputError(f"{where}: {deep[0]} has 16 bits per pixel, and others have 8; convert them alike")
    sizes: dict[tuple[int, int], str] = {}
    for name, each in headers.items():
        sizes.setdefault(each.size, name)
    if len(sizes) > 1 and resize is None:
        fix = "resize them" if options.like else "use resize=(HEIGHT, WIDTH)"
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"{where}: images differ in size ({first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}, "
            f"height x width); {fix}"
        )
    mode = DEEP if deep else "L" if options.gray or modes <= _GRAY else "RGB"
    if modes == {"1"} and resize is None and declared in (None, BINARY):
        mode = "1"
    notes = []
    if not options.gray and modes & _GRAY and mode == "RGB":
        notes.append("gray and color images are mixed: all are read as RGB")
    if modes & _TRANSPARENT:
        notes.append(f"transparent pixels are seen on {options.background or 'white'} (background=)")
    if any(each.turned in _UPRIGHT for each in headers.values()):
        notes.append("images are turned upright, as their EXIF orientation says")
    if any(each.frames for each in headers.values()):
        notes.append("some files hold several frames or pages: the first of each is read")
    size = next(iter(sizes)) if resize is None else (int(resize[0]), int(resize[1]))
    color = _color(options.background or "white")
    return ImageFormat(mode, size, resize is not None, options.gray, color, tuple(notes))


def _color(name: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise InputError(f"background={name!r} is no color; use a name such as 'white', or '#rrggbb'") from None


def _deep(mode: str) -> bool:
    return mode.startswith("I")


def header(file: File) -> Header | None:
    """Return what an image file says of itself; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            several = bool(getattr(image, "is_animated", False)) and image.format != "MPO"  # a photograph and a preview
            return _header(image)._replace(frames=several)
    except errors():
        return None


def _header(image: Image.Image) -> Header:
    mode, size = image.mode, (image.height, image.width)
    if "transparency" in image.info and mode not in _TRANSPARENT:
        mode = "LA" if mode in _GRAY else "RGBA"
    turned = 1
    if image.format in ("JPEG", "MPO", "WEBP") or (image.format == "PNG" and "exif" in image.info):  # Pillow turns TIFF
        turned = int(image.getexif().get(_ORIENTATION, 1))
    return Header(mode, (size[1], size[0]) if turned in (5, 6, 7, 8) else size, turned)


def _opaque(image: Image.Image, found: Header, background: tuple[int, ...]) -> Image.Image:
    """Return an image without transparency, on a background."""
    if found.mode not in _TRANSPARENT:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, (*background, 255)), seen).convert("RGB")


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


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that Pillow raises for files that are not images, truncated or far too large."""
    return OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError
