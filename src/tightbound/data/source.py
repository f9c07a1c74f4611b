"""`open`: from what a person has to train and test splits, with notes on all that was inferred."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, suggestion
from tightbound.data import builtin, columns, encoding, files, hub, images, loaders, parquet, tars, urls
from tightbound.data.factors import FactorGrid
from tightbound.data.names import BUILTINS, GRIDS
from tightbound.data.pictures import Wish
from tightbound.data.rows import Opened, mapped
from tightbound.data.split import ArraySplit, Indexed, Split
from tightbound.data.stream import Streamed
from tightbound.data.tables import Held, from_frame, is_frame, open_held, open_store


@dataclass(frozen=True)
class Data:
    """A data set: two splits, the set its values lie in, and what was inferred to get there."""

    name: str
    train: Split
    test: Split | None  # None: nothing was given or set aside for testing
    domain: Domain
    notes: tuple[str, ...]  # one line each: shape, values, split, what was skipped
    fingerprint: str  # "sha256:..." of the content or its definition; "none: reason" for a loader
    builtin: bool  # a built-in data set with published splits
    whole: Split  # all examples in their original order; for built-in sets and pairs of loaders the test split
    header: tuple[str, ...] = ()  # names of the columns of a table, where they are known
    validation: Split | None = None  # validation data that were given; None: taken from the training split

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example, channels first: (C, H, W) or (D,)."""
        return self.train.shape

    def require_test(self) -> Split:
        """Return the test split.

        Raises:
            InputError: If there is none.
        """
        if self.test is None:
            raise InputError(f"data set {self.name!r} has no test split; pass test=..., or open it from a file")
        return self.test

    def held_out(self, validation_size: int, seed: int = 0) -> tuple[Split, Split | None]:
        """Return the training and validation splits.

        The given validation split is returned if there is one; otherwise examples are taken from the training split
        by a seeded permutation.

        Args:
            validation_size: Number of validation examples to take; 0 takes none and returns None in their place.
            seed: Seed of the permutation.

        Raises:
            InputError: If no training examples would be left, or the data come from a loader.
        """
        if self.validation is not None or validation_size == 0:
            return self.train, self.validation
        return self.train.held_out(validation_size, seed)


def open(
    source: Any,
    *,
    levels: int | None = None,
    domain: str | None = None,
    kinds: columns.Kinds | None = None,
    resize: tuple[int, int] | None = None,
    gray: bool = False,
    test: float = 0.1,
    labels: Any = None,
) -> Data:
    """Data from whatever holds them.

    Arguments:
        source: A built-in name; an array or tensor (N, ...); a .npy, .npz, .csv, .tsv or .parquet file; a folder
            of images or Parquet files; tar shards in the manner of WebDataset (a file, a folder, a pattern
            "shards-{000..009}.tar" or an address); a data set of Hugging Face's `datasets`, or a folder that its
            `save_to_disk` made; a torch Dataset or DataLoader; a pair (train_loader, test_loader).
        levels: The values are integers 0 .. levels - 1.
        domain: The values are "binary", "counts", "unit" or "real"; overrules what is inferred, like `levels`.
        kinds: Of the columns of a table: "real", "binary", "counts", "unit", ("levels", K), "categories" or
            ("categories", words), one for each column, or {column: kind} by name or number; others are inferred. A
            table with kinds, words or missing entries (NaN, empty cells) is mixed: each column has its own domain.
        resize: Height and width to bring encoded pictures to.
        gray: Read encoded pictures as gray.
        test: Share of the data to hold out for testing, where the source has no split of its own.
        labels: One for each example, (N,) or (N, factors); of a table with a header, the name of a column.

    Raises:
        InputError: for data that cannot be used: what they are, what is needed, how to fix it.
    """
    if not 0 < test < 1:
        raise InputError(f"test={test} was given; it is the share of data to test on, between 0 and 1")
    return open_asked(source, asked(levels, domain, kinds, resize, gray, test, labels))


def asked(
    levels: int | None = None,
    domain: str | None = None,
    kinds: columns.Kinds | None = None,
    resize: tuple[int, int] | None = None,
    gray: bool = False,
    test: float | None = None,
    labels: Any = None,
) -> Asked:
    """Check the options of `open` against each other; `test=None` sets nothing aside for testing."""
    told = encoding.override(levels, domain)
    if kinds is not None and told is not None:
        raise InputError(
            "kinds are for the columns of a table, in place of levels and domain; leave out one or the other"
        )
    return Asked(told, kinds, Wish(resize, gray), test, labels)


