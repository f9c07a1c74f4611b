"""Labels as numbers: words become the numbers of their classes, which keep their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.schema import listed
from tightbound.core.terms import UNKNOWN
from tightbound.data.options import Options

_END = 2.0**63  # signed integers of 64 bits are smaller


class Labels(NamedTuple):
    """Labels of N examples."""

    values: Tensor | None = None  # (N,) or (N, factors): whole numbers as int64, others as float32
    classes: tuple[str, ...] = ()  # the words that the numbers 0, 1, ... stand for; (): they are numbers
    notes: tuple[str, ...] = ()


def coded(y: Any, size: int, options: Options, classes: Sequence[str] = ()) -> Labels:
    """Return labels as numbers; words are numbered as the model knows them, else in alphabetical order.

    Args:
        y: Labels (N,), (N, 1) or (N, factors), numbers or words; None: there are none.
        size: N.
        options: Options of the data, with the classes that the model knows.
        classes: The words that numbers in `y` stand for; (): they are numbers, or `y` holds words.

    Raises:
        InputError: If the labels have another size or type, or the model is conditional and does not know a class.
    """
    if y is None:
        return Labels()
    y = np.asarray(y)
    if y.ndim == 0 or len(y) != size:
        raise InputError(f"labels have shape {y.shape}, but there are {size} examples; give one label for each")
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if options.partial and y.ndim == 1:
        known = np.array([_is_known(value, classes) for value in y.tolist()])
        if not known.all():
            return _completed(coded(y[known], int(known.sum()), options, classes), known)
    if options.closed and y.dtype.kind in "Of":  # words and None, or numbers and NaN
        lacking = [i for i, v in enumerate(y.tolist()) if v is None or v != v]
        if lacking:
            first = f"example {lacking[0] + 1} has no label"
            more = f", nor have {len(lacking) - 1:,} others" if len(lacking) > 1 else ""
            raise InputError(f"{first}{more}, and the model needs one for each; add labels, or remove such examples")
    if y.dtype.kind == "O" and not any(isinstance(v, str) for v in y.flat):
        y = _numbers(y)
    if y.dtype.kind in "USO":
        if y.ndim != 1 or not all(isinstance(v, str) for v in y.tolist()):
            raise InputError(f"labels have dtype {y.dtype} and shape {y.shape}; give (N,) words or numbers")
        words, y = np.unique(y.astype(str), return_inverse=True)
        classes = words.tolist()
    if classes:
        known, own = known_classes(classes, options), y.astype(np.int64)
        if len(own) and not 0 <= own.min() <= own.max() < len(classes):
            raise InputError(
                f"labels are numbers from {own.min()} to {own.max()}, and {len(classes)} classes have names: "
                f"{listed(classes)}; give numbers in 0..{len(classes) - 1}"
            )
        numbers = np.array([known.index(word) for word in classes], np.int64)[own]
        return Labels(torch.from_numpy(numbers), known, (_legend(known),))
    if y.dtype.kind not in "biuf":
        raise InputError(f"labels have dtype {y.dtype}; give numbers or words")
    named = options.schema.classes if y.ndim == 1 and y.dtype.kind != "f" else ()
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.rint(y)).all()):
        return Labels(torch.from_numpy(y.astype(np.float32)))
    if y.dtype.kind in "uf" and y.size and float(abs(y).max()) >= _END:
        raise InputError(f"the labels hold {y.flat[abs(y).argmax()]}; give whole numbers below 2**63, or words")
    return Labels(torch.from_numpy(y.astype(np.int64)), named)


def _is_known(label: Any, classes: Sequence[str]) -> bool:
    """Return whether a label is known: not missing, not the word "-1", and not negative if classes have names."""
    return not (label is None or label != label or label == str(UNKNOWN) or (bool(classes) and label < 0))


def _completed(labels: Labels, known: np.ndarray) -> Labels:
    """Extend labels of the examples that a mask (N,) marks to all examples; the other labels are -1 (unknown)."""
    found = labels.values
    if found is None or not len(found) or found.is_floating_point():
        held = "no labels" if found is None or not len(found) else "labels that are not classes"
        raise InputError(f"the examples have {held}; give a class for some of them, and no label for the others")
    values = torch.full((len(known),), UNKNOWN)
    values[torch.from_numpy(known)] = found
    n = int((~known).sum())
    note = f"{n:,} of {len(known):,} examples have no label: their class is unknown (-1), and the model infers it"
    return Labels(values, labels.classes, (*labels.notes, note))


def known_classes(words: Sequence[str], options: Options) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, ...: those that a model knows, and then others of these words.

    Raises:
        InputError: If the model is conditional and does not know one.
    """
    known, found = options.schema.classes, options.schema.with_classes(words).classes
    if options.closed and found != known:
        fix = f"known classes: {listed(known, 20)}" if known else "the model knows its classes by number; give numbers"
        raise InputError(f"the labels hold {found[len(known)]!r}, which the model was not trained on; {fix}")
    return found


class Naming:
    """Conversion of labels to numbers, part by part; the first part tells words, whole and other numbers apart.

    Words that are new in a later part get the next numbers, so that a word has the same number in all parts.

    Args:
        first: Labels of the first part, as for `coded`.
        options: Options of the data, with the classes that the model knows.
        given: Words that the numbers in the labels stand for.
        beside: Naming of other data that shares its class numbers, such as the training data.
    """

    def __init__(
        self, first: Any, options: Options, given: Sequence[str] = (), *, beside: Naming | None = None
    ) -> None:
        self.classes: list[str] = [] if beside is None else beside.classes
        self._options, self._given = options, given
        self._type = torch.int64
        found = self(first)
        self._type = torch.int64 if found is None else found.dtype

    def __call__(self, y: Any) -> Tensor | None:
        """Return labels as numbers; None: there are none."""
        if y is None:
            return None
        schema = self._options.schema.with_classes(self.classes)
        found = coded(y, len(y), replace(self._options, schema=schema), self._given)
        assert found.values is not None
        self.classes[:] = found.classes or self.classes
        return found.values.to(torch.promote_types(self._type, found.values.dtype))


def _numbers(y: np.ndarray) -> np.ndarray:
    """Return an array of Python objects as numbers if all of them are numbers."""
    try:
        return y.astype(np.int64 if all(isinstance(v, int) for v in y.flat) else np.float64)
    except OverflowError:
        return y.astype(np.float64)
    except (TypeError, ValueError):
        return y


def _legend(words: Sequence[str]) -> str:
    """Return a note on which number stands for which class."""
    return f"labels: {listed([f'{word}={i}' for i, word in enumerate(words)], 10)}"
