"""Training on data that are read as they are needed: resumed runs equal uninterrupted ones."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import tightbound as tb
from tightbound.data import Limits, open
from tightbound.training.checkpoint import load
from tightbound.training.folder import RunFolder

RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 5))
SETTINGS = {"batch_size": 16, "quiet": True, "device": "cpu"}


def parquet(folder):
    columns = {name: X[:, i] for i, name in enumerate("abc")} | {"d": [None, *X[1:, 3]]}
    pq.write_table(pa.table(columns), folder / "table.parquet", row_group_size=10)
    return folder / "table.parquet"


def tars(folder):
    with tarfile.open(folder / "x.tar", "w") as out:
        for i, row in enumerate(X):
            file = io.BytesIO()
            np.save(file, row)
            info = tarfile.TarInfo(f"{i:04d}.npy")
            info.size = len(file.getvalue())
            out.addfile(info, io.BytesIO(file.getvalue()))
    return folder / "x.tar"


def saved(folder):
    datasets = pytest.importorskip("datasets", reason="the extra 'stream' is not installed")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"x": X.tolist()}).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("make", [parquet, tars, saved])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, make):
    data = open(make(tmp_path), limits=Limits(memory=400, window=1))
    assert any("as they are needed" in note for note in data.notes)

    def model():
        return tb.VAE.for_data(data, latent=2, network="mlp(hidden=(16,))")

    tb.fit(model(), data, run=tmp_path / "whole", steps=7, **SETTINGS)
    tb.fit(model(), data, run=tmp_path / "half", steps=2, **SETTINGS)
    tb.fit(model(), data, run=tmp_path / "half", steps=7, resume=True, **SETTINGS)
    whole, resumed = (load(RunFolder(tmp_path / run).checkpoint("last")) for run in ("whole", "half"))
    assert whole[1]["step"] == 7
    assert all(torch.equal(tensor, resumed[0][name]) for name, tensor in whole[0].items())
