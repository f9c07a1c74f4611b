"""`open`: from a path, a name or an object to a data set, with notes on all that was inferred."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.errors import InputError, TightboundError, first_line, number, suggestion
from tightbound.data import encoding
from tightbound.data.builtin import BUILTINS, GRIDS, published
from tightbound.data.builtin.factors import FactorGrid
from tightbound.data.columns import Kinds
from tightbound.data.dataset import Arrays, Data, fingerprint, from_arrays
from tightbound.data.form import as_array
from tightbound.data.options import Limits, Options
from tightbound.data.readers import arrays, paths, torch_data
from tightbound.data.splits.indexed import ArraySplit


def open(
    source: Any,
    *,
    levels: int | None = None,
    domain: str | None = None,
    kinds: Kinds | None = None,
    resize: tuple[int, int] | None = None,
    gray: bool = False,
    background: str | None = None,
    test: float = 0.1,
    labels: Any = None,
    ignore: str | Sequence[str] = (),
    id: str | None = None,
    layer: str | None = None,
    covariates: str | Sequence[str] = (),
    delimiter: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    index: bool | None = None,
    encoding: str | None = None,
    limits: Limits | None = None,
) -> Data:
    """Open a data set, whatever holds it.

    Args:
        source: A built-in name; an array or tensor (N, ...) or a list; a data frame; AnnData; a .npy, .npz, .csv, .tsv,
            .parquet or .h5ad file; a folder of images or Parquet files; tar files in the format of WebDataset (a
            file, a folder, a pattern "shards-{000..009}.tar" or an address); a data set of Hugging Face's `datasets`,
            or a folder that its `save_to_disk` made; a torch Dataset or DataLoader; a pair of these for training and
            testing; a pair (x, labels).
        levels: The values are integers 0 .. levels - 1.
        domain: The values are "binary", "counts", "unit" or "real"; overrules what is inferred, like `levels`.
        kinds: Kinds of the columns of a table: "real", "binary", "counts", "whole", "unit", ("levels", K), "values"
            or ("values", numbers), "categories" or ("categories", words), one for all columns, one for each, or
            {column: kind}; others are inferred. A table with kinds, words, missing entries (NaN, empty cells), or
            columns of a few distinct or of whole numbers is mixed: each column has its own domain.
        resize: Height and width that encoded images are resized to.
        gray: Read encoded images as gray.
        background: Color behind transparent pixels of encoded images, such as "black" or "#ff0000". Default: white.
        test: Share of the examples to set aside for testing, if the source has no split of its own.
        labels: One for each example, (N,) or (N, factors), numbers or words; for a table, the name of a column; for
            AnnData, of one in `obs`.
        ignore: Names of columns of a table, or of genes, to leave out.
        id: Name of the column of a table that names the examples; results carry it.
        covariates: Names of columns of a table, or of AnnData's `obs`, that examples are conditioned on, such as batch
            and age. Words and a few repeated whole numbers are categories; `kinds={"age": "real"}` overrides this.
        layer: Layer of AnnData that holds the examples, such as "counts", or "raw" for `.raw`. Default: X.
        decimal: Decimal mark of the words of a table that are numbers, "." or ",". Default: as the words tell.
        delimiter: Character between the cells of a table as text. Default: as the lines tell, like the next three.
        header: Whether the first row of a table as text holds the names of its columns.
        index: Whether the first column of a table as text names its rows, and is no data.
        encoding: Encoding of text, such as "latin-1".
        limits: How much is held in memory.

    Raises:
        InputError: If the data cannot be used; the message says what they are, what is needed, and how to fix it.
    """
    number("test", test, above=0, below=1)
    reading: dict[str, Any] = {
        "levels": levels, "domain": domain, "kinds": kinds, "resize": resize, "gray": gray, "background": background,
        "labels": labels, "ignore": ignore, "id": id, "layer": layer, "covariates": covariates, "delimiter": delimiter,
        "decimal": decimal, "header": header, "index": index, "encoding": encoding, "limits": limits,
    }  # fmt: skip
    if isinstance(source, tuple) and not any(isinstance(each, DataLoader) for each in source):
        from tightbound.data.given import pair, training_data

        first, second, classes = pair(source)
        if second is not None:
            return training_data((first, second), **reading)
        if labels is not None:
            raise InputError("a pair (x, labels) and labels= were both given; leave out one of them")
        source, reading["labels"] = first, classes
    return open_with(source, checked(test=test, **reading))


def checked(levels: int | None = None, domain: str | None = None, kinds: Kinds | None = None, **others: Any) -> Options:
    """Return the options of `open`, checked; with `test=None` nothing is set aside for testing."""
    declared = encoding.declared_domain(levels, domain)
    if kinds is not None and declared is not None:
        raise InputError("kinds are given for the columns of a table, in place of levels and domain; leave out one")
    if others.get("decimal") not in (None, ".", ","):
        raise InputError(f"decimal={others['decimal']!r} was given; it must be '.' or ','")
    given = {name: value for name, value in others.items() if value is not None}
    for name in ("ignore", "covariates"):
        if isinstance(given.get(name), str):
            given[name] = (given[name],)
    beside = {name: kinds[name] for name in given.get("covariates", ()) if isinstance(kinds, Mapping) and name in kinds}
    if beside and isinstance(kinds, Mapping):
        kinds = {name: kind for name, kind in kinds.items() if name not in beside} or None
    return Options(declared, kinds, covariate_kinds=beside, **given)


def open_with(source: Any, options: Options) -> Data:
    """Open a data set with checked options."""
    if not is_annotated(source):
        options.refuse(os.fspath(source) if isinstance(source, os.PathLike | str) else "what was given", layer=True)
    if isinstance(source, str) and source in BUILTINS:
        own = f"{source!r}, which has its own; leave them out"
        options.refuse(source, images=True, kinds=True, column=True, text=True, labels=own)
        return _open_grid(source, options) if source in GRIDS else _open_published(source, options)
    if isinstance(source, os.PathLike | str):
        try:
            return _open_path(os.fspath(source), options)
        except OSError as error:  # such as a name that is too long, or a folder that changes while it is read
            if isinstance(error, TightboundError):
                raise
            raise InputError(f"{os.fspath(source)!r} cannot be read: {error.strerror or first_line(error)}") from None
    options.refuse("what was given", text=True)
    if is_annotated(source):
        from tightbound.data.readers import annotated

        return annotated.open_annotated(source, "the AnnData object", "AnnData", options)
    name, packages = type(source).__name__, {kind.__module__.partition(".")[0] for kind in type(source).__mro__}
    if packages & {"pandas", "polars", "pyarrow"} and hasattr(source, "columns"):
        from tightbound.data.readers.tabular import frames, opening

        return opening.open_table(frames.from_frame(source), "data frame", options)
    hugging = "datasets" in packages  # what a function of the user's makes of the rows is read like a data set of torch
    if hugging and (isinstance(source, dict) or getattr(source, "format", {}).get("type") != "custom"):
        from tightbound.data.readers import hub

        return hub.open_hub(source, name, name, options)
    if isinstance(source, DataLoader):
        return torch_data.open_loaders(source, None, options)
    if isinstance(source, tuple | list) and any(isinstance(each, DataLoader) for each in source):
        if len(source) != 2 or not all(isinstance(each, DataLoader) for each in source):
            raise InputError(f"{len(source)} loaders were given; give one, or a pair (train_loader, test_loader)")
        return torch_data.open_loaders(source[0], source[1] if source[1] is not source[0] else None, options)
    if isinstance(source, Dataset) or hugging:
        return torch_data.open_dataset(cast(Any, source), options)
    options.refuse("an array", images=True)
    if isinstance(source, Mapping):
        return _open_mapping(source, options)
    options.refuse("an array", column=True)
    if hasattr(source, "tocsr"):
        from tightbound.data.readers import sparse

        y = None if options.labels is None else np.asarray(options.labels)
        return sparse.from_sparse(source, Arrays(np.empty(0), y, kinds=options.kinds), "array", options)
    if isinstance(source, Tensor | list) or hasattr(source, "__array__") or hasattr(source, "toarray"):
        y = None if options.labels is None else np.asarray(options.labels)
        return from_arrays(Arrays(as_array(source), y, kinds=options.kinds), "array", options)
    raise InputError(
        f"data cannot be read from {name}; give a built-in name ({', '.join(sorted(BUILTINS))}), "
        "an array, a data frame, a file, a folder of images, a Dataset or a DataLoader"
    )


def _open_mapping(source: Mapping[str, Any], options: Options) -> Data:
    """Open a dictionary of arrays, x and y, or of columns."""
    from tightbound.data.readers import keyed
    from tightbound.data.readers.tabular import opening, tables

    table = keyed.as_columns(source)
    if table is not None:
        return opening.open_table(tables.Held(table, "the dictionary"), "dictionary", options)
    found = keyed.from_mapping(source, "the dictionary")
    y = found.y if options.labels is None else np.asarray(options.refuse("a dictionary", column=True).labels)
    return from_arrays(replace(found, y=y, kinds=options.kinds), "dictionary", options)


def is_annotated(source: Any) -> bool:
    """Whether the source is AnnData or, by its name, an .h5ad file."""
    if isinstance(source, os.PathLike | str):
        return Path(source).suffix.lower() == ".h5ad"
    return hasattr(source, "obs") and hasattr(source, "var_names") and hasattr(source, "X")


def is_array_file(source: str | os.PathLike[str]) -> bool:
    """Whether this is a file of arrays or a table as text, by its name: it holds no encoded images."""
    return Path(source).suffix.lower() in arrays.SUFFIXES or is_text_file(source)


def is_table_file(source: str | os.PathLike[str]) -> bool:
    """Whether this is a table, as text or of typed columns, by its name."""
    return is_text_file(source) or Path(source).suffix.lower() in paths.PARQUET


def is_text_file(source: str | os.PathLike[str]) -> bool:
    """Whether this is a table as text, by its name."""
    return paths.is_text(Path(source))


def _open_path(source: str, options: Options) -> Data:
    """Open a file, a folder, a pattern of names or an address."""
    from tightbound.data.readers import folder as folders
    from tightbound.data.readers import hub, images, tars, web
    from tightbound.data.readers.tabular import opening, parquet, text

    path = Path(source).expanduser()
    folder, name = path.is_dir(), path.resolve().name
    if folder and not name:
        raise InputError(f"{source!r} holds all files of this machine; give the folder that holds the data")
    if folder or not paths.is_text(path):
        options.refuse(source, text=True)
    if web.is_url(source):
        return web.open_web(source, options)
    if folder and hub.is_saved(path):
        return hub.open_hub(hub.load_saved(path), source, name, options)
    if parquet.is_parquet(path) or (folder and next(parquet.found(path), None) is not None):
        if not path.exists():
            raise InputError(f"there is no file {source}")
        return opening.open_table(parquet.ParquetTable(path), path.resolve().stem, options)
    if path.suffix.lower() == ".tar" or (folder and next(path.glob("*.tar"), None) is not None):
        options.refuse(source, kinds=True, column=True)
        return opening.open_table(tars.TarTable(source), paths.stem(source), options)
    if folder:
        options.refuse(source, kinds=True, column=True)
        return opening.open_table(folders.ImageFolder(path, options.schema.classes), name, options)
    if path.suffix.lower() not in images.SUFFIXES:
        options.refuse(source, images=True)
    if not path.exists():
        known = suggestion(source.lower(), BUILTINS)
        raise InputError(f"{source!r} is neither a file, a folder, nor a built-in data set; {known}")
    if paths.is_text(path):
        return opening.open_table(text.read_text(path, options), path.stem, options)
    if path.suffix.lower() in arrays.SUFFIXES:
        return arrays.open_arrays(path, options)
    if path.suffix.lower() in images.SUFFIXES:
        return opening.open_table(folders.ImageFolder(path, options.schema.classes), path.stem, options)
    if is_annotated(path):
        from tightbound.data.readers import annotated

        return annotated.open_annotated(annotated.read(path), path.name, path.stem, options)
    if convert := paths.CONVERTED.get(path.suffix.lower()):
        raise InputError(f"{path} is not read here; convert it in Python: {convert.format(path=str(path))}")
    raise InputError(
        f"{path} is of no known kind ({path.suffix or 'no suffix'}); "
        "give .npy, .npz, .csv, .tsv, .txt, .parquet, .h5ad, .tar, or a folder of images"
    )


def _open_published(name: str, options: Options) -> Data:
    read = published.READERS[name]()
    x, values, domain = read.x, f"values: {read.domain}", options.declared or read.domain
    if domain != read.domain:
        code, values = encoding.infer(x, domain, name)
        x = code.convert(x)
    whole = ArraySplit(x, None if read.labels is None else torch.from_numpy(read.labels.astype(np.int64)))
    train, test = whole.subset(read.train), whole.subset(read.test)
    return Data(name, train, test, domain, (values, read.note), fingerprint(x, whole.labels), True, test)


def _open_grid(name: str, options: Options) -> Data:
    module, _, kind = GRIDS[name].partition(":")
    whole: FactorGrid = getattr(importlib.import_module(module), kind)()
    if options.declared not in (None, whole.domain):
        raise InputError(f"{name} are {whole.domain}, not {options.declared}; leave out levels and domain")
    order = np.random.default_rng(0).permutation(len(whole)).astype(np.int32)
    train, test = whole.subset(np.sort(order[10_000:])), whole.subset(np.sort(order[:10_000]))
    notes = (whole.note, f"split: {len(train):,} train and {len(test):,} test by a fixed permutation")
    digest = f"sha256:{hashlib.sha256(whole.definition.encode()).hexdigest()}"
    return Data(name, train, test, whole.domain, notes, digest, True, test)
