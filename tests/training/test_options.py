"""Options that cannot act, alone or beside others, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
LOADER = DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=4)


def model(**parts: Any) -> tb.VAE:
    return tb.VAE.for_data(X, **{"latent": 2, **parts})


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (X, {"validation_size": 0, "patience": 2}, "patience= needs validation data"),
        (LOADER, {"patience": 2}, "patience= needs validation data"),
        (LOADER, {"batch_size": 7}, "batch_size= cannot change the batches of a DataLoader"),
        (X, {"epochs": 3, "steps": 9}, "pass one of them"),
        (X, {"validation": X[:9], "validation_size": 7}, "validation_size= .* validation= was given"),
    ],
)
def test_options_of_training(data: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    for call in (lambda **given: tb.fit(model(), data, **given), lambda **given: tb.train(data, latent=2, **given)):
        with pytest.raises(InputError, match=message):
            call(run=tmp_path / "run", quiet=True, **options)
        assert not (tmp_path / "run").exists()


def test_one_beta() -> None:
    with pytest.raises(InputError, match="beta= was given too"):
        tb.train(X, objective="elbo(beta=2)", beta=3, quiet=True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"network": "mlp", "encoder": nn.Linear(3, 4), "decoder": nn.Linear(2, 3)}, "network= .* leave it out"),
        ({"latents": model().latents, "prior": "vamp"}, "latents= has its own prior; leave out prior="),
        ({"latents": model().latents, "posterior": "full"}, "latents= has its own posterior; leave out posterior="),
    ],
)
def test_parts_of_a_model(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        model(**parts)


def test_options_of_reading_come_before_data_are_open() -> None:
    data = tb.data.open(X)
    with pytest.raises(InputError, match="levels= says how data are read"):
        tb.VAE.for_data(data, levels=5)
    with pytest.raises(InputError, match="gray= says how data are read"):
        tb.train(data, gray=True, quiet=True)


@pytest.mark.parametrize("options", [{"trials": 5}, {"search_seed": 1}])
def test_options_of_a_search_in_a_grid(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a grid makes none; pass search="):
        tb.sweep(X, {"latent": [2, 3]}, run=tmp_path / "sweep", quiet=True, **options)
    assert not (tmp_path / "sweep").exists()
