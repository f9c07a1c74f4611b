"""`open`: from what a person has to train and test splits, with notes on all that was inferred."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, suggestion
from tightbound.data import builtin, columns, encoding, files, images, loaders
from tightbound.data.factors import FactorGrid
from tightbound.data.names import BUILTINS, GRIDS
from tightbound.data.split import ArraySplit, Indexed, Split


@dataclass(frozen=True)
class Data:
    """A data set: two splits, the set its values lie in, and what was inferred to get there."""

    name: str
    train: Split
    test: Split
    domain: Domain
    notes: tuple[str, ...]  # one line each: shape, values, split, what was skipped
    fingerprint: str  # "sha256:..." of the content or its definition; "none: reason" of a loader
    builtin: bool  # a built-in set with published splits
    whole: Split  # all data in their original order; of built-in sets and loaders the test split
    header: tuple[str, ...] = ()  # names of the columns of a table, where they are known

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one datum, channels first: (C, H, W) or (D,)."""
        return self.train.shape

    def held_out(self, validation: int, seed: int = 0) -> tuple[Split, Split | None]:
        """Training and validation data: the latter are taken from the training split by a seeded permutation.

        Arguments:
            validation: Number of validation data; 0: the training split as it is, and None.

        Raises:
            InputError: where that leaves no training data, or the data come from a loader.
        """
        if validation == 0:
            return self.train, None
        if not isinstance(self.train, Indexed):
            raise InputError(
                f"{validation} validation data were asked of a DataLoader, which has no random access; "
                "use validation=0, or give a pair (train_loader, test_loader) or the data set itself"
            )
        size = len(self.train)
        if not 0 < validation < size:
            raise InputError(
                f"{validation} validation data were asked for, but the training split has {size}; use 0..{size - 1}"
            )
        order = np.random.default_rng(seed).permutation(size)
        return self.train.subset(np.sort(order[validation:])), self.train.subset(np.sort(order[:validation]))


def open(
    source: Any,
    *,
    levels: int | None = None,
    domain: str | None = None,
    kinds: columns.Kinds | None = None,
    resize: tuple[int, int] | None = None,
    grey: bool = False,
    test: float = 0.1,
    labels: Any = None,
) -> Data:
    """Data from whatever holds them.

    Arguments:
        source: A built-in name; an array or tensor (N, ...); a .npy, .npz, .csv or .tsv file; a folder
            of images; a torch Dataset or DataLoader; a pair (train_loader, test_loader).
        levels: The values are integers 0 .. levels - 1.
        domain: The values are "binary", "counts", "unit" or "real"; overrules what is inferred, like `levels`.
        kinds: Of the columns of a table: "real", "binary", "counts", "unit", ("levels", K), "categories" or
            ("categories", words), one for each column, or {column: kind} by name or number; others are inferred. A
            table with kinds, words or missing entries (NaN, empty cells) is mixed: each column has its own domain.
        resize: Height and width to bring the pictures of a folder to.
        grey: Read the pictures of a folder as grey.
        test: Share of the data to hold out for testing, where the source has no split of its own.
        labels: One for each datum, (N,) or (N, factors); of a table with a header, the name of a column.

    Raises:
        InputError: for data that cannot be used: what they are, what is needed, how to fix it.
    """
    told = encoding.override(levels, domain)
    if not 0 < test < 1:
        raise InputError(f"test={test} was given; it is the share of data to test on, between 0 and 1")
    path, source_is_builtin = _path(source), isinstance(source, str) and source in BUILTINS
    folder = path if path is not None and path.is_dir() else None
    if folder is None and (resize is not None or grey):
        raise InputError("resize and grey are for folders of images; change arrays before they are opened")
    if kinds is not None and (told is not None or folder is not None or source_is_builtin):
        raise InputError(
            "kinds are for the columns of a table, in place of levels and domain; leave out one or the other"
        )
    if source_is_builtin:
        if labels is not None:
            raise InputError(f"labels were given for {source!r}, which has its own; leave them out")
        return _open_builtin(source, told)
    if folder is not None:
        return _open_folder(folder, told, resize, grey, test, labels)
    if path is not None:
        if not path.exists():
            raise InputError(
                f"{str(source)!r} is neither a file, a folder, nor a built-in data set; "
                f"{suggestion(str(source).lower(), BUILTINS)}"
            )
        return _from_arrays(files.read_arrays(path, labels, kinds), path.stem, told, test, kinds)
    if isinstance(source, DataLoader) or (isinstance(source, (tuple, list)) and _loaders(source)):
        if labels is not None:
            raise InputError("labels were given for a DataLoader; let it give pairs (x, y)")
        return _open_loaders(source, told)
    if isinstance(source, Dataset):
        return _open_dataset(source, told, test, labels, kinds)
    if isinstance(source, Tensor) or hasattr(source, "__array__"):
        x = source.detach().cpu().numpy() if isinstance(source, Tensor) else np.asarray(source)
        y = None if labels is None else np.asarray(labels)
        return _from_arrays(files.Arrays(x, y), "array", told, test, kinds)
    raise InputError(
        f"data cannot be read from {type(source).__name__}; "
        f"give a built-in name ({', '.join(sorted(BUILTINS))}), "
        "an array, a file, a folder of images, a Dataset or a DataLoader"
    )


