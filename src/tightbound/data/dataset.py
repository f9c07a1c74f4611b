"""A data set: its splits, the domain of its values, and notes on what was inferred."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from tightbound.core.domain import REAL, Domain
from tightbound.core.errors import InputError
from tightbound.core.model import Layout
from tightbound.core.schema import UNNAMED, Schema
from tightbound.data import columns, duplicates, encoding
from tightbound.data.form import channels_first
from tightbound.data.labels import coded
from tightbound.data.options import Options
from tightbound.data.selection import tell
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import ArraySplit, Indexed, Subset
from tightbound.data.survey import Survey


@dataclass(frozen=True, repr=False)
class Data:
    """A data set: its splits, the domain of its values, and what was inferred to read them."""

    name: str
    train: Split
    test: Split | None  # None: nothing was given or set aside for testing
    domain: Domain
    notes: tuple[str, ...]  # one line each: shape, values, split, what was left out
    fingerprint: str  # "sha256:..." of the content or its definition; "none: reason" for a loader
    builtin: bool  # a built-in data set with published splits
    whole: Split  # all examples in their original order; for built-in sets and pairs of loaders the test split
    schema: Schema = UNNAMED  # names of the columns and classes, where they are known
    layout: Layout = "chw"  # order of the axes of an example, as the data were given
    validation: Split | None = None  # validation data that were given; None: taken from the training split

    def __repr__(self) -> str:
        sizes = [
            f"{split.size:,} {what}"
            for what, split in (("train", self.train), ("test", self.test))
            if split and split.size
        ]
        return f"<Data {self.name!r}: {self.domain}; examples of shape {self.shape}; {', '.join(sizes) or 'a stream'}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, channels first: (C, H, W) or (D,)."""
        return self.train.shape

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns of a table; (): unknown."""
        return self.schema.columns

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class labels 0, 1, ...; (): the labels are numbers."""
        return self.schema.classes

    def require_test(self) -> Split:
        """Return the test split.

        Raises:
            InputError: If there is none.
        """
        if self.test is None:
            raise InputError(f"data set {self.name!r} has no test split; pass test=..., or open it from a file")
        return self.test

    def held_out(
        self, validation_size: int, seed: int = 0, *, keep_labeled: bool = False
    ) -> tuple[Split, Split | None]:
        """Return the training and validation splits.

        The given validation split is returned if there is one; otherwise examples are taken from the training split
        by a seeded permutation.

        Args:
            validation_size: Number of validation examples to take; 0 takes none and returns None in their place.
            seed: Seed of the permutation.
            keep_labeled: Take labeled examples only if there are too few unlabeled ones (label -1).

        Raises:
            InputError: If no training examples would be left, or the data come from a loader.
        """
        if self.validation is not None or validation_size == 0:
            return self.train, self.validation
        return self.train.held_out(validation_size, seed, keep_labeled=keep_labeled)


