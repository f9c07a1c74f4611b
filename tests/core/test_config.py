"""Configs that runs of before recorded."""

from __future__ import annotations

from pathlib import Path

import yaml

from tightbound.config import read_config

OLD = {"data": "digits", "latents": "ladder", "prior": "normal", "posterior": "normal", "checkpoint_seconds": 30.0}


def _read(folder: Path, values: dict[str, object]) -> dict[str, object]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return read_config(file)


def test_the_former_default_of_a_recorded_run_is_read_as_the_present_one(tmp_path: Path) -> None:
    """Latents with a prior of their own would refuse it by its name."""
    assert _read(tmp_path, OLD) == OLD | {"prior": "auto", "posterior": "auto"}
    assert _read(tmp_path, OLD | {"prior": "vamp"})["prior"] == "vamp"


def test_what_a_person_or_a_present_run_says_is_left_alone(tmp_path: Path) -> None:
    for values in ({"latents": "ladder", "prior": "normal"}, OLD | {"prior_data": 60_000}):
        assert _read(tmp_path, values) == values
