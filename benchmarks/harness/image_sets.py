"""Four sets of images of 28 to 64 pixels: two of tightbound's, and two that packages of Debian and npm contain.

An image of a package is put on white, and taken once if several are equal. Sets that are made are cached as folders
of PNG files, `train/CLASS/NAME.png` and `test/CLASS/NAME.png`; a tenth of the images, by a hash of their names, are for
testing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

TEST = 0.1  # share of the images for testing
SCENES = 10_000  # images that are taken from the built-in set `scenes`
TONES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")  # of skin: other images of the same emoji


@dataclass(frozen=True)
class Drawing:
    """An image of a set that is made, (H, W, 3) bytes."""

    name: str
    label: str
    pixels: np.ndarray


def cache() -> Path:
    """Return the folder of sets that are made: `images` in that of tightbound's downloads."""
    from tightbound.data.builtin.cache import cache_folder

    return cache_folder() / "images"


def path_of(name: str) -> str | None:
    """Return what `tb.data.open` opens the set from, after making it if need be; None: it is not to be had."""
    if name == "fashion-mnist":
        return name if _has_fashion() else None
    folder = cache() / name
    if not folder.is_dir():
        try:
            write(folder, SETS[name]())
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: left out, because it could not be made: {error}")
            return None
    return str(folder)


def _has_fashion() -> bool:
    from tightbound.data.builtin.cache import cache_folder

    if (cache_folder() / "fashion-mnist").is_dir():
        return True
    print("fashion-mnist: left out, because it was not downloaded; set TIGHTBOUND_DATA to the folder that has it")
    return False


def write(folder: Path, drawings: Iterator[Drawing]) -> None:
    """Write distinct images to a folder, which appears when all are written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "set"
        for drawing, split in split_by_name(distinct(drawings)):
            file = made / split / drawing.label / f"{drawing.name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing.pixels).save(file)
        made.rename(folder)


def distinct(drawings: Iterator[Drawing]) -> list[Drawing]:
    """Return the first of equal images."""
    first: dict[bytes, Drawing] = {}
    for drawing in drawings:
        first.setdefault(drawing.pixels.tobytes(), drawing)
    return list(first.values())


def split_by_name(drawings: list[Drawing]) -> list[tuple[Drawing, Literal["train", "test"]]]:
    """Return each image with its part: those whose names have the smallest hashes are for testing."""
    order = sorted(drawings, key=lambda d: hashlib.sha256(f"{d.label}/{d.name}".encode()).digest())
    tests = round(TEST * len(order))
    return [(drawing, "test" if i < tests else "train") for i, drawing in enumerate(order)]


def on_white(image: Image.Image, edge: int) -> np.ndarray:
    """Return an image on white, (edge, edge, 3), halved if it is larger."""
    below = Image.new("RGBA", image.size, "white")
    below.alpha_composite(image.convert("RGBA"))
    return np.asarray(below.convert("RGB").resize((edge, edge), Image.Resampling.BOX))


def images(split: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the images (n, C, H, W) of a split of tightbound's as bytes."""
    import torch

    return split.batch(torch.from_numpy(np.arange(len(split)) if rows is None else rows)).x.numpy().astype(np.uint8)


def icons() -> Iterator[Drawing]:
    """Yield the icons of 32 x 32 pixels of Debian's `oxygen-icon-theme`, with their category."""
    with tempfile.TemporaryDirectory() as temporary:
        _run(["apt-get", "download", "oxygen-icon-theme"], temporary)
        package = next(Path(temporary).glob("*.deb"))
        _run(["dpkg-deb", "-x", str(package), "files"], temporary)
        base = Path(temporary, "files/usr/share/icons/oxygen/base/32x32")
        for file in sorted(file for file in base.rglob("*.png") if not file.is_symlink()):
            with Image.open(file) as image:
                if image.size == (32, 32):  # one is an animation
                    yield Drawing(file.stem, file.parent.name, on_white(image, 32))


def emoji() -> Iterator[Drawing]:
    """Yield the images of npm's `emoji-datasource-twitter`, halved to 32 x 32 pixels, with their category."""
    with tempfile.TemporaryDirectory() as temporary:
        _run(["npm", "pack", "emoji-datasource-twitter@16.0.0"], temporary)
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as package:
            package.extractall(temporary, filter="data")
        facts = json.loads(Path(temporary, "package/emoji.json").read_text())
        for each in sorted(facts, key=lambda each: each["image"]):
            file = Path(temporary, "package/img/twitter/64", each["image"])
            if file.is_file() and not any(tone in each["unified"].split("-") for tone in TONES):
                with Image.open(file) as image:
                    yield Drawing(file.stem, _folder_name(each["category"]), on_white(image, 32))


def scenes() -> Iterator[Drawing]:
    """Yield images of tightbound's set `scenes`, 64 x 64 pixels, evenly spread over it."""
    import tightbound as tb

    for i, pixels in enumerate(images(tb.data.open("scenes").train, np.arange(SCENES) * 47)):
        yield Drawing(f"{i:05d}", "scenes", pixels.transpose(1, 2, 0))


def _folder_name(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _run(command: list[str], folder: str) -> None:
    if shutil.which(command[0]) is None:
        raise OSError(f"there is no {command[0]} on this machine")
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})


SETS: Mapping[str, Callable[[], Iterator[Drawing]]] = {"icons": icons, "emoji": emoji, "scenes": scenes}
NAMES = ("icons", "emoji", "scenes", "fashion-mnist")
