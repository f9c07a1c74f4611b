"""Sample quality: what it detects, for which models, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import tightbound as tb
from conftest import Result
from tightbound.analysis.samples.features.fitting import fit_features
from tightbound.analysis.samples.sample_quality import DESCRIPTIONS, SampleQuality, compare_samples, sample_quality
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.likelihoods import Binarized

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Images of the training split as two sets, and a classifier."""
    data = tb.data.open("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIGHTBOUND_DATA", str(tmp_path_factory.mktemp("cache")))
        features = fit_features(data, "classifier(steps=150)")
    batch = next(data.train.epoch(1200, key=("test",)))
    assert batch.label is not None
    return {"x": batch.x[:600], "y": batch.x[600:], "label": batch.label[:600], "features": features}


def judged(digits: dict[str, Any], samples: Tensor) -> SampleQuality:
    return compare_samples(samples, digits["y"], features=digits["features"], train=digits["x"])


def test_data_from_the_same_source_reach_the_floor(digits: dict[str, Any]) -> None:
    found = judged(digits, digits["x"])
    for name, number in found.estimates.items():
        assert number.value == pytest.approx(found.floor[name].value, abs=number.stderr)
    low, high = found.intervals["frechet_debiased"]
    assert low < 0 < high or found["frechet_debiased"].value < 0.1 * found["frechet"].value
    for name in ("spread", "sharpness", "diversity"):
        assert found[name].value == pytest.approx(1, abs=4 * found[name].stderr)
    assert found["precision"].value > 0.9
    assert found["coverage"].value > 0.9
    assert "about as much like the test data" in found.sentences[0]


def test_dropped_modes_show_in_recall_coverage_and_classes(digits: dict[str, Any]) -> None:
    few = digits["x"][digits["label"] < 3]
    found = judged(digits, few)
    assert found["precision"].value > 0.9
    for name in ("recall", "coverage"):
        assert found[name].value < 0.5 < found.floor[name].value
    assert found["class_entropy"].value == pytest.approx(np.log(3), abs=0.15)
    assert found["class_distance"].value == pytest.approx(0.7, abs=0.07)
    assert found["frechet_debiased"].value > found.floor["frechet_debiased"].value + 5 * found["frechet"].stderr
    assert found.classes["samples"][5] == pytest.approx(0, abs=0.03)
    assert sum(found.classes["samples"]) == pytest.approx(1, abs=1e-4)


def test_blur_shows_in_sharpness_and_spread(digits: dict[str, Any]) -> None:
    blurred = F.avg_pool2d(digits["x"].float(), 3, 1, 1)
    found = judged(digits, blurred)
    assert found["sharpness"].value < 0.5
    assert found["spread"].value < 0.9
    assert "blurred" in found.sentences[0]
    assert found["density"].value < found.floor["density"].value - 4 * found["density"].stderr


def test_noise_shows_in_sharpness_and_recall(digits: dict[str, Any]) -> None:
    noise = torch.randint(0, 17, digits["x"].shape, generator=torch.Generator().manual_seed(0))
    found = judged(digits, noise)
    assert found["sharpness"].value > 1.5
    assert found["recall"].value < 0.2


def test_each_estimate_has_a_description_an_interval_and_a_floor_and_survives_json(digits: dict[str, Any]) -> None:
    found = judged(digits, digits["x"][:300])
    again = SampleQuality.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.estimates == found.estimates
    assert again.intervals == found.intervals
    assert again.floor == found.floor
    assert [figure.name for figure in again.figures] == ["sample-features"]
    for name, estimate in found.estimates.items():
        assert estimate.description == DESCRIPTIONS[name]
        low, high = found.intervals[name]
        assert low <= estimate.value <= high
        assert estimate.stderr >= 0
    assert found.estimates.keys() == found.floor.keys()
    (table,) = found.tables
    assert [row[0] for row in table.rows] == list(found.estimates)


def test_plain_arrays_without_training_data_have_no_floor() -> None:
    random = np.random.default_rng(0)
    found = compare_samples(random.normal(size=(80, 3)), random.normal(size=(90, 3)), features="pca(components=2)")
    assert (found.floor, found.classes, found.tables, found.sentences) == ({}, {}, (), ())
    assert "sharpness" not in found.estimates
    assert "class_entropy" not in found.estimates
    for bad in (random.normal(size=(80, 4)), random.normal(size=(10, 3))):
        with pytest.raises(InputError, match=r"make them equal|too few"):
            compare_samples(bad, random.normal(size=(90, 3)))


