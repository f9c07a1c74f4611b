"""A folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError
from tightbound.data.readers import images, paths
from tightbound.data.readers.tabular.tables import Table
from tightbound.data.splits.workers import WORKERS


class ImageFolder(Table):
    """The images below a folder, in the order of their names.

    First-level folders called train and test (or validation) are a split; others are classes, if each image is in one.
    """

    skips_broken = True

    def __init__(self, root: Path, classes: Sequence[str] = ()) -> None:
        """Read the header of each image in a folder, or of a single image; hidden files are left out.

        Args:
            root: The folder or the image.
            classes: Classes that a model knows; a folder of all images with one of these names is their label.
        """
        self.title = str(root)
        self.root, only = (root.parent, [root.name]) if root.is_file() else (root, None)
        root = self.root
        self.schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
        every = only or sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
        names = [name for name in every if Path(name).suffix.lower() in images.SUFFIXES]
        if not names:
            raise InputError(
                f"{root} holds no images, only {len(every)} other files; give a folder with "
                f"{', '.join(sorted(images.SUFFIXES))}"
            )
        with ThreadPoolExecutor(WORKERS) as pool:
            headers = list(pool.map(images.header, [root / name for name in names]))
        self.headers = {name: header for name, header in zip(names, headers, strict=True) if header is not None}
        if not self.headers:
            raise InputError(f"{root}: none of {len(names)} images can be read, such as {names[0]}; check them")
        self.broken = [name for name in names if name not in self.headers]
        others = len(every) - len(names)
        above = _common(list(self.headers))
        folders = {name: name.split("/")[above:-1] for name in self.headers}
        parts = paths.parted({name: paths.role(way[0], whole=True) if way else "" for name, way in folders.items()})
        self.files = self.names = parts.files
        self.notes = (f"{others:,} other files left out",) if others else ()
        if parts.test:
            self.train, self.validation = len(parts.train), len(parts.validation)
            left = {folders[name][0] if folders[name] else "none" for name in parts.others}
            self.notes += replace(parts, others=sorted(left)).notes("folders")
        way = next(iter(self.headers)).split("/")[:-1][:above]
        self._label(folders, parts, [*root.resolve().parts, *way][-1], classes)

    def _label(
        self, folders: Mapping[str, Sequence[str]], parts: paths.Parts, common: str, known: Sequence[str]
    ) -> None:
        """Set the labels: the folders of the images, apart from those of a split, or one known class for all."""
        depth = 1 if parts.test else 0
        classes = [folders[name][depth] if len(folders[name]) > depth else "" for name in self.files]
        if len({*classes}) > 1 and "" not in classes:
            self.y = np.array(classes)
        elif common in known and not parts.test:
            self.y = np.array([common] * len(self.files))
            self.notes += (f"labels: all images are in the folder {common}",)
        elif parts.test and any(classes[: len(parts.train)]):
            self.notes += ("no labels: not all images are in a folder of a class",)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray, names: tuple[str, ...]) -> pa.Table:
        """See `Table.take`."""
        files = [{"bytes": None, "path": str(self.root / self.files[row])} for row in rows.tolist()]
        return pa.Table.from_pydict({"image": files}, self.schema)

    def place(self, row: int) -> str:
        """See `Table.place`."""
        return str(self.root / self.files[row])

    def fingerprint(self) -> str:
        """See `Table.fingerprint`: of the names and sizes of the files, and the headers of the images."""
        sizes = [(name, (self.root / name).stat().st_size, header) for name, header in (self.headers or {}).items()]
        return f"sha256:{hashlib.sha256(repr(sizes).encode()).hexdigest()}"


def _common(names: Sequence[str]) -> int:
    """Return how many folders all files have in common, unless these are parts of a split."""
    ways = [name.split("/")[:-1] for name in names]
    depth = 0
    while all(len(way) > depth and way[depth] == ways[0][depth] for way in ways):
        depth += 1
    return depth
