"""Data sets whose examples differ at each read, as with random augmentation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

import tightbound as tb
from tightbound.data.given import training_data

X = np.random.default_rng(0).integers(0, 2, (40, 1, 4, 4)).astype(np.float32)


class Shifted(Dataset[tuple[Tensor, int]]):
    """Each picture is shifted by a number that one of three generators draws."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        draws = {
            "torch": lambda: int(torch.randint(4, ())),
            "numpy": lambda: np.random.randint(4),
            "python": lambda: random.randrange(4),
        }
        return torch.from_numpy(X[i]).roll(draws[self.source](), 2), i % 3


def epoch(data: tb.data.Data, number: int, **more: Any) -> Tensor:
    batches = list(data.train.epoch(8, key=("order", 0, number), **more))
    x, index = (torch.cat([getattr(b, name) for b in batches]) for name in ("x", "index"))
    return x[index.argsort()]


@pytest.mark.parametrize(
    ("source", "memory"), [("torch", 1 << 30), ("numpy", 1 << 30), ("python", 1 << 30), ("numpy", 1)]
)
def test_examples_are_read_anew_in_each_epoch_as_functions_of_its_key(source: str, memory: int) -> None:
    data = training_data(Shifted(source), limits=tb.data.Limits(memory=memory))
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # pyright: ignore
    one, two = epoch(data, 0), epoch(data, 1)
    assert (one != two).flatten(1).any(1).sum() > 10
    assert torch.equal(one, epoch(data, 0))
    shifts = [np.roll(X, k, 3) for k in range(4)]
    assert all(any((row == s[i]).all() for s in shifts) for i, row in enumerate(one.numpy()))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # pyright: ignore
    assert random.getstate() == states[2]
    later = list(data.train.epoch(8, key=("order", 0, 0), start=3))
    before = list(data.train.epoch(8, key=("order", 0, 0)))[3:]
    assert all(torch.equal(a.x, b.x) for a, b in zip(later, before, strict=True))
    assert any("read anew in each epoch" in note for note in data.notes)
    assert torch.equal(
        torch.cat([b.label for b in later if b.label is not None]), torch.cat([b.index for b in later]) % 3
    )


def test_a_data_set_without_augmentation_is_read_once() -> None:
    fixed = [(torch.from_numpy(x), 0) for x in X]
    assert not any("anew" in note for note in tb.data.open(fixed_data(fixed)).notes)


def fixed_data(items: list[Any]) -> Dataset[Any]:
    class Fixed(Dataset[Any]):
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, i: int) -> Any:
            return items[i]

    return Fixed()


def test_training_on_augmented_examples_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def train(run: str, epochs: int, resume: bool = False) -> tb.Trained:
        data = Shifted("torch")
        model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", context="labels")
        return tb.fit(
            model,
            data,
            run=tmp_path / run,
            epochs=epochs,
            batch_size=8,
            resume=resume,
            quiet=True,
            validation=Shifted("torch"),
        )

    whole = train("whole", 2)
    train("parts", 1)
    parts = train("parts", 2, resume=True)
    assert [row["train_loss"] for row in whole.metrics] == [row["train_loss"] for row in parts.metrics]
