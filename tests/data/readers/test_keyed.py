"""Arrays by name: .npz and .pt files, dictionaries; single images; files of other kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse

from tightbound.core.domain import REAL, Domain
from tightbound.core.errors import InputError
from tightbound.data import Data, open

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 2


def values(data: Data) -> np.ndarray:
    return next(data.whole.epoch(99)).x.numpy()


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "x_test", "x_val", "y_train", "y_test", "y_val"),
        ("X_train", "X_test", "X_valid", "Y_train", "Y_test", "Y_valid"),
        ("train_images", "test_images", "val_images", "train_labels", "test_labels", "val_labels"),
        ("train_data", "test_data", "validation_data", "train_targets", "test_targets", "validation_targets"),
    ],
)
def test_names_for_training_test_and_validation_data_are_a_split(tmp_path: Path, keys: tuple[str, ...]) -> None:
    arrays = dict(zip(keys, (X[:7], X[7:9], X[9:], Y[:7], Y[7:9], Y[9:]), strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    torch.save({name: torch.from_numpy(x) for name, x in arrays.items()}, tmp_path / "a.pt")
    for source in (tmp_path / "a.npz", tmp_path / "a.pt", arrays):
        data = open(source)
        assert data.validation is not None
        for split, rows in ((data.train, slice(7)), (data.test, slice(7, 9)), (data.validation, slice(9, 12))):
            batch = next(split.epoch(99))
            assert np.array_equal(batch.x, X[rows])
            assert batch.label.tolist() == Y[rows].tolist()
        assert any("7 train, 2 test, 3 validation" in note for note in data.notes)


def test_files_that_torch_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for saved, labeled in ((torch.from_numpy(X), False), ((torch.from_numpy(X), torch.from_numpy(Y)), True)):
        torch.save(saved, path)
        data = open(path)
        assert np.array_equal(values(data), X)
        assert (data.whole.labels is not None) == labeled
    torch.save({"weights": Path("x")}, path)
    with pytest.raises(InputError, match=r"holds Python objects.*torch\.save\(\{'x': x, 'y': y\}, path\)"):
        open(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"a\.pt cannot be read") as caught:
        open(path)
    assert "\n" not in str(caught.value)


def test_dictionaries() -> None:
    data = open({"data": X, "target": Y, "target_names": ["a", "b"], "DESCR": "words"})  # as scikit-learn has them
    assert np.array_equal(values(data), X)
    assert data.whole.labels.tolist() == Y.tolist()
    table = open({"size": [1.5, 2.5, -1], "kind": ["a", "b", "a"]})
    assert table.header == ("size", "kind")
    assert table.domain.columns == (REAL, Domain("categories", 2, ("a", "b")))
    with pytest.raises(InputError, match="the dictionary holds the arrays a, b; name the data 'x'"):
        open({"a": X, "b": X})


def test_sparse_arrays() -> None:
    dense = np.where(X > 0, X, 0)
    assert np.array_equal(values(open(sparse.csr_array(dense))), dense)
    assert np.array_equal(values(open(torch.from_numpy(dense).to_sparse())), dense)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.xlsx", "pandas.read_excel"),
        ("a.mat", "scipy.io.loadmat"),
    ],
)
def test_files_that_other_libraries_read_name_the_code(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=code) as caught:
        open(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_single_image_is_one_example(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    data = open(tmp_path / "one.png")
    assert np.array_equal(values(data)[0, 0], pixels)
    assert data.whole.names == ["one.png"]
    assert data.test is None
