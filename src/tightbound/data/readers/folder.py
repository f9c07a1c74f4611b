"""A folder of images."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError
from tightbound.data.readers import images
from tightbound.data.readers.tables import Table
from tightbound.data.split import WORKERS


class ImageFolder(Table):
    """The images below a folder, in the order of their names; first-level folders are classes if all are in one."""

    skips_broken = True

    def __init__(self, root: Path) -> None:
        """Read the header of each image; hidden files are left out."""
        self.root, self.title = root, str(root)
        self.schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
        every = sorted(
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
        self.files = self.names = list(self.headers)
        self.broken = [name for name in names if name not in self.headers]
        others = len(every) - len(names)
        self.notes = (f"{others:,} other files left out",) if others else ()
        classes = [name.split("/")[0] if "/" in name else "" for name in self.names]
        if len({*classes}) > 1 and "" not in classes:
            self.y = np.array(classes)

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
