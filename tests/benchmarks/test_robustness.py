"""A small part of the campaign of killed processes; `benchmarks/robustness.py` runs all of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

NAMES = ("training", "code prior", "sweep", "evaluation", "report", "sampler", "export")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_command_is_repeated_to_equal_bits(name: str, tmp_path: Path) -> None:
    import robustness

    assert set(robustness.CASES) == set(NAMES)
    counts = robustness.campaign([name], 2, seed=0, folder=tmp_path)
    assert counts[name] == {"clean": 2}


def test_files_are_compared_by_their_numbers(tmp_path: Path) -> None:
    """Another weight or estimate is seen, another time is not, and a half-written file is an error."""
    import robustness

    def written(weight: float, value: float, seconds: float) -> dict[str, str]:
        save_file({"w": torch.tensor([weight])}, tmp_path / "model.safetensors")
        np.savez(tmp_path / "codes.npz", mean=np.ones(3))
        result = {"estimates": {"elbo": {"value": value, "unit": "nats"}}, "seconds": seconds}
        (tmp_path / "result.json").write_text(json.dumps(result))
        return robustness.contents(tmp_path)

    first = written(1.0, -2.0, 3.0)
    assert written(1.0, -2.0, 4.0) == first
    assert [name for name, digest in written(1.5, -2.0, 3.0).items() if digest != first[name]] == ["model.safetensors"]
    assert [name for name, digest in written(1.0, -2.5, 3.0).items() if digest != first[name]] == ["result.json"]
    for name in ("model.safetensors", "codes.npz", "result.json"):
        written(1.0, -2.0, 3.0)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
        with pytest.raises(ValueError, match=f"{name} is half-written"):
            robustness.contents(tmp_path)
