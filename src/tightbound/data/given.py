"""Accepted forms of data: training data, and examples for a trained model."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.domain import CONTAINED, Domain
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.schema import UNNAMED, Schema
from tightbound.core.terms import Batch
from tightbound.data import encoding
from tightbound.data.accepted import Source as Source
from tightbound.data.dataset import Data, fingerprint
from tightbound.data.form import Form, as_array, as_tensor
from tightbound.data.labels import coded
from tightbound.data.options import Options, ReadOptions
from tightbound.data.source import checked, open_with
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import ArraySplit
from tightbound.data.view import column_order, matched

AS_GIVEN = "examples, as given"  # ends the note of validation or test data that came in memory


def training_data(
    source: Source | tuple[Source, Source],
    validation: Source | None = None,
    test: Source | float | None = None,
    *,
    like: VAE | None = None,
    partial: bool = False,
    **options: Unpack[ReadOptions],
) -> Data:
    """Return the data that a model is trained on, in whatever form they are given.

    An array, tensor, data frame, Dataset, DataLoader or split is training data as a whole: nothing is set aside for
    testing. A path or the name of a built-in data set is opened as by `open`, and a `Data` is returned as it is.

    Args:
        source: Training data, or a pair (training data, test data) or (x, labels).
        validation: Validation data, in any form; None: `Data.held_out` takes them from the training split.
        test: Test data, in any form, or the share of a file to set aside for testing.
        like: Encode the values as this model needs them, with columns and labels by its names; None: infer all.
        partial: Whether the model infers missing labels, so that they become -1.
        **options: Options of `open`: levels, domain, kinds, resize, gray, labels, ignore, id, limits.

    Raises:
        InputError: If the data cannot be used, or the splits differ in shape or domain.
    """
    for name, number in (("validation", validation), ("test", test)):
        if isinstance(number, float | int) and (name == "validation" or not isinstance(source, str | os.PathLike)):
            raise InputError(
                f"{name} = {number} is a number, and nothing is set aside from data in memory; pass {name} examples, "
                "or validation_size= for a number of training examples"
            )
    if isinstance(source, tuple):
        source, second, labels = pair(source)
        if second is not None and test is not None:
            raise InputError("a pair (training data, test data) and test= were both given; leave out one of them")
        test = second if second is not None else test
        if labels is not None:
            options["labels"] = labels
    if isinstance(source, Data):
        unused = [k for k, v in options.items() if not (v is None or v is False or (isinstance(v, tuple) and not v))]
        if unused:
            raise InputError(
                f"{unused[0]}= says how data are read, and these are open already; pass it to tb.data.open"
            )
        data = source if like is None else known_by(like, source)
    else:
        asked = replace(checked(**options), partial=partial if like is None else like.infers_context)
        if like is not None and asked.declared is None and asked.kinds is None:
            closed = needs_classes(like) and bool(like.schema.classes)
            asked = encoded_like(asked, like.observation.source, like.schema, closed=closed)
        if isinstance(source, Split | Batch):
            data = _of_split(_as_split(source), asked)
        elif isinstance(source, str | os.PathLike):
            data = open_with(source, replace(asked, test=test if isinstance(test, float) else 0.1))
        else:
            data = open_with(source, asked)
    asked_of = {
        name: split
        for name, split in (("validation", validation), ("test", test))
        if split is not None and not isinstance(split, float | int)
    }
    if not asked_of:
        return data

    def read(domain: Domain) -> dict[str, Split]:
        infers = partial if like is None else like.infers_context
        return {
            name: examples(x, domain, data.shape, data.schema, partial=infers, name=name)
            for name, x in asked_of.items()
        }

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        given = read(data.domain)
    if data.domain.plain is not None and any(isinstance(x, ArraySplit) and _lacks(x) for x in given.values()):
        data = replace(data, domain=data.domain.plain)  # these data hold numbers that the training data do not
        given = read(data.domain)
    else:
        for warning in said:
            warnings.warn(warning.message, stacklevel=2)
    digest = data.fingerprint
    if digest.startswith("sha256"):
        marks = [digest, *(f"{name} {_mark(split)}" for name, split in given.items())]
        digest = f"sha256:{hashlib.sha256(' '.join(marks).encode()).hexdigest()}"
    sizes = [f"{name}: {split.size:,} {AS_GIVEN}" for name, split in given.items() if split.size is not None]
    return replace(data, **given, fingerprint=digest, notes=(*data.notes, *sizes))


def examples(
    source: Source,
    domain: Domain,
    shape: Sequence[int],
    schema: Schema = UNNAMED,
    *,
    closed: bool = False,
    partial: bool = False,
    name: str = "x",
) -> Split:
    """Return the examples in `source` as a split, encoded like the data that a model was trained on.

    Args:
        source: Data in any form. A `Data` stands for its test split, the name of a built-in data set for the published
            test split, a path for all examples in it.
        domain: Domain of the model's raw data, `model.observation.source`.
        shape: Shape of one example, `model.shape`.
        schema: Names that the model knows, `model.schema`: columns of a table are taken by name, and labels that are
            words get the numbers of their classes.
        closed: Whether the model is conditional on the class, so that it needs to know each.
        partial: Whether the model infers missing labels, so that they become -1.
        name: Name of the data in messages.

    Raises:
        InputError: If examples have another shape, values outside the domain, lack columns, or have an unknown class.
    """
    labels = None
    if isinstance(source, tuple):
        source, second, labels = pair(source)
        if second is not None:
            raise InputError(f"{name} is a pair of data sets; give one of them")
    options = encoded_like(replace(checked(labels=labels), partial=partial), domain, schema, closed=closed)
    if isinstance(source, Data):
        split = matched(source.require_test(), source.schema, options, name)
        _check_domain(_ordered(source, schema, name), domain, name)
    elif isinstance(source, Split | Batch):
        split = _as_split(source)
        split = matched(split, Schema(classes=tuple(split.classes)), options, name)
        if isinstance(source, Batch):
            check_values(source.x, domain, name)
    elif isinstance(source, str | os.PathLike):
        data = open_with(source, replace(options, test=0.1))
        split = data.require_test() if data.builtin else data.whole
    elif isinstance(source, Tensor | np.ndarray | list):
        x = as_array(source)
        direct = _is_stored(x, domain, shape, as_written=not isinstance(source, Tensor))
        split = _labeled(x, options) if direct else open_with(x, options).train
    else:
        split = open_with(source, options).train
    if tuple(split.shape) != tuple(shape):
        needed = ", ".join(map(str, shape))
        raise InputError(f"{name} holds examples of shape {tuple(split.shape)}; needed: (N, {needed})")
    return split


def known_by(model: VAE, data: Data) -> Data:
    """Return opened data with columns in the order of a model and labels numbered as in the model.

    Raises:
        InputError: If the columns differ from the model's, or the model is conditional and does not know a class.
    """
    own = data.schema
    options = Options(schema=model.schema, closed=needs_classes(model) and bool(model.schema.classes))
    views: dict[str, Any] = {
        name: matched(split, own, options, data.name)
        for name in ("train", "test", "whole", "validation")
        if (split := getattr(data, name)) is not None
    }
    schema = model.schema.with_classes(own.classes) if own.classes else own
    beside = own.covariates and (model.schema.covariates or own.covariates)
    columns = own.columns and (model.schema.columns or own.columns)
    schema = replace(own, columns=columns, classes=schema.classes, covariates=beside)
    return replace(data, **views, schema=schema, domain=_ordered(data, model.schema, data.name))


def needs_classes(model: VAE) -> bool:
    """Return whether a model is conditional on the class, so that it needs to know every class."""
    return model.context is not None and model.context.classes > 0


def _as_levels(x: Tensor, domain: Domain, name: str = "x") -> Tensor:
    """Return raw values of a domain as stored: shares of the highest level as levels.

    Args:
        x: Values, (B, *shape).
        domain: Domain of the model's raw data.
        name: Name of the data in messages.

    Raises:
        InputError: If they could be levels or shares and the domain does not tell, or are neither.
    """
    if domain.kind != "levels" or not (x.is_floating_point() or x.dtype == torch.bool):
        return x
    values = as_array(x)
    if not encoding.unclear(values, domain):
        return x
    return torch.from_numpy(encoding.infer(values, domain, name)[0].convert(values)).to(x.device)


def _check_domain(own: Domain, domain: Domain, name: str) -> None:
    """Raise InputError for opened data whose stored values mean something else to the model."""
    fewer = own.kind == domain.kind == "levels" and own.high <= domain.high
    contained = fewer or (own.plain or own).kind in CONTAINED.get(domain.kind, ())
    if domain not in (own, own.plain) and not (contained and own.given != "shares"):
        raise InputError(
            f"{name} holds {own} and the model was made for {domain}; pass what {name} was opened from, and it is read "
            "like the training data"
        )


def raw_batch(x: Any, domain: Domain, shape: Sequence[int]) -> Tensor:
    """Return one batch of raw data (B, *shape) as a tensor, encoded like the data that a model was trained on.

    Raises:
        InputError: If it is not one tensor of that shape, is empty, or has values outside the domain.
    """
    needed = f"one tensor of shape (B, {', '.join(map(str, shape))})"
    if isinstance(x, list | tuple) and any(isinstance(part, Tensor | np.ndarray) for part in x):
        raise InputError(f"x is a {type(x).__name__} of {len(x)} parts; needed: {needed}, such as batch[0]")
    x = as_tensor(x)
    form = None if x.dim() == 0 else Form.of(x, tuple(shape), domain)
    x = x if form is None else Form(form.layout).take(x, domain)
    if x.shape[1:] != tuple(shape) or x.dim() == 0 or len(x) == 0:
        raise InputError(f"x has shape {tuple(x.shape)}; needed: {needed}, with B at least 1")
    x = _as_levels(x, domain)
    check_values(x, domain, "x")
    return x


def check_values(x: Tensor, domain: Domain, name: str) -> None:
    """Raise InputError for values outside a domain; entries of a mixed table may be missing (NaN)."""
    if domain.kind == "mixed":
        for i, (column, own) in enumerate(zip(x.unbind(1), domain.columns, strict=True)):
            check_values(column[~torch.isnan(column)], own, f"column {i + 1} of {name}")
        return
    if domain.kind == "values":
        if not (known := torch.isin(x.float(), torch.tensor(domain.values))).all():
            raise InputError(f"{name} holds {x[~known][0]:g}; the model was made for {domain}")
        return
    if x.is_floating_point() and not torch.isfinite(x).all():
        raise InputError(f"{name} holds {int((~torch.isfinite(x)).sum())} values that are not finite; replace them")
    fits = not domain.discrete or not x.is_floating_point() or bool((x == x.round()).all())
    most = encoding.largest(domain) if domain.discrete else domain.high
    if x.numel() and not (fits and domain.low <= x.min().item() and x.max().item() <= most):
        raise InputError(f"{name} has values from {x.min():g} to {x.max():g}; the model was made for {domain}")


def _is_stored(x: np.ndarray[Any, Any], domain: Domain, shape: Sequence[int], *, as_written: bool) -> bool:
    """Whether an array needs no encoding: it has the shape and the values of the stored training data."""
    if (
        x.shape[1:] != tuple(shape)
        or x.dtype.kind not in "iuf"
        or x.ndim == 0
        or isinstance(x, np.memmap)
        or encoding.unclear(x, domain)
    ):
        return False
    if as_written and any(own.given == "shares" or any(map(encoding.is_number, own.words)) for own in domain.columns):
        return False  # numbers that stand for levels or categories are taken as they are written
    try:
        check_values(torch.as_tensor(x), domain, "x")
    except InputError:
        return False
    return True


def _labeled(x: np.ndarray[Any, Any], options: Options) -> ArraySplit:
    """Return stored values with the labels that were given beside them."""
    labels = coded(options.labels, len(x), options)
    split = ArraySplit(x, labels.values)
    split.classes = labels.classes
    return split


def encoded_like(options: Options, domain: Domain, schema: Schema, *, closed: bool = False) -> Options:
    """Return options that read data for a model: values in its domain, columns and labels by its names."""
    options = replace(options, schema=schema, like=True, closed=closed)
    return replace(options, kinds=list(domain.columns)) if domain.kind == "mixed" else replace(options, declared=domain)


def _ordered(data: Data, schema: Schema, name: str) -> Domain:
    """Return the domain of data with its columns in the order that a model knows."""
    order = column_order(data.schema, schema, name)
    if order is None or not data.domain.columns:
        return data.domain
    return replace(data.domain, columns=tuple(data.domain.columns[i] for i in order))


def pair(given: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Take a pair apart: the first, then test data or None, then labels or None."""
    if len(given) != 2:
        raise InputError(f"a tuple of {len(given)} was given; give a pair: (training data, test data) or (x, labels)")
    first, second = given
    forms = ("columns", "var_names", "tocsr")  # attributes of data frames, AnnData and sparse matrices
    if isinstance(second, str | os.PathLike | Split | Data | Dataset | DataLoader) or any(
        hasattr(second, name) for name in forms
    ):
        return first, second, None
    labels = as_array(second)
    whole = (len(first), len(first.columns)) if hasattr(first, "columns") else np.shape(first)
    if labels.ndim > 1 and labels.shape[1:] == tuple(whole[1:]):
        return first, second, None
    return first, None, labels


def _as_split(source: Split | Batch) -> Split:
    if isinstance(source, Split):
        return source
    origin, covariates = (None if each is None else each.cpu() for each in (source.origin, source.context))
    return ArraySplit(as_array(source.x), source.label, origin=origin, covariates=covariates)


def _of_split(split: Split, options: Options) -> Data:
    """Return a split as training data: its domain is the declared one, or inferred from its first examples."""
    domain = options.declared
    if options.kinds is not None or domain is None:
        domain = open_with(next(split.epoch(4096)).x, options).domain
        domain = domain.plain or domain  # later examples may hold other numbers
    notes = (f"a split of examples of shape {tuple(split.shape)}: {domain}",)
    return Data("split", split, None, domain, notes, _mark(split), False, split)


def _lacks(split: ArraySplit) -> bool:
    return split.x.dtype.kind == "f" and bool(np.isnan(split.x).any())


def _mark(split: Split) -> str:
    """Return a fingerprint of a split that is held in memory."""
    if isinstance(split, ArraySplit):
        return fingerprint(split.x, split.labels)
    return "none: a split may change what it gives"
