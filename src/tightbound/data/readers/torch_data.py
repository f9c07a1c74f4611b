"""Data sets and loaders of torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from tightbound.core import noise
from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.model import Layout
from tightbound.core.noise import key_seed
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch
from tightbound.data import columns, encoding
from tightbound.data.dataset import Arrays, Data, divided, from_arrays, surveyed
from tightbound.data.encoding import Encoding
from tightbound.data.form import channels_first
from tightbound.data.labels import Naming, coded
from tightbound.data.options import Options
from tightbound.data.splits.indexed import stack
from tightbound.data.splits.loader import LoaderSplit, origins, seeded, unpack
from tightbound.data.splits.workers import WORKERS, MappedSplit

LOOKED_AT = 4096  # examples of a loader by which its data are judged
Store = Callable[[np.ndarray], np.ndarray]
JUDGED = 64  # examples by which data are judged that are too many to look at all
VARIES = (
    "examples differ at each read, as with random augmentation: they are read anew in each epoch, also those set aside "
    "for validation or testing; to leave these as they are, give data sets of their own"
)


def open_dataset(dataset: Dataset[Any], options: Options) -> Data:
    """Open a map-style data set: in memory where it fits, otherwise read by worker processes."""
    name = type(dataset).__name__
    options.refuse(name, images=True, column=True)
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise InputError(f"{name} is a stream without random access; wrap it: DataLoader(dataset, batch_size=128)")
    size = len(dataset)
    if size == 0:
        raise InputError(f"{name} is empty; it must hold at least one example")
    if isinstance(dataset, TensorDataset):
        x, label = unpack(dataset.tensors)
    elif _read(dataset, np.zeros(1, np.int64))[0].nbytes * size <= options.limits.memory:
        x, label = _read(dataset, np.arange(size))
    else:
        return _open_large(dataset, name, size, options)
    y = label if options.labels is None else np.asarray(options.labels)
    if not isinstance(dataset, TensorDataset) and _varies(dataset, x):
        return _open_varying(dataset, name, x, y, options)
    classes = () if options.labels is not None else _classes(dataset, y)
    origin = origins(dataset, torch.arange(size))
    return from_arrays(Arrays(x, y, kinds=options.kinds, classes=classes, origin=origin), name, options)


def _classes(dataset: Dataset[Any], y: np.ndarray | None) -> tuple[str, ...]:
    """Return the class names of a data set that has them, as in torchvision, or of the data behind a `Subset`."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", ())
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names) or y is None:
        return ()
    numbers = y.ndim == 1 and y.dtype.kind in "iu" and len(y) > 0 and 0 <= y.min() <= y.max() < len(names)
    return tuple(names) if numbers and len({*names}) == len(names) else ()


def _open_large(dataset: Dataset[Any], name: str, size: int, options: Options) -> Data:
    what = "a data set too large for memory"
    options.refuse(what, labels=f"{what}; let it give pairs (x, y)")
    x, y = _read(dataset, np.arange(min(JUDGED, size)))
    if y is not None and y.dtype.kind == "U":
        raise InputError(
            f"labels are words, such as {str(y[0])!r}, in {what}; give their numbers, and the words as {name}.classes"
        )
    found, varies = judged(x, options, "an example"), _varies(dataset, x)
    naming = Naming(y, options, _classes(dataset, y))
    kind = VaryingSplit if varies else MappedSplit
    whole = kind(partial(_fetched, dataset, found.store, naming), size, found.shape, workers=WORKERS)
    how = f"{size:,} examples of {found.shape}, read as they are needed by {WORKERS} processes: too large for memory"
    notes = (how, *found.notes, *((VARIES,) if varies else ()))
    schema = Schema(classes=tuple(naming.classes))
    data = divided(whole, None, name, found.domain, notes, f"none: {what}", options.test, schema)
    return replace(data, layout=found.layout)


def _varies(dataset: Dataset[Any], x: np.ndarray, few: int = 8) -> bool:
    """Whether some of the first examples, read again, differ from x (N, ...), as with random augmentation."""
    again, _ = _read(dataset, np.arange(min(few, len(x))))
    return not np.array_equal(again, x[: len(again)], equal_nan=again.dtype.kind == "f")


def _open_varying(dataset: Dataset[Any], name: str, x: np.ndarray, y: np.ndarray | None, options: Options) -> Data:
    found = judged(x, options, "an example")
    labels, classes, legend = coded(y, len(x), options, _classes(dataset, y))
    whole = VaryingSplit(partial(_fetched, dataset, found.store, None), len(x), found.shape, labels=labels)
    notes, digest = (*found.notes, VARIES, *legend), "none: examples differ at each read"
    data = divided(whole, None, name, found.domain, notes, digest, options.test, Schema(classes=classes))
    return replace(data, layout=found.layout)


class VaryingSplit(MappedSplit):
    """A data set whose examples differ at each read, such as by random augmentation.

    What is drawn for an example depends on the key of the epoch and its position alone. Without a key it is always the
    same.
    """

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return self.drawn(indices, key_seed())

    def drawn(self, indices: Tensor, seed: int) -> Batch:
        """See `MappedSplit.drawn`."""
        parts: list[Batch] = []
        for one in indices.split(1) if len(indices) else [indices]:
            with _all_seeded(key_seed("item", seed, *one.tolist())):
                parts.append(super().batch(one))
        return Batch.joined(parts)


@contextmanager
def _all_seeded(seed: int) -> Iterator[None]:
    """Seed the default generators of torch, NumPy and Python, and restore them afterwards."""
    own, numpys = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with noise.seeded(seed):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)


