"""Files that together are one data set: which are for training and which for testing, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_PART = re.compile(r"(train|test|validation|valid|val)(?![a-z])", re.IGNORECASE)


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
