"""Names of what data hold: the columns of a table, its label, and the classes. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tightbound.core.errors import InputError, suggestion


@dataclass(frozen=True)
class Schema:
    """Names of what data hold, by which a model recognizes the columns and the labels of other data.

    Attributes:
        columns: Names of the columns of x, in order; (): unknown.
        classes: Names of the class labels 0, 1, ...; (): the labels are numbers.
        label: Name of the column of labels; None: there is none.
        id: Name of the column that names the examples; None: there is none.
        ignored: Names of the columns that were left out.
        decimal: Decimal mark of the words with a comma that were read as numbers; None: there were none.
        notation: For each column, an example of its number format, such as "0.0", "$0.00" or "2000-12-31", which is no
            value of the column; "" for plain numbers; () if all columns hold plain numbers.
        ranges: Smallest and largest number of each column in the training data; () if they are unknown.
        layer: Layer of AnnData that holds the examples; None: X.
        covariates: Name of each covariate, and its words in order; () for a number.
    """

    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    label: str | None = None
    id: str | None = None
    ignored: tuple[str, ...] = ()
    decimal: str | None = None
    layer: str | None = None
    covariates: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notation: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Schema:
        """Return the schema that `recorded` wrote."""
        given: dict[str, Any] = {name: _tuples(value) for name, value in recorded.items()}
        return cls(**given)

    def recorded(self) -> dict[str, Any]:
        """Return the names that are known, as JSON values."""
        return {name: _lists(value) for name, value in asdict(self).items() if value}

    def completed(self, other: Schema) -> Schema:
        """Return this schema with the other's names where this one knows none."""
        return replace(self, **{name: value for name, value in asdict(other).items() if not getattr(self, name)})

    def with_classes(self, words: Iterable[str]) -> Schema:
        """Return this schema with new classes appended to its own."""
        return replace(self, classes=(*self.classes, *(word for word in words if word not in self.classes)))

    def class_name(self, number: float) -> str:
        """Return the name of a class; its number, if it has no name."""
        return self.classes[int(number)] if number in range(len(self.classes)) else f"{number:g}"

    def class_number(self, label: Any) -> Any:
        """Return the number of a class that is given by its name; a number stays as it is.

        Raises:
            InputError: If no class has this name.
        """
        if str(label) in self.classes:  # classes may have names such as "3"
            return self.classes.index(str(label))
        if not isinstance(label, str):
            return label
        if self.classes:
            raise InputError(f"{label!r} is no class of this model; {suggestion(label, self.classes)}")
        try:
            return int(label)
        except ValueError:
            raise InputError(
                f"the label {label!r} is a word, and this model knows its classes by number; give a number"
            ) from None

    def class_numbers(self, values: Any) -> Any:
        """Return values with the names of classes replaced by their numbers; other values stay as they are."""
        if isinstance(values, str):
            return [self.class_number(values)]
        given = values.tolist() if getattr(getattr(values, "dtype", None), "kind", "") in ("U", "O") else values
        if isinstance(given, Sequence) and any(isinstance(value, str) for value in given):
            return [self.class_number(value) for value in given]
        return values


UNNAMED = Schema()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _lists(value: Any) -> Any:
    return [*map(_lists, value)] if isinstance(value, tuple) else value


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names for a message, at most so many of them."""
    names = [*names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