def open_asked(source: Any, asked: Asked) -> Data:
    """Open a source as `open` does, with options that were checked."""
    if isinstance(source, str) and source in BUILTINS:
        asked.without_pictures().without_kinds()
        if asked.labels is not None:
            raise InputError(f"labels were given for {source!r}, which has its own; leave them out")
        return _open_builtin(source, asked.told)
    if isinstance(source, os.PathLike | str):
        return _open_path(os.fspath(source), asked)
    if is_frame(source):
        source = from_frame(source)
    if hub.is_ours(source) and not hub.has_transform(source):
        name = type(source).__name__
        return _taken(hub.open_hub(source, name, asked.told, asked.kinds, asked.labels, asked.wish), name, asked)
    asked.without_pictures()
    if isinstance(source, DataLoader) or (isinstance(source, (tuple, list)) and _loaders(source)):
        if asked.labels is not None:
            raise InputError("labels were given for a DataLoader; let it give pairs (x, y)")
        return _open_loaders(source, asked.told, asked.test is None)
    if isinstance(source, Held):
        return _taken(open_held(source, asked.told, asked.kinds, asked.labels), "table", asked)
    if isinstance(source, Dataset) or hub.is_ours(source):
        return _open_dataset(cast(Any, source), asked)
    if isinstance(source, Tensor) or hasattr(source, "__array__"):
        x = source.detach().cpu().numpy() if isinstance(source, Tensor) else np.asarray(source)
        y = None if asked.labels is None else np.asarray(asked.labels)
        return _from_arrays(files.Arrays(x, y, kinds=asked.kinds), "array", asked.told, asked.test)
    raise InputError(
        f"data cannot be read from {type(source).__name__}; "
        f"give a built-in name ({', '.join(sorted(BUILTINS))}), "
        "an array, a file, a folder of images, a Dataset or a DataLoader"
    )


@dataclass(frozen=True)
class Asked:
    """What a person asks beside the source; some of it does not go with every source."""

    told: Domain | None
    kinds: columns.Kinds | None
    wish: Wish
    test: float | None  # None: nothing is set aside for testing
    labels: Any

    def without_pictures(self) -> Asked:
        """Raises InputError where pictures are to be changed."""
        if self.wish:
            raise InputError(
                "resize and gray are for folders of images and other encoded pictures; change arrays before they are "
                "opened"
            )
        return self

    def without_kinds(self) -> Asked:
        """Raises InputError where the kinds of columns are named."""
        if self.kinds is not None:
            raise InputError("kinds are for the columns of a table, and these data are none; leave them out")
        return self

    def without_column(self, title: object) -> Asked:
        """Raises InputError where a column of labels is named."""
        if isinstance(self.labels, str):
            raise InputError(
                f"labels={self.labels!r} names a column, but {title} has none; give an array, or labels beside the data"
            )
        return self


def _open_path(text: str, asked: Asked) -> Data:
    """Data of a file, a folder, a pattern of names or an address."""
    path = Path(text).expanduser()
    folder = path.is_dir()
    if urls.is_url(text):
        asked.without_kinds().without_column(text)
        if asked.labels is not None:
            raise InputError("labels were given for a stream; let its samples have them, as .cls files")
        return _taken(urls.open_urls(text, asked.told, asked.wish), "stream", asked)
    if folder and hub.is_saved(path):
        found = hub.open_hub(hub.load_saved(path), text, asked.told, asked.kinds, asked.labels, asked.wish)
        return _taken(found, path.resolve().name, asked)
    if parquet.is_parquet(path) or (folder and next(parquet.found(path), None) is not None):
        if not path.exists():
            raise InputError(f"there is no file {text}")
        found = open_store(parquet.ParquetStore(path), asked.told, asked.kinds, asked.labels, asked.wish)
        return _taken(found, path.resolve().stem, asked)
    if path.suffix.lower() == ".tar" or (folder and next(path.glob("*.tar"), None) is not None):
        asked.without_kinds().without_column(text)
        return _taken(tars.open_tars(text, asked.told, asked.wish), tars.stem(text), asked)
    if folder:
        asked.without_kinds().without_column(text)
        return _open_folder(path, asked)
    asked.without_pictures()
    if not path.exists():
        raise InputError(
            f"{text!r} is neither a file, a folder, nor a built-in data set; {suggestion(text.lower(), BUILTINS)}"
        )
    return _from_arrays(files.read_arrays(path, asked.labels, asked.kinds), path.stem, asked.told, asked.test)


def _taken(found: files.Arrays | Opened | Streamed, name: str, asked: Asked) -> Data:
    """Data that were found in memory, where they are stored, or in a stream."""
    if isinstance(found, Streamed):
        digest = "none: a stream may change what it gives"
        data = Data(name, found.train, found.test, found.domain, found.notes, digest, False, found.whole)
        return replace(data, header=found.header)
    y = found.y if asked.labels is None or isinstance(asked.labels, str) else np.asarray(asked.labels)
    if isinstance(found, files.Arrays):
        return _from_arrays(replace(found, y=y), name, asked.told, asked.test)
    whole, digest = found.split, found.fingerprint
    whole.labels, named = _labels(y, len(whole))
    if whole.labels is not None:
        digest = f"sha256:{hashlib.sha256(digest.encode() + whole.labels.numpy().tobytes()).hexdigest()}"
    data = _parted(whole, found.train, name, found.domain, (*found.notes, *named), digest, asked.test)
    return replace(data, header=found.header)


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
    digest = fingerprint(x, whole.labels)
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