def _path(source: Any) -> Path | None:
    if isinstance(source, os.PathLike):
        return Path(os.fspath(source)).expanduser()
    if isinstance(source, str) and source not in BUILTINS:
        return Path(source).expanduser()
    return None


def _loaders(pair: Sequence[Any]) -> bool:
    if any(isinstance(p, DataLoader) for p in pair) and len(pair) != 2:
        raise InputError(f"{len(pair)} loaders were given; give one, or a pair (train_loader, test_loader)")
    return len(pair) == 2 and all(isinstance(p, DataLoader) for p in pair)


def _open_builtin(name: str, told: Domain | None) -> Data:
    if name in GRIDS:
        return _open_grid(name, told)
    read = builtin.READERS[name]()
    x, values = read.x, f"values: {read.domain}"
    if told not in (None, read.domain):
        code, values = encoding.infer(x, told, name)
        x = code.convert(x)
    whole = ArraySplit(x, None if read.labels is None else torch.from_numpy(read.labels.astype(np.int64)))
    train, test = whole.subset(read.train), whole.subset(read.test)
    digest = _fingerprint(x, whole.labels)
    return Data(name, train, test, told or read.domain, (values, read.note), digest, True, test)


def _open_grid(name: str, told: Domain | None) -> Data:
    module, _, kind = GRIDS[name].partition(":")
    whole: FactorGrid = getattr(importlib.import_module(module), kind)()
    if told not in (None, whole.domain):
        raise InputError(f"{name} are {whole.domain}, not {told}; leave out levels and domain")
    order = np.random.default_rng(0).permutation(len(whole)).astype(np.int32)
    train, test = whole.subset(np.sort(order[10_000:])), whole.subset(np.sort(order[:10_000]))
    notes = (whole.note, f"split: {len(train):,} train and {len(test):,} test by a fixed permutation")
    digest = f"sha256:{hashlib.sha256(whole.definition.encode()).hexdigest()}"
    return Data(name, train, test, whole.domain, notes, digest, True, test)


def _from_arrays(
    raw: files.Arrays, name: str, told: Domain | None, test: float, kinds: columns.Kinds | None = None
) -> Data:
    """Data of arrays in memory or memory-mapped."""
    title = "the array" if name == "array" else name
    encoding.numeric(raw.x, title)
    mapped = isinstance(raw.x, np.memmap)
    if kinds is not None and (mapped or raw.x.ndim != 2):
        raise InputError(f"kinds are for tables (N, D) in memory, and {title} has shape {raw.x.shape}; leave them out")
    if raw.x.ndim == 2 and not mapped and (raw.words or kinds is not None or np.isnan(raw.x).any()):
        return _mixed(raw, name, title, told, test, kinds)
    x, shape = encoding.channels_first(raw.x, title)
    code, values = encoding.infer(x, told, title)
    labels, named = _labels(raw.y, len(x))
    if isinstance(x, np.memmap) or isinstance(x.base, np.memmap):
        whole = ArraySplit(x, labels, cast=code.convert)
        digest = _fingerprint(x, labels)
    else:
        x = np.ascontiguousarray(code.convert(x))
        whole, digest = ArraySplit(x, labels), _fingerprint(x, labels)
    notes = (*raw.notes, shape, values, *named)
    return _parted(whole, raw.train, name, code.domain, notes, digest, test)


def _mixed(
    raw: files.Arrays, name: str, title: str, told: Domain | None, test: float, kinds: columns.Kinds | None
) -> Data:
    """Data of a table whose columns have kinds of their own, or that lacks entries."""
    size, width = raw.x.shape
    wanted = columns.told([told] * width if kinds is None else kinds, raw.header, width)
    x, domain, found = columns.table(raw.x, raw.header, raw.words, wanted, title)
    labels, named = _labels(raw.y, size)
    notes = (*raw.notes, f"shape: {raw.x.shape}, read as {size} data of {width} columns", *found, *named)
    digest = _fingerprint(x, labels, repr(domain))
    data = _parted(ArraySplit(x, labels), raw.train, name, domain, notes, digest, test)
    return replace(data, header=raw.header)


