"""AnnData: cells by genes with names, layers, and columns of `obs`.

Objects need no package; files do, and where `anndata` is missing a message says so.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import tightbound as tb
from tightbound.cli.main import main
from tightbound.core.domain import BINARY, COUNTS, REAL
from tightbound.core.errors import InputError

COUNTED = np.random.default_rng(0).poisson(2.0, (40, 60))
GENES = [f"g{i}" for i in range(60)]
NET = "mlp(hidden=(8,))"
installed = pytest.mark.skipif(importlib.util.find_spec("anndata") is None, reason="needs tightbound[cells]")


def cells(x: Any = COUNTED, genes: list[str] = GENES, layers: Any = (), raw: Any = None) -> Any:
    """Return what has the attributes of AnnData that are read."""
    n = x.shape[0]
    obs = pd.DataFrame({"type": pd.Categorical(["T", "B"] * (n // 2)), "age": np.arange(n) / 2.0})
    obs.index = pd.Index([f"c{i}" for i in range(n)])
    return SimpleNamespace(X=x, obs=obs, obs_names=obs.index, var_names=pd.Index(genes), layers=dict(layers), raw=raw)


def first(data: tb.data.Data) -> torch.Tensor:
    return next(data.whole.epoch(100)).x


@pytest.mark.parametrize("x", [COUNTED, COUNTED.astype(np.float32), sparse.csr_matrix(COUNTED.astype(float))])
def test_whole_numbers_are_counts_with_names_of_genes_and_cells(x: Any) -> None:
    data = tb.data.open(cells(x), labels="type")
    assert data.domain == COUNTS
    assert data.header == tuple(GENES)
    assert data.classes == ("B", "T")
    assert data.whole.labels is not None
    assert data.whole.labels.tolist() == [1, 0] * 20
    assert np.array_equal(first(data).numpy(), COUNTED)
    assert data.whole.titles(torch.tensor([3])) == ["c3"]


def test_a_large_sparse_matrix_stays_sparse_and_gives_the_same_examples() -> None:
    matrix = sparse.csc_matrix(COUNTED)
    small, large = (tb.data.open(cells(matrix), limits=tb.data.Limits(memory=m)) for m in (1 << 30, 1000))
    assert torch.equal(first(small), first(large))
    assert any("sparse" in note for note in large.notes)
    model = tb.VAE.for_data(large, latent=2, network=NET)
    trained = tb.fit(model, large, steps=2, quiet=True)
    assert torch.equal(trained.encode(small), trained.encode(large))
    assert tb.data.open(matrix).domain == tb.data.open(matrix, limits=tb.data.Limits(memory=1000)).domain == COUNTS
    assert tb.data.open(sparse.csr_matrix(COUNTED > 2)).domain == BINARY


def test_normalized_counts_are_real_and_a_note_names_the_layer_of_counts() -> None:
    log = np.log1p(COUNTED)
    data = tb.data.open(cells(log, layers={"counts": COUNTED}))
    assert data.domain == REAL
    assert any("not whole" in note and "layer='counts'" in note for note in data.notes)
    assert any("no layer holds counts" in note for note in tb.data.open(cells(log)).notes)
    assert tb.data.open(cells(log, layers={"counts": COUNTED}), layer="counts").domain == COUNTS
    raw = SimpleNamespace(X=COUNTED, var_names=pd.Index(GENES[::-1]))
    assert tb.data.open(cells(log, raw=raw), layer="raw").header == tuple(GENES[::-1])


def test_a_model_finds_its_layer_and_its_genes_by_name() -> None:
    both = cells(np.log1p(COUNTED), layers={"counts": COUNTED})
    model = tb.VAE.for_data(both, layer="counts", latent=2, network=NET)
    trained = tb.Trained(model)
    codes = trained.encode(both)
    assert torch.equal(trained.encode(cells(COUNTED)), codes)
    assert torch.equal(trained.encode(cells(COUNTED[:, ::-1], GENES[::-1])), codes)
    with pytest.warns(UserWarning, match="the column more is ignored"):
        wider = trained.encode(cells(np.hstack([COUNTED, COUNTED[:, :1]]), [*GENES, "more"]))
    assert torch.equal(wider, codes)
    with pytest.raises(InputError, match="lacks the column g59, which the model was trained on"):
        trained.encode(cells(COUNTED[:, :-1], GENES[:-1]))
    with pytest.raises(InputError, match="not all are integers"):
        trained.encode(cells(np.log1p(COUNTED)))


def test_pairs_of_cells_are_training_and_test_data() -> None:
    for form in (cells, lambda x: sparse.csr_matrix(x)):
        data = tb.data.open((form(COUNTED[:30]), form(COUNTED[30:])))
        assert data.domain == COUNTS
        assert data.train.size == 30
        assert np.array_equal(next(data.require_test().epoch(100)).x.numpy(), COUNTED[30:])


def test_repeated_names_of_genes_get_numbers() -> None:
    data = tb.data.open(cells(COUNTED, ["a", "a", "a-1", "a", *GENES[4:]]))
    assert data.header[:4] == ("a", "a-2", "a-1", "a-3")
    assert any("1 names of genes occur more than once" in note for note in data.notes)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"labels": "typ"}, "labels='typ': the AnnData object has no column 'typ' in obs; did you mean 'type'"),
        ({"id": "x"}, "id='x'"),
        ({"layer": "count"}, "layer='count': the AnnData object has no such layer; did you mean 'counts'"),
        ({"ignore": ("g99",)}, "ignore='g99'"),
        ({"kinds": "real"}, "kinds are for the columns of a table"),
        ({"gray": True}, "gray= applies to encoded images"),
    ],
)
def test_what_does_not_apply_is_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        tb.data.open(cells(layers={"counts": COUNTED}), **options)
    with pytest.raises(InputError, match="layer= names a layer of AnnData, and digits is not AnnData"):
        tb.data.open("digits", layer="counts")


def test_a_cell_without_a_label_is_an_error_only_where_labels_were_asked_for() -> None:
    lacking = cells()
    lacking.obs.loc["c0", "type"] = None
    with pytest.raises(InputError, match="1 cells have no label in the column 'type'"):
        tb.data.open(lacking, labels="type")
    model = tb.VAE.for_data(cells(), labels="type", latent=2, network=NET)
    assert tb.Trained(model).encode(lacking).shape == (40, 2)


def test_columns_of_obs_are_covariates() -> None:
    given = cells()
    given.obs["batch"] = pd.Categorical([1, 2] * 20)
    data = tb.data.open(given, labels="type", covariates=["batch", "age"])
    assert data.schema.covariates == (("batch", ("1", "2")), ("age", ()))
    trained = tb.fit(tb.VAE.for_data(data, latent=2, network=NET), data, steps=2, quiet=True)
    assert trained.model.target_name.endswith("given batch, age")
    codes = trained.encode(given)
    given.obs = given.obs.assign(type="new", batch=given.obs["batch"].astype(int))
    assert torch.equal(trained.encode(given), codes)
    given.obs = given.obs.drop(columns="age")
    with pytest.raises(InputError, match="the AnnData object lacks the covariate age"):
        trained.encode(given)
    with pytest.raises(InputError, match="has no column 'g0' in obs"):
        tb.data.open(cells(), covariates="g0")
    large = tb.data.open(cells(sparse.csr_matrix(COUNTED)), covariates="age", limits=tb.data.Limits(memory=1000))
    context = next(large.whole.epoch(100)).context
    assert context is not None
    assert context.flatten().tolist() == [i / 2 for i in range(40)]


@pytest.mark.skipif(importlib.util.find_spec("anndata") is not None, reason="anndata is installed")
def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.h5ad").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.h5ad files need anndata; pip install 'tightbound\[cells\]'"):
        tb.data.open(tmp_path / "a.h5ad")


@installed
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_codes_are_written_beside_the_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import anndata

    given = cells(sparse.csr_matrix(COUNTED.astype(np.float32)))
    file, run = tmp_path / "cells.h5ad", str(tmp_path / "run")
    anndata.AnnData(given.X, obs=given.obs, var=pd.DataFrame(index=given.var_names)).write_h5ad(file)
    main(["train", str(file), "--labels", "type", "--run", run, "--latent", "2", "--network", NET, "--epochs", "1",
          "--evaluate-samples", "0"])  # fmt: skip
    codes = tb.load(run).encode(given).numpy()
    for words in ([], [str(file)], ["--split", "test"]):
        main(["embed", run, *words, "--out", str(tmp_path / "codes.h5ad")])
        out = anndata.read_h5ad(tmp_path / "codes.h5ad")
        rows = [*map([*given.obs_names].index, out.obs_names)]
        assert len(rows) == (4 if words[:1] == ["--split"] else 40)
        np.testing.assert_allclose(out.obsm["X_vae"], codes[rows], atol=1e-6)
        assert [*out.var_names] == GENES
        assert out.obs["type"].tolist() == given.obs["type"].iloc[rows].tolist()
    np.save(tmp_path / "x.npy", COUNTED)
    with pytest.raises(SystemExit) as stop:
        main(["embed", run, str(tmp_path / "x.npy"), "--out", str(tmp_path / "no.h5ad")])
    assert stop.value.code == 2
    assert "holds the cells of an .h5ad file" in capsys.readouterr().err
    file.write_bytes(b"not HDF5")
    with pytest.raises(InputError, match="cannot be read as AnnData"):
        tb.data.open(file)
