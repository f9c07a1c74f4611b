"""Accepted forms of data: what `fit` trains on and what a trained model is asked about."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.terms import Batch
from tightbound.data import source as opening
from tightbound.data import tables
from tightbound.data.source import Data
from tightbound.data.split import ArraySplit, Split


class Frame(Protocol):
    """A data frame of pandas, polars or another package that narwhals knows."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""
        ...

    def __len__(self) -> int: ...


Array: TypeAlias = np.ndarray[Any, Any] | Tensor | Sequence[Any]
Source: TypeAlias = Array | Frame | str | os.PathLike[str] | Dataset[Any] | DataLoader[Any] | Data | Split | Batch


def training_data(
    source: Source | tuple[Source, Source],
    validation: Source | None = None,
    test: Source | float | None = None,
    *,
    like: Data | Domain | None = None,
    **options: Any,
) -> Data:
    """Return the data that a model is trained on, in whatever form they are given.

    An array, tensor, data frame, Dataset, DataLoader or split is training data as a whole: nothing is set aside for
    testing. A path or the name of a built-in data set is opened as by `open`, and a `Data` is returned as it is.

    Args:
        source: Training data, or a pair (training data, test data) or (x, labels).
        validation: Validation data, in any form; None: `Data.held_out` takes them from the training split.
        test: Test data, in any form, or the share of a file to set aside for testing.
        like: Encode the values like these data, or in this domain; None: infer the domain.
        **options: Options of `open`: levels, domain, kinds, resize, gray, labels.

    Raises:
        InputError: If the data cannot be used, or the splits differ in shape or domain.
    """
    if isinstance(source, tuple):
        source, second, labels = _pair(source)
        if second is not None and test is not None:
            raise InputError("a pair (training data, test data) and test= were both given; leave out one of them")
        test = second if second is not None else test
        if labels is not None:
            options = {"labels": labels, **options}
    if isinstance(source, Data):
        data = source
    elif isinstance(source, Split | Batch):
        data = _of_split(_as_split(source), like, options)
    elif _is_name(source):
        share: dict[str, Any] = {"test": test} if isinstance(test, float) else {}
        data = opening.open(source, **_like(like, options), **share)
    else:
        asked = opening.asked(**_like(like, options))
        data = opening.open_asked(_plain(source), asked)
    given = {
        name: examples(split, data.domain, data.shape, data.header, name=name)
        for name, split in (("validation", validation), ("test", test))
        if split is not None and not isinstance(split, float | int)
    }
    if not given:
        return data
    marks = [data.fingerprint, *(f"{name} {_mark(split)}" for name, split in given.items())]
    digest = f"sha256:{hashlib.sha256(' '.join(marks).encode()).hexdigest()}"
    if data.fingerprint.startswith("none"):
        digest = data.fingerprint
    sizes = [f"{name}: {split.size:,} examples, as given" for name, split in given.items() if split.size is not None]
    return replace(data, **given, fingerprint=digest, notes=(*data.notes, *sizes))


def examples(
    source: Source,
    domain: Domain,
    shape: Sequence[int],
    header: Sequence[str] = (),
    *,
    name: str = "x",
) -> Split:
    """Return the examples in `source` as a split, encoded like the data that a model was trained on.

    Args:
        source: Data in any form. A `Data` stands for its test split, a built-in name for the published test split, a
            path for all examples in it.
        domain: Domain of the model's raw data, `model.observation.source`.
        shape: Shape of one example, `model.shape`.
        header: Names of the columns that the model was trained on, `model.observation.header`.
        name: What the data are called in messages.

    Raises:
        InputError: If examples have another shape, or values outside the domain.
    """
    if isinstance(source, Data):
        source = source.require_test()
    if isinstance(source, Split | Batch):
        split = _as_split(source)
        if isinstance(source, Batch):
            check_values(source.x, domain, name)
        return _of_shape(split, shape, name)
    labels = None
    if isinstance(source, tuple):
        source, second, labels = _pair(source)
        if second is not None:
            raise InputError(f"{name} is a pair of data sets; give one of them")
    plain = _plain(source)
    if isinstance(plain, Tensor | np.ndarray):
        x = plain.detach().cpu().numpy() if isinstance(plain, Tensor) else plain
        if _as_stored(x, domain, shape, exact=isinstance(source, Tensor)):
            return ArraySplit(x, None if labels is None else torch.as_tensor(labels))
    asked = opening.asked(labels=labels, **_like(domain, {}))
    if _is_name(source):
        data = opening.open_asked(source, replace(asked, test=0.1))
        return _of_shape(data.require_test() if data.builtin else data.whole, shape, name)
    return _of_shape(opening.open_asked(plain, asked).train, shape, name)


