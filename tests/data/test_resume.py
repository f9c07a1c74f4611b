"""Training on data that are read as they are needed: resumed runs equal uninterrupted ones."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.data import Limits, open
from tightbound.inference.reopen import run_data
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


@pytest.mark.parametrize("make", [parquet, *(pytest.param(make, marks=pytest.mark.slow) for make in (tars, saved))])
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


def test_a_run_is_neither_resumed_nor_asked_with_data_of_another_fingerprint(tmp_path):
    data, run = open(parquet(tmp_path)), tmp_path / "run"
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))")
    tb.fit(model, data, run=run, steps=1, **SETTINGS)
    folder = RunFolder(run)
    folder.config_file.write_text(f"data: {tmp_path / 'table.parquet'}\n")
    assert run_data(model, folder).fingerprint == data.fingerprint
    known = folder.read(folder.run_file)

    def written(**about):
        folder.run_file.write_text(json.dumps({**known, "data": {**known["data"], **about}}))

    written(fingerprint=f"sha256:{'0' * 64}")
    said = rf"{data.fingerprint:.19}, and the run was trained on data with sha256:0{{12}};.*;"
    with pytest.raises(InputError, match=rf"{said}.*train a new run"):
        tb.fit(model, data, run=run, resume=True, steps=2, **SETTINGS)
    with pytest.raises(InputError, match=rf"{said}.*name the data"):
        run_data(model, folder)
    written(notes=["split: other", *known["data"]["notes"][1:]])
    with pytest.raises(InputError, match=r"read as 'split: other' and are now read as '4 columns"):
        tb.fit(model, data, run=run, resume=True, steps=2, **SETTINGS)