class Seen(nn.Module):
    """Features that record what they are given; missing values are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.x: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.x.append(x)
        return x.nan_to_num(0.0)


def untrained(data: tb.data.Data, **parts: Any) -> tb.VAE:
    return tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", **parts)


def test_samples_of_a_table_lose_the_values_that_the_data_lack() -> None:
    x = np.random.default_rng(0).normal(size=(600, 3))
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    data, seen = tb.data.open(x, test=0.3), Seen()
    found = sample_quality(untrained(data), data, n_samples=150, features=seen)
    samples, real, other = seen.x
    assert torch.equal(samples.isnan(), real.isnan())
    assert real.isnan().any()
    assert not torch.equal(real.isnan(), other.isnan())
    assert all(estimate.value is not None for estimate in found.estimates.values())
    drawn = sample_quality(untrained(data), data, n_samples=150, features=seen, draw=True)
    assert torch.equal(seen.x[3].isnan(), real.isnan())
    assert torch.allclose(seen.x[4].nan_to_num(9), real.nan_to_num(9), atol=1e-5)
    assert drawn["spread"].value != found["spread"].value


def test_a_conditional_model_is_given_the_classes_of_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    label = (random.random(500) < 0.9).astype(int)
    data = tb.data.open(random.normal(size=(500, 3)), labels=label, test=0.4)
    model = untrained(data, context="labels")
    given: list[Tensor] = []

    class Recording(tb.VAE):
        def generate(self, n: int, noise: Noise, context: Tensor | None = None) -> Distribution:
            assert context is not None
            given.append(context)
            return super().generate(n, noise, context)

    model.__class__ = Recording
    sample_quality(model, data, n_samples=1000, features="pca")
    assert len(torch.cat(given)) == 200
    assert torch.cat(given)[:, 1].mean() == pytest.approx(next(data.test.epoch(1000)).label.double().mean())


def test_models_that_complete_examples_are_rejected() -> None:
    data = tb.data.open("digits")
    with pytest.raises(InputError, match="completes examples"):
        sample_quality(untrained(data, context="visible(columns=(0, 0.5))"), data, features="pca")


def test_draws_are_compared_with_data_as_the_likelihood_sees_them() -> None:
    raw = torch.randint(0, 17, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    for mode in ("static", "dynamic", "expected"):
        observation = Binarized(levels=17, mode=mode)
        seen = observation(Batch(raw), Noise("test"), False)
        found = observation.realized(raw, seen, Noise("test"))
        assert set(found.unique().tolist()) == {0.0, 16.0}
        assert found.mean() == pytest.approx(float(raw.mean()), rel=0.05)
    data = tb.data.open("digits")
    like = untrained(data).observation
    assert torch.equal(like.realized(raw, like(Batch(raw), Noise("test"), False), Noise("test")), raw)


def test_the_command_shows_and_records_the_default_samples(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(run.parent / "cache"))
    result = cli("quality", run, "-n", "100", "--features", "pca(components=8)")
    assert result.status == 0, result.err
    for words in ("pca(digits, seed 0)", "E[x|z]", "floor"):
        assert words in result.out
    found = json.loads((run / "analysis" / "quality.json").read_text())
    again = json.loads(cli("quality", run, "-n", "100", "--features", "pca(components=8)", "--json").out)
    assert again["estimates"] == found["estimates"]

    (run / "analysis" / "quality.json").unlink()
    assert cli("fit-sampler", run, "--sampler", "gaussian-mixture(components=2)").status == 0
    for flags, words in (
        (["--draw"], "draws from p(x|z)"),
        (["--sampler", "gaussian-mixture"], "fitted latent sampler"),
    ):
        other = cli("quality", run, "-n", "100", "--features", "pca(components=8)", "--json", *flags)
        assert other.status == 0, other.err
        told = json.loads(other.out)
        assert words in told["details"]["about"]["samples"]
        assert told["estimates"]["spread"]["value"] != found["estimates"]["spread"]["value"]
        assert not (run / "analysis" / "quality.json").exists()


def test_bad_requests_are_rejected_in_one_line(refused: Callable[..., str], run: Path) -> None:
    assert "at least 40" in refused("quality", run, "-n", "3")
    assert "features" in refused("quality", run, "--features", "inception")
    assert "trust" in refused("quality", run, "--features", "torch.nn:Flatten()")
    assert "fit-sampler" in refused("quality", run, "--sampler", "flow")
