"""Commands accept what they once refused: own modules, one folder of a class, other names of files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.datasets import load_iris

import tightbound as tb
from conftest import Result
from tightbound.core.errors import NonFinite

Cli = Callable[..., Result]
X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
SMALL = ("--latent", 1, "--network", "mlp(hidden=(4,))", "--epochs", 1, "--evaluate-samples", 0)
OWN = """
from torch import nn

class Encoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))

class Decoder(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 3))

class Plain(Decoder):
    def __init__(self):
        super().__init__()
"""


@pytest.mark.filterwarnings("ignore:own_networks")
def test_trust_imports_own_modules_without_arguments(cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_networks  # pyright: ignore[reportMissingImports]

    try:
        np.save("x.npy", X)
        for name, decoder in (("plain", own_networks.Plain()), ("given", own_networks.Decoder())):
            model = tb.VAE.for_data(X, latent=2, encoder=own_networks.Encoder(), decoder=decoder)
            trained = tb.fit(model, X, epochs=1, quiet=True, run=name)
            found = cli("embed", name, "x.npy", "--trust", "--out", f"{name}.npy")
            if name == "plain":
                assert found.status == 0, found.err
                np.testing.assert_allclose(np.load("plain.npy"), trained.encode(X), atol=1e-6)
                assert cli("embed", name, "x.npy", "--out", "no.npy").status == 2
            else:  # a width was perhaps given, and no run records it
                assert found.status == 2
                assert "'own_networks:Decoder'" in found.err
                assert "tightbound.load(run, model=mine)" in found.err
    finally:
        sys.modules.pop("own_networks", None)


def test_pictures_of_one_class_are_of_that_class(cli: Cli, tmp_path: Path) -> None:
    """In a folder of the class, the folder itself, or one picture of it."""
    rng = np.random.default_rng(0)
    for name, color in (("blue", 2), ("green", 1), ("red", 0)):
        (tmp_path / "three" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 40, (4, 4, 3)).astype(np.uint8)
            pixels[..., color] += 200
            Image.fromarray(pixels).save(tmp_path / "three" / name / f"{i}.png")
    assert cli("train", "three", *SMALL, "--context", "labels", "--run", "run").status == 0
    (tmp_path / "new/red").mkdir(parents=True)
    (tmp_path / "three/red/0.png").rename(tmp_path / "new/red/0.png")
    for place in ("new", "new/red", "new/red/0.png"):
        assert cli("embed", "run", place, "--out", "z.csv").status == 0
        assert Path("z.csv").read_text().splitlines()[1].split(",")[1] == "red"
    (tmp_path / "new/red").rename(tmp_path / "new/pictures")
    assert "give labeled data" in cli("embed", "run", "new", "--out", "z.csv").err


def test_examples_with_equal_code_indices_are_told_apart(cli: Cli) -> None:
    np.save("x.npy", np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 3, 0).astype(np.float32))
    quantized = ("--latents", "quantized(quantizer=residual(depth=2, of='vq(codebook_size=4)'))")
    trained = cli(
        "train",
        "x.npy",
        *quantized,
        "--network",
        "mlp(hidden=(4,))",
        "--epochs",
        1,
        "--evaluate-samples",
        0,
        "--run",
        "run",
    )
    assert trained.status == 0, trained.err
    plain = cli("embed", "run", "x.npy", "--out", "plain.csv")
    rows = [line.split(",") for line in Path("plain.csv").read_text().splitlines()[1:]]
    codes = [tuple(row[1:]) for row in rows]
    repeated = len(codes) - len({*codes})
    assert repeated >= 40
    assert f"note: code indices equal to those of an earlier example: {repeated} of 60 examples" in plain.err
    unique = cli("embed", "run", "x.npy", "--out", "unique.csv", "--unique")
    assert unique.err == ""
    assert f"equal to those of an earlier example: {repeated} of 60 examples, distinguished by copy" in unique.out
    header, *lines = (line.split(",") for line in Path("unique.csv").read_text().splitlines())
    assert header[-1] == "copy"
    assert [line[:-1] for line in lines] == rows
    assert [int(line[-1]) for line in lines] == [codes[:i].count(code) for i, code in enumerate(codes)]
    found = tb.load("run").unique_indices(np.load("x.npy"))
    assert found.repeated == repeated
    assert [[str(v) for v in row] for row in found.ids.tolist()] == [line[1:] for line in lines]


def test_sparse_matrices_and_data_of_scikit_learn_keep_their_values_and_names(tmp_path: Path) -> None:
    matrix = sparse.random(50, 6, density=0.5, format="csr", random_state=0)
    sparse.save_npz(tmp_path / "s.npz", matrix)
    found = next(tb.data.open(tmp_path / "s.npz").whole.epoch(99)).x
    np.testing.assert_allclose(found, matrix.toarray(), rtol=1e-6)
    iris = tb.data.open(load_iris())
    assert iris.header == ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
    assert iris.classes == ("setosa", "versicolor", "virginica")


def test_what_a_command_advises_it_has(cli: Cli, tmp_path: Path) -> None:
    """Commands on a run have no --resize, --levels or --ignore; quotation marks and spaces in paths are quoted."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 4, 4)).astype(np.uint8)
    for folder, edges in (("same", (4, 4)), ("other", (4, 3)), ("small", (3, 3))):
        (tmp_path / folder).mkdir()
        for i in range(12):
            Image.fromarray(pixels[i, : edges[i % 2], :3]).save(tmp_path / folder / f"{i}.png")
    trained = cli("train", "same", *SMALL, "--run", "it's/my run")
    assert "tightbound evaluate 'it'\"'\"'s/my run'" in trained.out
    for folder, said in (("other", "images differ in size"), ("small", "resize them first")):
        assert said in cli("evaluate", "it's/my run", folder).err
        assert "--resize" not in cli("evaluate", "it's/my run", folder).err
        assert ("--resize" in cli("train", folder, *SMALL, "--run", "new").err) == (folder == "other")
    np.save("wide.npy", pixels.astype(np.float32)[..., :3] * 9)
    far = cli("evaluate", "it's/my run", "wide.npy").err
    assert "outside integers 0..255 (256 levels); the model was trained on such values only" in far
    Path("t.csv").write_text("a,b\n1,\n2,\n")
    assert "column 2 (b) has no values; leave it out with --ignore" in cli("train", "t.csv", *SMALL, "--run", "no").err


