"""Questions and answers as JSON, and their records in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tightbound.analysis.base import Analysis
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError
from tightbound.core.files import to_json, write_atomic
from tightbound.training.folder import RunFolder


def as_json(analysis: Analysis[Any], result: Result, *, figures: bool = True) -> dict[str, Any]:
    """Return a question, its options and its answer as plain JSON values."""
    options = {name: _plain(value) for name, value in analysis.options.items()}
    return {
        "analysis": analysis.name,
        "question": analysis.question,
        "options": options,
        **result.to_json(figures=figures),
    }


def save(folder: RunFolder, analysis: Analysis[Any], result: Result) -> None:
    """Record the answer in a run.

    Raises:
        InputError: If the folder cannot be written, or another process trains the run or has trained it since its
            weights were loaded.
    """
    text = to_json(as_json(analysis, result))
    with folder.exclusive():
        folder.check_current()
        write_atomic(folder.analysis_file(analysis.name), text)


def options_of(folder: RunFolder, name: str) -> dict[str, Any] | None:
    """Return the options of a recorded answer; None: there is no record."""
    file = folder.analysis_file(name)
    return folder.read(file).get("options", {}) if file.is_file() else None


def load(folder: RunFolder, names: Iterable[str]) -> dict[str, Result]:
    """Return the recorded answers of a run, by name of the analysis.

    Raises:
        InputError: If a record is damaged.
    """
    found: dict[str, Result] = {}
    for name in names:
        file = folder.analysis_file(name)
        if not file.is_file():
            continue
        try:
            found[name] = Result.from_json(folder.read(file))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{str(file)!r} is damaged; delete it, and it will be measured again") from error
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(getattr(value, "path", value))
