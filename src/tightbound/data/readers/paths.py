"""Names of files: patterns, and files that together are one data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tightbound.core.errors import InputError

_PART = re.compile(r"(train|test|validation|valid|val)(?![a-z])", re.IGNORECASE)
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": None, ".dat": None, ".data": None}
TEXT = tuple(_DELIMITERS)
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


def parted(paths: Sequence[Path]) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return the files for training, those for testing, and notes, by what their names begin with.

    Where there are names that begin with "train" and others with "test" (or "validation"), all other files are left
    out; otherwise all files come first, and none are for testing.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        match = _PART.match(path.name)
        word = match.group(1).lower() if match else ""
        found.setdefault("validation" if word.startswith("val") else word, []).append(path)
    second = "test" if "test" in found else "validation"
    if "train" not in found or second not in found:
        return list(paths), [], ()
    notes = [f"split: by the names of the files, train-* and {second}-*"]
    if others := [path.name for path in found.get("", [])]:
        notes.append(f"left out: files with other names, {', '.join(others)[:100]}")
    if second == "test" and "validation" in found:
        notes.append("left out: the files of validation data; validation data are taken from the training data")
    return found["train"], found[second], tuple(notes)


def is_text(path: Path) -> bool:
    """Whether this is a table as text, by its name."""
    return _suffix(path) in _DELIMITERS


def delimiter(path: Path) -> str | None:
    """Return the delimiter that a file's name stands for; None: it says nothing about it."""
    return _DELIMITERS[_suffix(path)]


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else path.suffix.lower()
