"""What the page shows of each analysis that the run holds, from top to bottom."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from tightbound.core.errors import InputError
from tightbound.report.section import Section
from tightbound.training.folder import RunFolder

Sections = Callable[[Mapping[str, Any]], list[Section]]  # of what the analysis found, as JSON has it

# name of the analysis -> where its sections are made, in the order of the page: before the numbers, ...
LEAD: dict[str, str] = {"diagnosis": "tightbound.report.diagnosis:sections"}
# ... and after them and the model's own pictures
SECTIONS: dict[str, str] = {
    "ais": "tightbound.report.ais:sections",
    "quality": "tightbound.report.quality:sections",
    "paths": "tightbound.report.paths:sections",
    "probe": "tightbound.report.probe:sections",
    "score": "tightbound.report.score:sections",
}


def analyses(folder: RunFolder, places: Mapping[str, str] = SECTIONS) -> list[Section]:
    """The sections of all analyses that were made of the run's weights."""
    found = []
    for name, place in places.items():
        file = folder.analysis_file(name)
        if file.is_file():
            module, _, function = place.partition(":")
            make: Sections = getattr(importlib.import_module(module), function)
            try:
                found += make(folder.read(file))
            except (InputError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise InputError(f"{str(file)!r} is damaged; delete it, and what it held is measured again") from error
    return found
