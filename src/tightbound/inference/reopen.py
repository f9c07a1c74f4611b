"""Reopen the data of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tightbound import data as sources
from tightbound.config import READ_OPTIONS, column_kinds
from tightbound.core.errors import InputError
from tightbound.core.files import read_yaml
from tightbound.core.model import VAE
from tightbound.core.schema import Schema
from tightbound.data import Data
from tightbound.data.given import AS_GIVEN, encoded_like, needs_classes
from tightbound.data.options import IMAGE_OPTIONS, TEXT_OPTIONS
from tightbound.data.readers.web import is_url
from tightbound.data.source import checked, is_annotated, is_array_file, is_table_file, is_text_file, open_with
from tightbound.inference.classes import learns_classes
from tightbound.training.checks import check_fits, check_own_data
from tightbound.training.folder import RunFolder


def run_data(model: VAE, folder: RunFolder, name: str | None = None) -> Data | None:
    """Open the training data of a run, or other data in the same way.

    Args:
        model: Model of the run.
        folder: The run.
        name: Other data: a built-in name, a file, a folder or shards; None: the run's own.

    Returns:
        The data; None if the run does not record where all its own data are.

    Raises:
        InputError: If the run's own data have changed or moved, or other data do not fit the model.
    """
    config, run = read_yaml(folder.config_file), folder.read(folder.run_file)
    known = run["data"]["name"] if run["data"]["name"] in sources.BUILTINS else None
    chosen = name or config.get("data") or known  # a run started from Python records only its settings
    in_memory = name is None and any(note.endswith(AS_GIVEN) for note in run["data"]["notes"])  # validation= or test=
    if chosen is None or in_memory:
        return None
    names = {*READ_OPTIONS} - {"levels", "domain"}  # these are what the model says
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in names}
    options |= {"kinds": column_kinds(options.get("kinds"))}
    if chosen in sources.BUILTINS or is_array_file(str(chosen)):  # the run's were encoded pictures
        options = {k: v for k, v in options.items() if k not in IMAGE_OPTIONS}
    if not is_text_file(str(chosen)):
        options = {k: v for k, v in options.items() if k not in TEXT_OPTIONS}
    if not is_table_file(str(chosen)):
        options.pop("decimal", None)
    if not is_annotated(str(chosen)):
        options.pop("layer", None)
    source, partial = model.observation.source, model.infers_context or learns_classes(config.get("sampler"))
    if name is not None:
        others = {k: v for k, v in options.items() if k not in ("kinds", "labels", "ignore", "id", "covariates")}
        read = replace(checked(**{"test": 0.1, **others}), partial=partial)
        data = open_with(chosen, encoded_like(read, source, model.schema, closed=needs_classes(model)))
        check_fits(model, data)
        return data
    if (
        "/" in str(chosen)
        and not is_url(str(chosen))
        and not any(c in str(chosen) for c in "*{")
        and not Path(chosen).exists()
    ):
        raise InputError(f"the data of the run are no longer at {str(chosen)!r}; pass their new path with data=")
    if source.kind == "mixed":  # what is inferred about a table depends on all of it
        options |= {"kinds": source.columns}
    known = Schema(decimal=model.schema.decimal)
    read = replace(checked(**{"test": 0.1, **options}), schema=known, partial=partial)
    data = open_with(chosen, read)
    if data.domain != source and source.kind != "mixed":  # few examples can miss the highest level
        data = open_with(chosen, replace(read, declared=source))
    check_fits(model, data)
    check_own_data(folder, data, "restore them, or name the data to use")
    return data
