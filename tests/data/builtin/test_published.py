"""Published data sets and their splits."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tightbound.core.domain import Domain
from tightbound.data import open
from tightbound.data.builtin import BUILTINS, GRIDS, published

REAL_CACHE = os.environ.get("TIGHTBOUND_DATA", "")


def needs(name):
    present = REAL_CACHE and (Path(REAL_CACHE) / name).is_dir()
    return pytest.mark.skipif(not present, reason=f"TIGHTBOUND_DATA names no folder that holds {name}")


def test_digits():
    data = open("digits")
    assert data.builtin
    assert (len(data.train), len(data.test), data.shape) == (1500, 297, (1, 8, 8))
    assert data.domain == Domain("levels", 17)
    assert data.whole is data.test
    batch = next(data.train.epoch(1500))
    assert batch.x.dtype == torch.uint8
    assert batch.x.max() == 16
    assert torch.bincount(batch.label).tolist() == [145, 149, 135, 161, 144, 158, 151, 156, 152, 149]
    assert open("digits", domain="real").domain.kind == "real"
    assert data.fingerprint == open("digits").fingerprint


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in ("mnist", "fashion-mnist")])
def test_idx_sets(name):
    data = open(name)
    assert (len(data.train), len(data.test), data.shape) == (60_000, 10_000, (1, 28, 28))
    assert torch.bincount(data.test.labels).sum() == 10_000
    first = data.train.labels[:5].tolist()
    assert first == {"mnist": [5, 0, 4, 1, 9], "fashion-mnist": [9, 0, 0, 3, 0]}[name]
    batch = next(data.test.epoch(10, key=(0,)))
    assert batch.x.shape == (10, 1, 28, 28)
    assert torch.equal(batch.label, data.test.labels[batch.index])


@needs("frey-faces")
def test_frey_faces():
    data = open("frey-faces")
    assert (len(data.train), len(data.test), data.shape) == (1765, 200, (1, 28, 20))
    assert sorted(torch.cat([data.train.rows, data.test.rows]).tolist()) == list(range(1965))
    assert data.train.labels is None


def test_every_name_can_be_read():
    assert set(BUILTINS) == {*published.READERS, *GRIDS}
    assert all("train" in line and "test" in line for line in BUILTINS.values())


def test_frey_faces_are_converted():
    from scipy.io import savemat

    faces = np.random.default_rng(0).integers(0, 256, (1965, 28, 20), dtype=np.uint8)
    file = io.BytesIO()
    savemat(file, {"ff": faces.reshape(1965, 560).T})
    with np.load(io.BytesIO(published.frey_npz(file.getvalue()))) as archive:
        assert np.array_equal(archive["images"], faces)
    with pytest.raises(OSError, match="was not understood"):
        published.frey_npz(b"rubbish")