def test_a_validation_loss_that_never_is_finite_is_one_line(cli: Cli) -> None:
    np.save("x.npy", X)
    words = ("--network", "mlp(hidden=(256,256))", "--latent", 2, "--lr", "1e9", "--run", "run")
    found = cli("train", "x.npy", *words, "--epochs", 1, "--evaluate-samples", 5)
    assert found.status != 0
    assert "the validation loss is nan after 1 steps" in found.err
    assert "lower --lr (now 1e+09)" in found.err
    assert "Traceback" not in found.err
    with pytest.raises(NonFinite):
        tb.fit(tb.VAE.for_data(X, latent=2, network="mlp(hidden=(256,256))"), X, lr=1e9, epochs=1, quiet=True)


def test_figures_with_values_that_are_not_finite_are_recorded() -> None:
    from tightbound.analysis.figures import Figure, Scatter
    from tightbound.core.files import to_json

    figure = Figure("f", "F", "", [Scatter(series={"a": [[0.0, 1.0], [float("nan"), float("inf")]]})])
    stored = figure.to_json()
    to_json(stored)
    again = np.array(Figure.from_json(stored).panels[0].series["a"])  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(again, [[0, 1], [np.nan, np.nan]])


def test_a_data_set_is_shown_in_one_line() -> None:
    data = tb.data.open(torch.from_numpy(X))
    assert repr(data) == "<Data 'array': real numbers; examples of shape (3,); 54 train, 6 test>"
