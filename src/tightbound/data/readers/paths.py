"""Names of files: patterns, and files that together are one data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tightbound.core.errors import InputError

_PART = re.compile(r"(train|test|validation|valid|val)(?:ing)?(?![a-z])", re.IGNORECASE)
_ROLE = re.compile(rf"{_PART.pattern}[-_ ]?(?:set|data|images|imgs|split|\d+)?", re.IGNORECASE)
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": None, ".dat": None, ".data": None}
TEXT = tuple(_DELIMITERS)
PARQUET = (".parquet", ".pq")
CONVERTED = {  # what reads a file of another kind, in Python
    ".xlsx": "import pandas; tightbound.data.open(pandas.read_excel({path!r}))",
    ".xls": "import pandas; tightbound.data.open(pandas.read_excel({path!r}))",
    ".json": "import pandas; tightbound.data.open(pandas.read_json({path!r}))",
    ".jsonl": "import pandas; tightbound.data.open(pandas.read_json({path!r}, lines=True))",
    ".feather": "import pyarrow.feather; tightbound.data.open(pyarrow.feather.read_table({path!r}))",
    ".arrow": "import pyarrow.feather; tightbound.data.open(pyarrow.feather.read_table({path!r}))",
    ".h5": "import h5py; tightbound.data.open(h5py.File({path!r})['x'][:])",
    ".hdf5": "import h5py; tightbound.data.open(h5py.File({path!r})['x'][:])",
    ".mat": "import scipy.io; tightbound.data.open(scipy.io.loadmat({path!r})['x'])",
    ".pkl": "import pickle; tightbound.data.open(pickle.load(open({path!r}, 'rb')))",
    ".pickle": "import pickle; tightbound.data.open(pickle.load(open({path!r}, 'rb')))",
    ".zip": "import zipfile; zipfile.ZipFile({path!r}).extractall('data'), and give the folder",
}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_pattern(source: str) -> bool:
    """Whether this stands for several tar files, by braces or wildcards."""
    return source.endswith(".tar") and bool(_RANGE.search(source) or set("*?[") & set(source))


def expanded(pattern: str) -> list[str]:
    """Return every name that ranges of numbers in braces, {000..009}, stand for."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    if int(first) > int(last):
        raise InputError(f"{pattern} holds the range {match.group()}; needed: the smaller number first")
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    numbers = (str(number).zfill(width) for number in range(int(first), int(last) + 1))
    return [name for number in numbers for name in expanded(pattern[: match.start()] + number + pattern[match.end() :])]


def stem(source: str) -> str:
    """Return a name for the data set: what is before the numbers of its files."""
    path = Path(source)
    name = re.split(r"[{*?\[]", path.name)[0] if is_pattern(source) else path.resolve().stem
    return name.rstrip("-_.") or "shards"


def found(source: str) -> list[Path]:
    """Return the tar files of a folder or a pattern."""
    path = Path(source).expanduser()
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    paths: list[Path] = []
    for each in [path] if path.is_file() else map(Path, expanded(str(path))):
        these = sorted(each.parent.glob(each.name)) if set("*?[") & set(each.name) and not each.is_file() else [each]
        if not any(one.is_file() for one in these):
            raise InputError(f"there is no file {each}, which {source!r} stands for; correct the pattern")
        paths += (one for one in these if one.is_file())
    return paths


@dataclass(frozen=True)
class Parts:
    """Names of the parts for training, testing and validation; `others` belong to none and are left out."""

    train: list[str]
    test: list[str]
    validation: list[str]
    others: list[str]

    @property
    def files(self) -> list[str]:
        """Return the parts that are read, in this order."""
        return [*self.train, *self.test, *self.validation]

    def notes(self, what: str) -> tuple[str, ...]:
        """Return notes on the split."""
        if not self.test:
            return ()
        sizes = {"train": self.train, "test": self.test, "validation": self.validation}
        names = ", ".join(f"{role}" for role, part in sizes.items() if part)
        more = (f"left out: {what} with other names, {', '.join(self.others)[:100]}",) if self.others else ()
        return (f"split: by the names of the {what}, {names}", *more)


def role(word: str, *, whole: bool = False) -> str:
    """Return "train", "test" or "validation" if a word begins with it (or is it as a whole), else ""."""
    match = _ROLE.fullmatch(word) if whole else _PART.match(word)
    found = match.group(1).lower() if match else ""
    return "validation" if found.startswith("val") else found


def parted(roles: Mapping[str, str]) -> Parts:
    """Return names by their roles: a split if some are for training and some for testing or validation.

    Validation data serve for testing if there are no test data. Without a split all are for training.
    """
    found = {key: [name for name in roles if roles[name] == key] for key in ("train", "test", "validation", "")}
    if not found["test"]:
        found["test"], found["validation"] = found["validation"], []
    if not found["train"] or not found["test"]:
        return Parts(list(roles), [], [], [])
    return Parts(found["train"], found["test"], found["validation"], found[""])


def parted_files(paths: Sequence[Path]) -> tuple[list[Path], int | None, int, tuple[str, ...]]:
    """Return the files that are read, how many of them are for training (None: no split) and validation, and notes.

    Files for training come first, and those for validation last.
    """
    parts = parted({str(path): role(path.name) for path in paths})
    train = len(parts.train) if parts.test else None
    shown = replace(parts, others=[Path(name).name for name in parts.others])
    return [Path(name) for name in parts.files], train, len(parts.validation), shown.notes("files")


def is_text(path: Path) -> bool:
    """Whether this is a table as text, by its name."""
    return _suffix(path) in _DELIMITERS


def delimiter(path: Path) -> str | None:
    """Return the delimiter that a file's name stands for; None: it says nothing about it."""
    return _DELIMITERS[_suffix(path)]


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else path.suffix.lower()
