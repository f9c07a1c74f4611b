"""Covariates: columns beside the examples that a model is conditioned on, known by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.cli.main import main
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise

RNG = np.random.default_rng(0)
N = 400
AGE = RNG.uniform(20, 80, N)
BATCH = RNG.choice(["b1", "b2", "b3"], N)
NET = "mlp(hidden=(8,))"
FRAME = pd.DataFrame(
    {
        "age": AGE,
        "u": RNG.normal(size=N) + 5.0 * (BATCH == "b2"),
        "batch": BATCH,
        "v": RNG.normal(size=N) + 0.1 * AGE,
        "donor": RNG.integers(1, 5, N),
        "type": RNG.choice(["T", "B"], N),
    }
)
BESIDE = ["batch", "donor", "age"]


@pytest.fixture(scope="module")
def data() -> tb.data.Data:
    return tb.data.open(FRAME, labels="type", covariates=BESIDE)


@pytest.fixture(scope="module")
def trained(data: tb.data.Data) -> tb.Trained:
    model = tb.VAE.for_data(data, latent=1, network="mlp(hidden=(32,))")
    return tb.fit(model, data, epochs=40, lr=5e-3, quiet=True)


def context(trained: tb.Trained, source: Any) -> torch.Tensor:
    batch = next(trained._examples(source).epoch(1000))
    seen = trained.model.observe(batch, Noise("covariates")).context
    assert seen is not None
    return seen


def test_words_and_repeated_whole_numbers_are_categories(data: tb.data.Data) -> None:
    assert data.header == ("u", "v")
    assert data.classes == ("B", "T")
    assert data.schema.covariates == (("batch", ("b1", "b2", "b3")), ("donor", ("1", "2", "3", "4")), ("age", ()))
    assert any("covariates: batch: 3 categories (b1, b2, b3); donor: 4 categories" in note for note in data.notes)
    real = tb.data.open(FRAME, covariates=BESIDE, ignore="type", kinds={"donor": "real"})
    assert real.schema.covariates[1] == ("donor", ())


def test_the_context_is_one_hot_and_standardized(trained: tb.Trained, data: tb.data.Data) -> None:
    model = trained.model
    assert model.target_name.endswith("given batch, donor, age")
    own = context(trained, FRAME)
    assert own.shape == (N, 8)
    assert torch.equal(own[:, :3], torch.from_numpy((BATCH[:, None] == ["b1", "b2", "b3"]).astype(np.float32)))
    train = next(data.train.epoch(1000)).context
    assert train is not None
    assert abs(own[:, 7].mean()) < 0.2
    assert own[:, 7].std() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(own[:, 7], AGE)[0, 1] == pytest.approx(1)


def test_the_model_learns_what_depends_on_covariates(trained: tb.Trained) -> None:
    """u is 5 higher in batch b2; v rises by 0.1 for each year."""
    base = {"batch": "b1", "donor": 2, "age": 40.0}
    mean = {
        name: trained.sample(1000, context={**base, **change}).mean(0)
        for name, change in (("base", {}), ("b2", {"batch": "b2"}), ("old", {"age": 70}))
    }
    assert (mean["b2"] - mean["base"])[0].item() == pytest.approx(5, abs=0.7)
    assert (mean["old"] - mean["base"])[1].item() == pytest.approx(3, abs=0.7)
    sampled = trained.sample(2000, draw=True)
    assert sampled.mean(0).numpy() == pytest.approx(FRAME[["u", "v"]].mean().to_numpy(), abs=0.5)


def test_new_data_are_matched_by_name(trained: tb.Trained) -> None:
    own, codes = context(trained, FRAME), trained.encode(FRAME)
    last = np.flatnonzero(BATCH == "b3")
    part = FRAME.iloc[last][FRAME.columns[::-1]]
    assert torch.equal(context(trained, part), own[last])
    assert torch.allclose(trained.encode(part), codes[last], atol=1e-6)
    two = FRAME[BATCH != "b1"]
    other = tb.data.open(two, labels="type", covariates=["age", "batch", "donor"])
    assert other.schema.covariates[1] == ("batch", ("b2", "b3"))
    rows = two.index.to_numpy()[next(other.require_test().epoch(1000)).origins().numpy()]
    assert torch.equal(context(trained, other), own[rows])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda frame: frame.assign(batch="b9"),
            "'batch' holds 'b9', which the model was not trained on; known: b1",
        ),
        (lambda frame: frame.drop(columns="age"), "lacks the covariate age, which the model was trained with"),
        (lambda frame: frame[["u", "v"]], "conditioned on batch, donor, age, and the data lack these columns"),
        (lambda frame: frame.assign(batch=[None, *BATCH[1:]]), "1 examples lack the covariate 'batch'"),
        (lambda frame: frame.assign(age="old"), "'age' holds 'old', and the model needs a number"),
    ],
)
def test_data_without_known_covariates_are_one_line(trained: tb.Trained, change: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        trained.encode(change(FRAME))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"batch": "b1", "donor": 1}, "lacks the covariate 'age'"),
        ({"batch": "b7", "donor": 1, "age": 3}, "has 'b7' for covariate 'batch'; known: b1, b2, b3"),
        ({"batch": "b1", "donor": 1, "age": "x"}, "has 'x' for covariate 'age'; needed: a number"),
        (["batch=b1", "donor=1", "age=nan"], "has 'nan' for covariate 'age'; needed: a number"),
        (["batch=b1", "donr=1", "age=3"], "names 'donr', which the model lacks; did you mean 'donor'"),
        ([[0.5, 0, 30]], "must be one of b1, b2, b3"),
    ],
)
def test_covariates_that_do_not_exist_are_one_line(trained: tb.Trained, given: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        trained.sample(2, context=given)


def test_covariates_are_apart_from_labels(data: tb.data.Data) -> None:
    with pytest.raises(CompositionError, match="covariates= are the context of the model, and context= 'labels'"):
        tb.VAE.for_data(data, context="labels", latent=1, network=NET)
    with pytest.raises(InputError, match=r"covariates='bach': .* has no column 'bach'; did you mean 'batch'"):
        tb.data.open(FRAME, covariates="bach")
    with pytest.raises(InputError, match="covariates= name columns of a table, and"):
        tb.data.open(np.zeros((5, 3)), covariates="batch")
    with pytest.raises(InputError, match="'batch' is the same in all examples"):
        tb.data.open(FRAME.assign(batch="b1"), covariates="batch")
    with pytest.raises(CompositionError, match="needs data with covariates"):
        tb.VAE.for_data(FRAME[["u", "v"]], context="covariates", latent=1, network=NET)


def test_a_run_keeps_its_covariates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = tmp_path / "table.csv", str(tmp_path / "run")
    FRAME.to_csv(file, index=False)
    main(["train", str(file), "--labels", "type", "--covariates", "batch", "age", "--kinds", "donor='categories'",
          "--run", run, "--latent", "1", "--network", NET, "--epochs", "1", "--evaluate-samples", "0"])  # fmt: skip
    again = tb.load(run)
    assert again.model.schema.covariates == (("batch", ("b1", "b2", "b3")), ("age", ()))
    assert again.data is not None
    assert again.encode(FRAME).shape == (N, 1)
    main(["sample", run, "-n", "5", "--context", "batch=b2", "age=30", "--out", str(tmp_path / "x.csv")])
    assert len(pd.read_csv(tmp_path / "x.csv")) == 5
    main(["embed", run, str(file), "--out", str(tmp_path / "z.csv")])
    assert len(pd.read_csv(tmp_path / "z.csv")) == N
    main(["evaluate", run, "--samples", "5"])
    assert "given batch, age" in capsys.readouterr().out


def test_analyses_give_samples_the_covariates_of_the_examples(trained: tb.Trained) -> None:
    """Without them, u would be that of one batch, and v that of one age."""
    found = trained.diagnose(samples=5)
    assert found.findings is not None
    quality = trained.quality()
    assert quality["classifier_auroc"].value < 0.7
    moved = trained.attribute(label="T", max_examples=20)
    assert moved.estimates
