"""Parquet files, tar shards and saved data sets, from the command line."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from conftest import TINY
from tightbound.training.checkpoint import load
from tightbound.training.folder import RunFolder

RNG = np.random.default_rng(0)
N = 60
PIXELS = RNG.integers(0, 256, (N, 8, 8), dtype=np.uint8)


def parquet(folder):
    colors = np.array(["red", "green"])[RNG.integers(0, 2, N)]
    table = pa.table({"a": RNG.normal(size=N), "b": [None, *RNG.normal(size=N - 1)], "color": colors})
    pq.write_table(table, folder / "table.parquet", row_group_size=10)
    return "table.parquet"


def tars(folder):
    for number in range(3):
        with tarfile.open(folder / f"s-{number:03d}.tar", "w") as out:
            for i in range(20 * number, 20 * number + 20):
                file = io.BytesIO()
                Image.fromarray(PIXELS[i]).save(file, "PNG")
                for name, content in ((f"{i:04d}.png", file.getvalue()), (f"{i:04d}.cls", b"1")):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    out.addfile(info, io.BytesIO(content))
    return "s-{000..002}.tar"


def saved(folder):
    datasets = pytest.importorskip("datasets", reason="the extra 'stream' is not installed")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {"x": datasets.Array2D((8, 8), "uint8"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    given = {"x": list(PIXELS), "label": [i % 2 for i in range(N)]}
    datasets.Dataset.from_dict(given, features=features).save_to_disk(folder / "saved")
    return "saved/"


@pytest.mark.parametrize("make", [parquet, tars, saved])
def test_train_resume_evaluate_embed_and_score(cli, tmp_path, make):
    source = make(tmp_path)
    flags = ("--network", "mlp(hidden=(16,))", "--latent", "2", "--evaluate-samples", "0", "--batch-size", "16")
    done = cli("train", source, *flags, "--steps", "7", "--run", "run")
    assert done.status == 0, done.err
    assert cli("train", source, *flags, "--steps", "2", "--run", "half").status == 0
    more = cli("train", source, *flags, "--steps", "7", "--run", "half", "--resume")
    assert more.status == 0, more.err
    whole, resumed = (load(RunFolder(tmp_path / run).checkpoint("last")) for run in ("run", "half"))
    assert whole[1]["step"] == 7
    assert all(torch.equal(tensor, resumed[0][name]) for name, tensor in whole[0].items())
    for command in (
        ("evaluate", "run", "--samples", "3", "--json"),
        ("embed", "run", "--out", "codes.npz", "--split", "all"),
        ("score", "run", "-n", "6", "--scores", "nll"),
        ("evaluate", "run", source, "--samples", "3"),
    ):
        result = cli(*command)
        assert result.status == 0, result.err
    with np.load(tmp_path / "codes.npz") as codes:
        assert codes["mean"].shape == (N, 2)


def test_a_missing_extra_is_one_line(refused, tmp_path, monkeypatch):
    source = saved(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    assert "pip install 'tightbound[stream]'" in refused("train", source)


def test_a_run_is_named_after_its_shards(cli, tmp_path):
    done = cli("train", tars(tmp_path), *TINY, "--evaluate-samples", "0")
    assert done.status == 0, done.err
    assert (tmp_path / "runs" / "s").is_dir()