def check_values(x: Tensor, domain: Domain, name: str) -> None:
    """Raise InputError for values outside a domain; entries of a mixed table may be missing (NaN)."""
    if domain.kind == "mixed":
        for i, (column, own) in enumerate(zip(x.unbind(1), domain.columns, strict=True)):
            check_values(column[~torch.isnan(column)], own, f"column {i + 1} of {name}")
        return
    if x.is_floating_point() and not torch.isfinite(x).all():
        raise InputError(f"{name} holds {int((~torch.isfinite(x)).sum())} values that are not finite; replace them")
    if not _within(x, domain):
        raise InputError(f"{name} has values from {x.min():g} to {x.max():g}; the model was made for {domain}")


def _within(x: Tensor, domain: Domain) -> bool:
    whole = not domain.discrete or not x.is_floating_point() or bool((x == x.round()).all())
    return not x.numel() or (whole and bool(domain.low <= x.min()) and bool(x.max() <= domain.high))


def _as_stored(x: np.ndarray[Any, Any], domain: Domain, shape: Sequence[int], *, exact: bool) -> bool:
    """Whether an array has the shape and the values that the model was trained on, so that it needs no encoding."""
    if x.shape[1:] != tuple(shape) or x.dtype.kind not in "biuf" or x.ndim == 0:
        return False
    written = any(word.replace(".", "", 1).isdigit() for column in domain.columns for word in column.words)
    if written and not exact:
        return False  # numbers that stand for categories are taken as they are written
    try:
        check_values(torch.as_tensor(x), domain, "x")
    except InputError:
        return False
    return True


def _like(like: Data | Domain | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options of `open` that encode values in the domain of other data."""
    if isinstance(like, Data):
        like = like.domain
    if like is None or {"levels", "domain", "kinds"} & {k for k, v in options.items() if v is not None}:
        return options
    if like.kind == "mixed":
        return {**options, "kinds": list(like.columns)}
    return {**options, **({"levels": like.levels} if like.kind == "levels" else {"domain": like.kind})}


def _pair(pair: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Take a pair apart: the first, then test data or None, then labels or None."""
    if len(pair) != 2:
        raise InputError(f"a tuple of {len(pair)} was given; give a pair: (training data, test data) or (x, labels)")
    first, second = pair
    if isinstance(second, str | os.PathLike | Split | Data | Dataset | DataLoader) or hasattr(second, "columns"):
        return first, second, None
    labels = np.asarray(second.detach().cpu() if isinstance(second, Tensor) else second)
    whole = np.shape(first) if not hasattr(first, "columns") else (len(first), len(first.columns))
    if labels.ndim > 1 and labels.shape[1:] == tuple(whole[1:]):
        return first, second, None
    return first, None, labels


def _is_name(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _plain(source: Any) -> Any:
    """Lists as arrays, and data frames as tables."""
    if isinstance(source, list):
        try:
            return np.asarray(source)
        except ValueError:
            raise InputError("the list holds rows of different lengths; make them equal") from None
    return tables.from_frame(source) if tables.is_frame(source) else source


def _as_split(source: Split | Batch) -> Split:
    if isinstance(source, Split):
        return source
    return ArraySplit(source.x.detach().cpu().numpy(), source.label)


def _of_shape(split: Split, shape: Sequence[int], name: str) -> Split:
    if tuple(split.shape) != tuple(shape):
        needed = ", ".join(map(str, shape))
        raise InputError(f"{name} holds examples of shape {tuple(split.shape)}; needed: (N, {needed})")
    return split


def _of_split(split: Split, like: Data | Domain | None, options: dict[str, Any]) -> Data:
    """A split as training data: its domain is that of `like`, or inferred from its first examples."""
    domain = like.domain if isinstance(like, Data) else like
    if domain is None:
        batch = next(split.epoch(4096))
        domain = opening.open_asked(batch.x, opening.asked(**options)).domain
    notes = (f"a split of examples of shape {tuple(split.shape)}: {domain}",)
    return Data("split", split, None, domain, notes, _mark(split), False, split)


def _mark(split: Split) -> str:
    """A fingerprint for a split, of its values where they are held in memory."""
    if not isinstance(split, ArraySplit):
        return "none: a split may change what it gives"
    return opening.fingerprint(split.x, split.labels)
