"""AnnData: cells by genes, in memory or in .h5ad files."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tightbound.core.domain import REAL
from tightbound.core.errors import InputError, first_line, needs, suggestion
from tightbound.core.schema import Schema, listed
from tightbound.data import covariates
from tightbound.data.dataset import Arrays, Data, from_arrays
from tightbound.data.form import as_array
from tightbound.data.options import Options
from tightbound.data.readers.sparse import countable, from_sparse
from tightbound.data.selection import select, tell

RAW = "raw"  # value of `layer=` that reads `.raw`, unless a layer has this name


def read(path: Path) -> Any:
    """Return the AnnData of a .h5ad file.

    Raises:
        InputError: If the package anndata is missing, or the file is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old file formats, which can still be read
        with needs("cells", ".h5ad files"):
            import anndata  # pyright: ignore[reportMissingImports]
        try:
            return anndata.read_h5ad(path)
        except Exception as error:  # HDF5 raises many kinds of errors for a damaged file
            raise InputError(f"{path} cannot be read as AnnData: {first_line(error)}") from None


def open_annotated(source: Any, title: str, name: str, options: Options) -> Data:
    """Open AnnData: examples are cells, columns are genes, and labels are a column of `obs`."""
    options.refuse(title, images=True, text=True, kinds=True)
    layer, found = _layer(source, title, options)
    matrix, genes, doubled = found.X, *_distinct([str(gene) for gene in found.var_names])
    in_obs = replace(options.schema, label=None, id=None, covariates=())
    chosen = select(genes, replace(options, labels=None, id=None, covariates=(), schema=in_obs), title)
    tell(options, chosen.notes)
    if chosen.columns != tuple(genes):
        place = {gene: i for i, gene in enumerate(genes)}
        matrix = matrix[:, [place[gene] for gene in chosen.columns]]
    label, y = _labels(source, title, options)
    names = source.obs[_known("id", options.id, source, title)] if options.id else source.obs_names
    notes = (f"{len(names):,} cells, {len(chosen.columns):,} genes, from {_where(layer)}", *doubled, *chosen.notes)
    beside = covariates.chosen([str(column) for column in source.obs.columns], options, title, " in obs")
    given = covariates.coded({column: _values(source.obs[column]) for column in beside}, options, title)
    schema = Schema(
        chosen.columns, (), label, str(names.name or "cell"), tuple(options.ignore), layer=layer,
        covariates=given.columns,
    )  # fmt: skip
    held = Arrays(
        np.empty(0), y, notes=notes + given.notes, schema=schema, names=[*map(str, names)], title=title, domain=REAL,
        covariates=given.values,
    )  # fmt: skip
    if hasattr(matrix, "tocsr"):
        data = from_sparse(matrix, held, name, options)
    else:
        x = as_array(matrix)
        data = from_arrays(replace(held, x=x, domain=countable(x) or held.domain), name, options)
    if data.domain == REAL and options.declared is None:
        data = replace(data, notes=(*data.notes, _no_counts(source, layer)))
    return data


def _layer(source: Any, title: str, options: Options) -> tuple[str | None, Any]:
    """Return the name of the layer (None for X), and an object with its matrix as `X` and its genes as `var_names`."""
    layers = {str(name): name for name in source.layers}
    known = {*layers, *([RAW] if source.raw is not None else [])}
    layer = options.layer or options.schema.layer
    if options.layer is None and layer not in known:
        layer = None  # data for a model may have the counts of its layer in X
    if layer is None:
        return None, source
    if layer not in known:
        raise InputError(f"layer={layer!r}: {title} has no such layer; {suggestion(layer, known)}")
    return layer, _Layer(source.layers[layers[layer]], source.var_names) if layer in layers else source.raw


class _Layer:
    def __init__(self, matrix: Any, genes: Any) -> None:
        self.X, self.var_names = matrix, genes


def _where(layer: str | None) -> str:
    return "X" if layer is None else ".raw" if layer == RAW else f"the layer {layer!r}"


def _distinct(genes: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return distinct names of genes, with numbers appended to repeated names as in AnnData, and a note on them."""
    taken, counts, out, again = {*genes}, dict[str, int](), [], dict[str, None]()
    for gene in genes:
        own = gene
        if gene in counts:
            again[gene] = None
            while own in taken:
                own = f"{gene}-{counts[gene]}"
                counts[gene] += 1
            taken.add(own)
        else:
            counts[gene] = 1
        out.append(own)
    told = f"{len(again):,} names of genes occur more than once; numbers were appended: {listed(again, 3)}"
    return out, (told,) if again else ()


def _known(option: str, column: str, source: Any, title: str) -> str:
    """Return the name of a column of `obs`; raise InputError if there is none."""
    if column not in source.obs.columns:
        columns = [str(name) for name in source.obs.columns]
        raise InputError(f"{option}={column!r}: {title} has no column {column!r} in obs; {suggestion(column, columns)}")
    return column


def _labels(source: Any, title: str, options: Options) -> tuple[str | None, np.ndarray | None]:
    """Return the name of the column of labels and the labels (N,); None if there are none."""
    column = options.label_column
    if options.labels is not None and column is None:
        return None, np.asarray(options.labels)
    column = options.schema.label if column is None and options.schema.label in source.obs.columns else column
    if column is None:
        return None, None
    values = source.obs[_known("labels", column, source, title)]
    lacking = int(values.isna().sum())
    if lacking and not options.partial:
        if options.labels is None and not options.closed:
            return None, None
        raise InputError(
            f"{title}: {lacking:,} cells have no label in the column {column!r}; remove them, or add labels"
        )
    return column, np.asarray(values)


def _values(column: Any) -> np.ndarray:
    """Return a column of `obs` (N,); a categorical column is converted to words."""
    if hasattr(column, "cat"):
        return np.array([None if value != value else str(value) for value in column], object)
    return np.asarray(column)


def _no_counts(source: Any, layer: str | None) -> str:
    """Return a note that the numbers are not counts, and which layer holds counts."""
    others = {**{str(name): matrix for name, matrix in source.layers.items()}}
    others |= {} if source.raw is None else {RAW: source.raw.X}
    whole = [name for name, matrix in others.items() if name != layer and countable(matrix) is not None]
    fix = f"for counts, pass layer={whole[0]!r}" if whole else "no layer holds counts either"
    return f"{_where(layer)} holds numbers that are not whole (normalized counts?), taken as real; {fix}"
