"""Random shifts and flips of training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data import ArraySplit
from tightbound.data.augment import Flip, Shift, augmentations, augmented
from tightbound.training.folder import RunFolder
from training import cases

X = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 3, 6, 7)).astype(np.uint8))


def change(text: str, batch: Batch, *key: int, **part: int) -> Batch:
    return augmented(batch, augmentations(text, ArraySplit(batch.x.numpy())), Noise("augment", *key, **part))


def shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Images (..., H, W) moved by whole pixels within a wide repeated border."""
    padded = np.pad(x.numpy(), [(0, 0)] * (x.dim() - 2) + [(3, 3), (3, 3)], mode="edge")
    height, width = x.shape[-2:]
    return torch.from_numpy(padded[..., 3 - down : 3 - down + height, 3 - right : 3 - right + width])


def test_shifts_move_content_exactly_and_all_are_equally_probable() -> None:
    found = change("shift(pixels=1)", Batch(X)).x
    assert found.dtype == X.dtype
    assert found.is_contiguous()
    counts = np.zeros(9)
    for x, y in zip(X, found, strict=True):
        fits = [torch.equal(shifted(x, i, j), y) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        assert sum(fits) == 1
        counts[np.argmax(fits)] += 1
    assert ((counts - 200 / 9) ** 2 / (200 / 9)).sum() < 26  # chi-squared with 8 degrees of freedom, p = 0.001


def test_a_flip_is_an_involution_that_half_of_the_images_undergo() -> None:
    once = Flip()([X], Noise("flip"))
    assert torch.equal(Flip()(once, Noise("flip"))[0], X)
    flips = [torch.equal(x.flip(-1), y) for x, y in zip(X, once[0], strict=True)]
    same = [torch.equal(x, y) for x, y in zip(X, once[0], strict=True)]
    assert all(a != b for a, b in zip(flips, same, strict=True))
    assert 70 < sum(flips) < 130


def test_images_change_with_their_masks_and_keep_their_labels() -> None:
    batch = Batch(X, label=torch.arange(200), mask=X > 99)
    found = change("shift, flip", batch, 3)
    assert found.mask is not None
    assert torch.equal(found.x > 99, found.mask)
    assert found.label is batch.label
    assert not torch.equal(found.x, X)


def test_an_image_changes_alike_in_every_part_of_its_batch() -> None:
    whole = change("shift,flip", Batch(X), 5).x
    part = change("shift,flip", Batch(X[30:90]), 5, start=30, total=200).x
    assert torch.equal(part, whole[30:90])
    assert not torch.equal(change("shift,flip", Batch(X), 6).x, whole)


def test_text() -> None:
    first, second = augmentations("shift(pixels=4) ,flip()", ArraySplit(X.numpy()))
    assert isinstance(first, Shift)
    assert isinstance(second, Flip)
    assert first.pixels == 4
    assert augmentations(None, ArraySplit(np.zeros((2, 3)))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "there is no augmentation 'flop'; .*'flip'"),
        ("shift(2.5)", "pixels = 2.5; needed: a whole number"),
        ("shift,", "cannot read the component ''"),
        (3, "augment = 3; needed"),
    ],
)
def test_an_unknown_change_is_refused(text: Any, message: str, tmp_path: Path) -> None:
    model, data, _, settings = cases.mlp()
    with pytest.raises(InputError, match=message):
        tb.fit(model, data, run=tmp_path / "run", **{**cases.COMMON, **settings, "augment": text})
    assert not (tmp_path / "run").exists()


def test_tables_have_no_pixels_to_move(tmp_path: Path) -> None:
    model, data, _, _ = cases.made(cases.holes())
    with pytest.raises(InputError, match=r"augment = 'flip' moves the pixels of images, .* shape \(5,\); .* leave out"):
        tb.fit(model, data, augment="flip", run=tmp_path / "run", **cases.COMMON)
    assert not (tmp_path / "run").exists()


AUGMENTED: dict[str, Any] = {"augment": "shift(pixels=1),flip"}


def test_only_training_images_change(tmp_path: Path) -> None:
    """At a learning rate of nearly zero: the same validation and evaluation, but other training metrics."""
    found = []
    for name, options in {"plain": dict[str, Any](), "augmented": AUGMENTED}.items():
        model, data, objective, _ = cases.mlp()
        trained = tb.fit(model, data, objective, run=tmp_path / name, **cases.COMMON, lr=1e-30, **options)
        bound = trained.evaluate(data, samples=2).estimates["elbo"].value
        found.append((RunFolder(tmp_path / name).metrics()[-1], bound))
    (one, bound), (other, same) = found
    assert one["validation_loss"] == other["validation_loss"]
    assert bound == same
    assert one["train_loss"] != other["train_loss"]


def test_training_resumes_to_the_same_bits_and_records_the_changes(tmp_path: Path) -> None:
    whole = cases.train("mlp", tmp_path / "whole", AUGMENTED)
    assert cases.stopped("mlp", tmp_path / "run", 4, AUGMENTED) == 4
    assert "augment was" in cases.refusal("mlp", {"run": tmp_path / "run", "resume": True})
    parts = cases.train("mlp", tmp_path / "run", AUGMENTED | {"resume": True, "accumulate": 1})
    assert all(np.array_equal(value, parts["weights"][name]) for name, value in whole["weights"].items())
    assert whole["rows"] == parts["rows"]
    assert whole["rows"] != cases.train("mlp", tmp_path / "plain", {})["rows"]
    assert "augment: shift(pixels=1),flip" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_code_prior_learns_from_images_as_they_are(tmp_path: Path) -> None:
    """The stage of the code prior does not refuse code indices, though they have no pixels."""
    rows = cases.train("second", tmp_path / "run", AUGMENTED | {"epochs": 1})["rows"]
    assert [row["stage"] for row in rows] == ["", "prior"]