def _parted(
    whole: Indexed, first: int | None, name: str, domain: Domain, notes: tuple[str, ...], digest: str, test: float
) -> Data:
    """Data whose first ones are for training, as they were given; None: to be split."""
    if first is None:
        return _split(whole, name, domain, notes, digest, test)
    if not 0 < first < len(whole):
        raise InputError(f"{name} has an empty x_train or x_test; both need data")
    rows = torch.arange(len(whole))
    return Data(name, whole.subset(rows[:first]), whole.subset(rows[first:]), domain, notes, digest, False, whole)


def _open_folder(
    path: Path, told: Domain | None, resize: tuple[int, int] | None, grey: bool, test: float, labels: Any
) -> Data:
    folder = images.scan(path, resize, grey)
    if isinstance(labels, str):
        raise InputError(f"labels={labels!r} names a column, but {path} is a folder; give an array or sub-folders")
    whole, code, notes, digest = images.load(folder, told)
    if labels is not None:
        given, _ = _labels(np.asarray(labels), len(whole))
        assert given is not None
        whole.labels = given
        digest = f"sha256:{hashlib.sha256(digest.encode() + given.numpy().tobytes()).hexdigest()}"
    return _split(whole, path.resolve().name, code.domain, notes, digest, test)


def _open_dataset(
    source: Dataset[Any], told: Domain | None, test: float, labels: Any, kinds: columns.Kinds | None
) -> Data:
    raw = loaders.materialise(source)
    name = type(source).__name__
    if raw is not None:
        if labels is not None:
            raw = files.Arrays(raw.x, np.asarray(labels), notes=raw.notes)
        return _from_arrays(raw, name, told, test, kinds)
    if kinds is not None:
        raise InputError("kinds were given for a data set too large for memory; leave them out")
    if labels is not None:
        raise InputError("labels were given for a data set too large for memory; let it give pairs (x, y)")
    whole, code, notes = loaders.mapped(source, told)
    return _split(whole, name, code.domain, notes, "none: a data set too large to be read twice", test)


def _open_loaders(source: Any, told: Domain | None) -> Data:
    pair = (source, source) if isinstance(source, DataLoader) else source
    train, test, code, notes = loaders.wrap(pair, told)
    return Data("loader", train, test, code.domain, notes, "none: a loader may change what it gives", False, test)


def _split(whole: Indexed, name: str, domain: Domain, notes: tuple[str, ...], digest: str, test: float) -> Data:
    size = len(whole)
    if size < 2:
        raise InputError(f"{name} has 1 datum; at least 2 are needed, one to train on and one to test on")
    held = min(max(1, round(test * size)), size - 1)
    order = np.random.default_rng(0).permutation(size)
    note = f"split: {size - held:,} train and {held:,} test by a fixed permutation"
    train, rest = whole.subset(np.sort(order[held:])), whole.subset(np.sort(order[:held]))
    return Data(name, train, rest, domain, (*notes, note), digest, False, whole)


def _labels(y: np.ndarray | None, size: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels as a tensor of integers, or of numbers where they are none; words become their rank."""
    if y is None:
        return None, ()
    if y.ndim == 0 or len(y) != size:
        raise InputError(f"labels have shape {y.shape}, but there are {size} data; give one label for each")
    if y.dtype.kind in "USO":
        if y.ndim != 1 or not all(isinstance(v, str) for v in y.tolist()):
            raise InputError(f"labels of dtype {y.dtype} and shape {y.shape} are no (N,) words or numbers")
        words, codes = np.unique(y.astype(str), return_inverse=True)
        return torch.from_numpy(codes.astype(np.int64)), (images.legend(words.tolist()),)
    if y.dtype.kind not in "biuf":
        raise InputError(f"labels are of dtype {y.dtype}; give numbers or words")
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.rint(y)).all()):
        return torch.from_numpy(y.astype(np.float32)), ()
    return torch.from_numpy(y.astype(np.int64)), ()


def _fingerprint(x: np.ndarray, labels: Tensor | None, beside: str = "") -> str:
    digest = hashlib.sha256(f"{x.dtype} {x.shape}{beside}".encode())
    for i in range(0, len(x), step := max(1, (1 << 24) // max(1, x[0].nbytes))):
        digest.update(np.ascontiguousarray(x[i : i + step]).data)
    if labels is not None:
        digest.update(labels.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
