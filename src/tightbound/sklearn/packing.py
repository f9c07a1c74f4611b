"""Trained models as bytes, by which estimators are pickled."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from tightbound.components import rebuild
from tightbound.components.saving import foreign
from tightbound.core.errors import InputError
from tightbound.trained import Trained
from tightbound.training.checks import choose_device
from tightbound.training.folder import RunFolder
from tightbound.training.weights import load_weights


def pack(trained: Trained) -> dict[str, Any]:
    """Return a trained model as the files of its run, in which the weights are safetensors.

    The state of the optimizer is left out if there are better weights than the last. Modules that a run cannot rebuild
    are pickled as objects.
    """
    folder = trained.folder
    if folder is None:
        raise InputError("the model has no run, so it cannot be pickled; fit the estimator again")
    files = {
        file.relative_to(folder.path).as_posix(): file.read_bytes()
        for file in sorted(folder.path.rglob("*"))
        if file.is_file() and file.suffix in (".json", ".jsonl", ".yaml", ".safetensors")
    }
    if "checkpoints/best.safetensors" in files:
        files.pop("checkpoints/last.safetensors", None)
    own = foreign(folder.read(folder.model_file))
    return {"files": files, "model": trained.model if own else None}


def unpack(packed: dict[str, Any]) -> Trained:
    """Return the trained model that `pack` packed."""
    place = Path(tempfile.mkdtemp(prefix="tightbound-"))
    folder = RunFolder(place / "run", temporary=True)
    for name, contents in packed["files"].items():
        file = folder.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents)
    model = packed["model"]
    model = rebuild(folder.read(folder.model_file), trust=True) if model is None else model
    words = load_weights(model, folder)
    trained = Trained(model.to(choose_device("auto")), folder=folder, weights=words, metrics=folder.metrics())
    weakref.finalize(trained, shutil.rmtree, place, ignore_errors=True)
    return trained