def _from_arrays(raw: files.Arrays, name: str, told: Domain | None, test: float | None) -> Data:
    """Data of arrays in memory or memory-mapped."""
    title, kinds = "the array" if name == "array" else name, raw.kinds
    encoding.numeric(raw.x, title)
    mapped = isinstance(raw.x, np.memmap)
    if kinds is not None and (mapped or raw.x.ndim != 2):
        raise InputError(f"kinds are for tables (N, D) in memory, and {title} has shape {raw.x.shape}; leave them out")
    if raw.x.ndim == 2 and not mapped and (raw.words or kinds is not None or np.isnan(raw.x).any()):
        return _mixed(raw, name, title, told, test)
    x, shape = encoding.channels_first(raw.x, title)
    code, values = encoding.infer(x, told, title)
    labels, named = _labels(raw.y, len(x))
    if isinstance(x, np.memmap) or isinstance(x.base, np.memmap):
        whole = ArraySplit(x, labels, raw.names, cast=code.convert)
        digest = fingerprint(x, labels)
    else:
        x = np.ascontiguousarray(code.convert(x))
        whole, digest = ArraySplit(x, labels, raw.names), fingerprint(x, labels)
    notes = (*raw.notes, shape, values, *named)
    return _parted(whole, raw.train, name, code.domain, notes, digest, test)


def _mixed(raw: files.Arrays, name: str, title: str, told: Domain | None, test: float | None) -> Data:
    """Data of a table whose columns have kinds of their own, or that lacks entries."""
    size, width = raw.x.shape
    wanted = columns.told([told] * width if raw.kinds is None else raw.kinds, raw.header, width)
    x, domain, found = columns.table(raw.x, raw.header, raw.words, wanted, title)
    labels, named = _labels(raw.y, size)
    notes = (*raw.notes, f"shape: {raw.x.shape}, read as {size} data of {width} columns", *found, *named)
    digest = fingerprint(x, labels, repr(domain))
    data = _parted(ArraySplit(x, labels), raw.train, name, domain, notes, digest, test)
    return replace(data, header=raw.header)


def _parted(
    whole: Indexed,
    first: int | None,
    name: str,
    domain: Domain,
    notes: tuple[str, ...],
    digest: str,
    test: float | None,
) -> Data:
    """Data whose first ones are for training, as they were given; None: to be split."""
    if first is None:
        return _split(whole, name, domain, notes, digest, test)
    if not 0 < first < len(whole):
        raise InputError(f"{name} has an empty x_train or x_test; both need data")
    rows = torch.arange(len(whole))
    return Data(name, whole.subset(rows[:first]), whole.subset(rows[first:]), domain, notes, digest, False, whole)


def _open_folder(path: Path, asked: Asked) -> Data:
    folder = images.scan(path, asked.wish)
    whole, code, notes, digest = images.load(folder, asked.told)
    if asked.labels is not None:
        given, _ = _labels(np.asarray(asked.labels), len(whole))
        assert given is not None
        whole.labels = given
        digest = f"sha256:{hashlib.sha256(digest.encode() + given.numpy().tobytes()).hexdigest()}"
    return _split(whole, path.resolve().name, code.domain, notes, digest, asked.test)


def _open_dataset(source: Dataset[Any], asked: Asked) -> Data:
    raw = loaders.materialize(source)
    name = type(source).__name__
    if raw is not None:
        y = raw.y if asked.labels is None else np.asarray(asked.labels)
        return _from_arrays(replace(raw, y=y, kinds=asked.kinds), name, asked.told, asked.test)
    if asked.kinds is not None:
        raise InputError("kinds were given for a data set too large for memory; leave them out")
    if asked.labels is not None:
        raise InputError("labels were given for a data set too large for memory; let it give pairs (x, y)")
    whole, code, notes = mapped(loaders.DatasetRows(source), asked.told)
    digest = "none: a data set too large to be read twice"
    return _split(whole, name, code.domain, notes, digest, asked.test)


def _open_loaders(source: Any, told: Domain | None, all_training: bool) -> Data:
    pair = (source, source) if isinstance(source, DataLoader) else source
    train, test, code, notes = loaders.wrap(pair, told)
    if pair[0] is pair[1] and all_training:
        digest = "none: a loader may change what it gives"
        return Data("loader", train, None, code.domain, notes[:1], digest, False, train)
    return Data("loader", train, test, code.domain, notes, "none: a loader may change what it gives", False, test)


def _split(whole: Indexed, name: str, domain: Domain, notes: tuple[str, ...], digest: str, test: float | None) -> Data:
    size = len(whole)
    if test is None:
        return Data(name, whole, None, domain, notes, digest, False, whole)
    if size < 2:
        raise InputError(f"{name} has 1 example; at least 2 are needed, one to train on and one to test on")
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


def fingerprint(x: np.ndarray, labels: Tensor | None, beside: str = "") -> str:
    """Return the SHA-256 of stored values and labels."""
    digest = hashlib.sha256(f"{x.dtype} {x.shape}{beside}".encode())
    for i in range(0, len(x), step := max(1, (1 << 24) // max(1, x[0].nbytes))):
        digest.update(np.ascontiguousarray(x[i : i + step]).data)
    if labels is not None:
        digest.update(labels.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