@dataclass(frozen=True)
class Arrays:
    """Raw content of a source that is held in memory or memory-mapped."""

    x: np.ndarray
    y: np.ndarray | None = None
    train: int | None = None  # the first so many examples are training data, as given; None: to be split
    validation: int = 0  # the last so many are validation data, as given
    notes: tuple[str, ...] = ()
    schema: Schema = UNNAMED  # names of the columns, where they are known
    words: columns.Words = field(default_factory=dict)  # of columns of categories
    kinds: columns.Kinds | None = None  # of columns, as declared or as their types say
    names: Sequence[str] | None = None  # one for each example
    problems: Mapping[int, str] | None = None  # what cannot be read, by column
    absent: Sequence[str] = ()  # columns of the model that the table lacks
    unknown: np.ndarray | None = None  # (N,) words among the numbers of each example, which count as missing
    title: str = ""  # name in messages; "": that of the data set
    row_numbers: Sequence[int] | None = None  # in the file, from 1
    classes: Sequence[str] = ()  # the words that numbers in `y` stand for
    domain: Domain | None = None  # domain of all values, if the source declares it; None: inferred
    origin: Tensor | None = None  # position of each example in the data that these are a part of; None: they are all
    covariates: Tensor | None = None  # (N, C) numbers and positions of words

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns of a table; (): unknown."""
        return self.schema.columns


def from_arrays(raw: Arrays, name: str, options: Options) -> Data:
    """Return the data set of raw arrays: inferred domain, stored values, splits."""
    title = raw.title or ("the array" if name == "array" else name)
    layout: Layout = "chw"
    encoding.check_numeric(raw.x, title)
    mapped, cast, beside = isinstance(raw.x, np.memmap), None, ""
    judged = options.declared is None and raw.domain is not None
    options = replace(options, declared=raw.domain) if judged else options
    if raw.kinds is not None and raw.x.ndim != 2 and options.like:
        raise options.no_table(f"{title} has shape {raw.x.shape}")
    if raw.kinds is not None and (mapped or raw.x.ndim != 2):
        raise InputError(f"kinds are for tables (N, D) in memory, and {title} has shape {raw.x.shape}; leave them out")
    table, unknown = None if mapped or raw.x.ndim != 2 else _table(raw, title, options), raw.unknown
    if table is not None:
        domain, notes = table
        x = columns.encode(raw.x, raw.header, raw.words, domain, title, like=options.like)
        if options.like:
            odd = (np.isnan(x) & ~np.isnan(raw.x)).sum(1)
            unknown = odd if unknown is None else odd + unknown
        beside = "".join(repr(column) for column in domain.columns if column.words)
        notes = (f"shape: {raw.x.shape}, read as {len(x)} examples of {x.shape[1]} columns", *notes)
    else:
        x, shape, layout = channels_first(raw.x, title)
        code, values = encoding.infer(
            x, options.declared, title, encoding.TRAINED if options.like else None, header=raw.header
        )
        domain, notes = code.domain, (shape, f"values: taken as {code.domain}" if judged else values)
        if domain == REAL and options.declared is None and x.ndim == 2 and not mapped:
            notes += columns.whole_numbers(columns.whole_columns(x, raw.header))
        if mapped or isinstance(x.base, np.memmap):
            cast = code.convert
        else:
            x = np.ascontiguousarray(code.convert(x))
    labels, classes, legend = coded(raw.y, len(x), options, raw.classes)
    whole, notes = ArraySplit(x, labels, raw.names, cast, raw.origin, raw.covariates), (*raw.notes, *notes, *legend)
    whole.identify(raw.names, raw.schema.id, raw.row_numbers)
    if unknown is not None and unknown.any():
        whole.unknown = unknown
    schema = replace(raw.schema, classes=classes)
    beside += "" if raw.covariates is None else fingerprint(raw.covariates.numpy(), None, repr(schema.covariates))
    digest = fingerprint(x.astype(np.float32) if raw.header else x, labels, beside)
    share = options.share(len(x))
    data = divided(whole, raw.train, name, domain, notes, digest, share, schema, validation=raw.validation)
    if raw.header and x.ndim == 2 and not mapped and not options.like:
        data = replace(data, schema=replace(schema, ranges=_ranges(x, data.train, domain.columns)))
    known = () if mapped or data.test is None else duplicates.note(data.train, data.test)
    return replace(data, layout=layout, notes=(*data.notes, *known))


def _ranges(x: np.ndarray, train: Split, columns: Sequence[Domain]) -> tuple[tuple[float, float], ...]:
    """Return the smallest and largest number of each column of the training rows; () if a column has none.

    In a "semicontinuous" column the number that recurs does not count, unless it is the only one.
    """
    x = x[train.rows.numpy()] if isinstance(train, Subset) else x
    if columns:
        atoms = np.array([np.nan if own.atom is None else own.atom for own in columns], np.float32)
        recurs = x.astype(np.float32) == atoms
        x = np.where(recurs & (~recurs).any(0), np.nan, x)
    low, high = np.fmin.reduce(x), np.fmax.reduce(x)
    return () if np.isnan(low).any() else tuple(zip(low.tolist(), high.tolist(), strict=True))


def _table(raw: Arrays, title: str, options: Options) -> tuple[Domain, tuple[str, ...]] | None:
    """Return what `surveyed` does, for all rows of a table (N, D); None: one domain fits all of its columns."""
    x, width = raw.x, raw.x.shape[1]
    if raw.words or raw.kinds is not None or np.isnan(x).any():
        return surveyed(raw, title, options)
    if options.like or (width > columns.MAX_OWN and not columns.constant(x).any()):
        return None
    plain = encoding.infer(x, options.declared, title, header=raw.header)[0].domain
    if not columns.may_differ(width, x.dtype, plain, options.declared):
        return None
    survey = Survey(raw.header, {}, title, raw.problems)
    survey.add(x, raw.words)
    return survey.numbers(plain)


def surveyed(raw: Arrays, title: str, options: Options, *, sample: bool = False) -> tuple[Domain, tuple[str, ...]]:
    """Return the domain of a table (N, D), with a domain for each column, and notes on what was inferred.

    Args:
        raw: The table.
        title: Its name in messages.
        options: Options that the user gave.
        sample: Whether the rows are a part of the data, so that others may hold other numbers.
    """
    width = raw.x.shape[1]
    kinds = [options.declared] * width if raw.kinds is None and not options.like else raw.kinds
    survey = Survey(
        raw.header,
        columns.by_column(kinds, raw.header, width),
        title,
        raw.problems,
        like=options.like,
        sample=sample,
        absent=raw.absent,
    )
    survey.add(raw.x, raw.words)
    domain, notes = survey.domain()
    tell(options, notes)
    return domain, notes


def divided(
    whole: Indexed,
    train: int | None,
    name: str,
    domain: Domain,
    notes: tuple[str, ...],
    digest: str,
    test: float | None,
    schema: Schema = UNNAMED,
    *,
    validation: int = 0,
) -> Data:
    """Return the data set of examples with random access; for the arguments see `Data` and `Arrays`.

    With `train` the first examples are for training, the last ones, `validation`, for validation, and the others for
    testing. Otherwise this share, `test`, is set aside for testing by a fixed permutation; None: nothing.
    """
    whole.classes = schema.classes
    data, size = Data(name, whole, None, domain, notes, digest, False, whole, schema), len(whole)
    if train is not None:
        if not 0 < train < size - validation:
            raise InputError(f"{name} has an empty training or test split; both need examples")
        first, rest, held_out = np.split(np.arange(size), [train, size - validation])
        data = replace(data, validation=whole.subset(held_out) if validation else None)
    elif test is None or size < 2:  # one example is enough to ask a trained model about it
        return data
    else:
        held = min(max(1, round(test * size)), size - 1)
        rest, first = map(np.sort, np.split(np.random.default_rng(0).permutation(size), [held]))
        notes = (*notes, f"split: {size - held:,} train and {held:,} test by a fixed permutation")
    return replace(data, train=whole.subset(first), test=whole.subset(rest), notes=notes)


def fingerprint(x: np.ndarray, labels: Tensor | None, beside: str = "") -> str:
    """Return the SHA-256 of stored values and labels."""
    digest = hashlib.sha256(f"{x.dtype} {x.shape}{beside}".encode())
    for i in range(0, len(x), step := max(1, (1 << 24) // max(1, x[0].nbytes))):
        digest.update(np.ascontiguousarray(x[i : i + step]).data)
    if labels is not None:
        digest.update(labels.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