def _read(dataset: Dataset[Any], indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return raw x (B, ...) and labels; images of Pillow are arrays to NumPy."""
    examples = [unpack(dataset[i]) for i in indices.tolist()]
    labels = [label for _, label in examples if label is not None]
    return stack(x for x, _ in examples), np.stack(labels) if len(labels) == len(examples) else None


def _fetched(
    dataset: Dataset[Any], store: Store, naming: Naming | None, rows: np.ndarray
) -> tuple[np.ndarray, Tensor | None]:
    x, y = _read(dataset, rows)
    return store(x), None if naming is None else naming(y)


class Judged(NamedTuple):
    """Storage of examples, inferred from the first ones."""

    domain: Domain
    store: Store  # raw x (B, ...) -> as stored (B, *shape)
    shape: tuple[int, ...]
    layout: Layout
    notes: tuple[str, ...]


def judged(x: np.ndarray, options: Options, title: str) -> Judged:
    """Infer how to store examples from some of them, x (N, ...); a table with missing entries or kinds is mixed."""
    if x.ndim == 2 and (options.kinds is not None or (x.dtype.kind == "f" and np.isnan(x).any())):
        domain, notes = surveyed(Arrays(x, kinds=options.kinds), title, options, sample=True)
        store = partial(_as_columns, domain=domain, title=title, like=options.like)
        return Judged(domain, store, x.shape[1:], "chw", (*notes, f"judged by {len(x)} examples"))
    options.refuse(title, kinds=x.ndim != 2)
    code, values, shape, layout = sampled(x, options.declared, title, like=options.like)
    return Judged(code.domain, partial(as_stored, code=code, shape=shape, title=title), shape, layout, (values,))


def _as_columns(x: np.ndarray, domain: Domain, title: str, like: bool) -> np.ndarray:
    if x.shape[1:] != (len(domain.columns),):
        raise InputError(
            f"{title}: examples differ in shape: the first have {(len(domain.columns),)}, others {x.shape[1:]}"
        )
    return columns.encode(x, (), {}, domain, title, like=like)


def as_stored(x: np.ndarray, code: Encoding, shape: tuple[int, ...], title: str) -> np.ndarray:
    """Return raw x (B, ...) as stored (B, *shape)."""
    x, _, _ = channels_first(x, title)
    if x.shape[1:] != shape:
        raise InputError(f"{title}: examples differ in shape: the first have {shape}, others {x.shape[1:]}")
    return np.require(code(x, title), requirements=("C", "W"))  # Arrow gives arrays that cannot be written


def sampled(
    x: np.ndarray, declared: Domain | None, title: str, *, like: bool = False
) -> tuple[Encoding, str, tuple[int, ...], Layout]:
    """Return how to store examples, judged by some of them (x), with a note, the shape and the layout.

    With `like`, the examples are new data for a model that was trained on values in the declared domain.
    """
    fix = encoding.TRAINED if like else None
    x, _, layout = channels_first(x, title)
    code, values = encoding.infer(x, declared, title, fix, sample=True)
    return replace(code, fix=fix), f"{values}; judged by {len(x)} examples", x.shape[1:], layout


def open_loaders(train: DataLoader[Any], test: DataLoader[Any] | None, options: Options) -> Data:
    """Open a loader for training, and perhaps one for testing.

    Without a test loader the training loader serves as both, unless all data are for training (`options.test` is
    None).
    """
    options.refuse("a loader", images=True, labels="a DataLoader; let it give pairs (x, y)")
    x, y = _peek(train)
    found, naming = judged(x, options, "a batch of the loader"), Naming(y, options, _classes(train.dataset, y))
    notes = found.notes
    if train.drop_last or (test is not None and test.drop_last):
        notes += ("a loader drops its last, smaller batch (drop_last=True): its examples are not counted",)
    first = LoaderSplit(train, found.shape, found.store, naming)
    digest, schema = "none: a loader may change what it gives", Schema(classes=tuple(naming.classes))
    data = Data("loader", first, None, found.domain, notes, digest, False, first, schema, found.layout)
    if test is not None:
        x, y = _peek(test)
        if (own := channels_first(x, "test data")[0].shape[1:]) != found.shape:
            raise InputError(
                f"the training loader gives examples of shape {found.shape}, the test loader {own}; make them equal"
            )
        other = LoaderSplit(
            test, found.shape, found.store, Naming(y, options, _classes(test.dataset, y), beside=naming)
        )
        return replace(data, test=other, whole=other)
    if options.test is None:
        return data
    note = "one loader serves for training and testing: test numbers are those of data trained on"
    return replace(data, test=first, notes=(*notes, note))


def _peek(loader: DataLoader[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x (N, ...) and labels of the first batches, of about `LOOKED_AT` examples.

    The generators are left as they were.
    """
    parts: list[np.ndarray] = []
    labels: list[np.ndarray | None] = []
    for raw in seeded(loader, 0):
        x, y = unpack(raw)
        parts.append(x)
        labels.append(y)
        if sum(map(len, parts)) >= LOOKED_AT or sum(part.nbytes for part in parts) >= 1 << 28:
            break
    if not parts:
        raise InputError("the loader gives no batch; is its data set empty, or smaller than one batch?")
    if loader.batch_size is None and loader.batch_sampler is None and isinstance(loader.dataset, Sized):
        raise InputError("the loader gives single examples (batch_size=None); give it a batch size")
    known = [y for y in labels if y is not None]
    return np.concatenate(parts), np.concatenate(known) if len(known) == len(parts) else None
