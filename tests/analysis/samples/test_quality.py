"""What the analysis of samples sees, of which models, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tightbound.report.quality import compared, sections
from torch import Tensor

import tightbound as tb
from conftest import Result
from tightbound.analysis import fit_features, quality, sample_quality
from tightbound.analysis.samples.features import Features
from tightbound.analysis.samples.quality import DESCRIPTIONS, Quality
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


def judged(digits: dict[str, Any], samples: Tensor) -> Quality:
    return quality(samples, digits["y"], features=digits["features"], train=digits["x"])


def test_data_of_the_same_source_are_at_the_floor(digits: dict[str, Any]) -> None:
    found = judged(digits, digits["x"])
    for name, number in found.numbers.items():
        assert number.value == pytest.approx(found.floor[name].value, abs=number.stderr)
    low, high = found.intervals["frechet_debiased"]
    assert low < 0 < high or found["frechet_debiased"].value < 0.1 * found["frechet"].value
    for name in ("spread", "sharpness", "diversity"):
        assert found[name].value == pytest.approx(1, abs=4 * found[name].stderr)
    assert found["precision"].value > 0.9
    assert found["coverage"].value > 0.9


def test_a_sampler_that_drops_modes_is_seen_in_recall_coverage_and_classes(digits: dict[str, Any]) -> None:
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


def test_a_sampler_that_blurs_is_seen_in_sharpness_and_spread(digits: dict[str, Any]) -> None:
    blurred = F.avg_pool2d(digits["x"].float(), 3, 1, 1)
    found = judged(digits, blurred)
    assert found["sharpness"].value < 0.5
    assert found["spread"].value < 0.9
    assert found["density"].value < found.floor["density"].value - 4 * found["density"].stderr


def test_noise_is_too_sharp_and_unlike_the_data(digits: dict[str, Any]) -> None:
    noise = torch.randint(0, 17, digits["x"].shape, generator=torch.Generator().manual_seed(0))
    found = judged(digits, noise)
    assert found["sharpness"].value > 1.5
    assert found["recall"].value < 0.2


def test_each_number_says_what_it_is_and_has_an_interval_about_it(digits: dict[str, Any]) -> None:
    found = judged(digits, digits["x"][:300])
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for name, number in written["numbers"].items():
        assert number["description"] == DESCRIPTIONS[name]
        assert number["estimator"]
        assert number["target"]
        low, high = number["interval"]
        assert low <= number["value"] <= high
        assert number["stderr"] >= 0
    assert written["numbers"].keys() == written["floor"].keys()
    assert not [number for number in written["numbers"].values() if "FID" in str(number) or "KID" in str(number)]


def test_plain_arrays_without_training_data_have_no_floor() -> None:
    random = np.random.default_rng(0)
    found = quality(random.normal(size=(80, 3)), random.normal(size=(90, 3)), features="pca(components=2)")
    assert (found.floor, found.classes) == ({}, {})
    assert "sharpness" not in found.numbers
    assert "class_entropy" not in found.numbers
    (section,) = sections(found.to_json())
    assert "Floor" not in section.html()
    for bad in (random.normal(size=(80, 4)), random.normal(size=(10, 3))):
        with pytest.raises(InputError, match=r"make them equal|too few"):
            quality(bad, random.normal(size=(90, 3)))


def untrained(data: tb.data.Data, **parts: Any) -> tb.VAE:
    return tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", **parts)


def test_samples_of_a_table_lack_what_the_data_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    x = np.random.default_rng(0).normal(size=(600, 3))
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    data = tb.data.open(x, test=0.3)
    seen: list[Tensor] = []
    whole = Features.of
    monkeypatch.setattr(Features, "of", lambda self, x: seen.append(x) or whole(self, x))
    found = sample_quality(untrained(data), data, n=150)
    samples, real, other = seen[-3:]
    assert torch.equal(samples.isnan(), real.isnan())
    assert real.isnan().any()
    assert not torch.equal(real.isnan(), other.isnan())
    assert all(number.value is not None for number in found.numbers.values())
    drawn = sample_quality(untrained(data), data, n=150, draw=True)
    assert torch.equal(seen[-2].isnan(), real.isnan())
    assert torch.allclose(seen[-2].nan_to_num(9), real.nan_to_num(9), atol=1e-5)
    assert drawn["spread"].value != found["spread"].value


def test_a_conditional_model_is_given_the_classes_of_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    label = (random.random(500) < 0.9).astype(int)
    data = tb.data.open(random.normal(size=(500, 3)), labels=label, test=0.4)
    model = untrained(data, context="labels")
    given: list[Tensor] = []
    whole = tb.VAE.generate
    monkeypatch.setattr(tb.VAE, "generate", lambda self, n, z, c=None: given.append(c) or whole(self, n, z, c))
    sample_quality(model, data, n=1000, features="pca")
    assert len(torch.cat(given)) == 200
    assert torch.cat(given)[:, 1].mean() == pytest.approx(next(data.test.epoch(1000)).label.double().mean())


def test_models_that_complete_data_are_refused() -> None:
    data = tb.data.open("digits")
    with pytest.raises(InputError, match="completes"):
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


def test_the_command_shows_records_and_reports(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(run.parent / "cache"))
    result = cli("quality", run, "-n", "100", "--features", "pca(components=8)")
    assert result.status == 0, result.err
    assert "pca(digits, seed 0)" in result.out
    assert "E[x|z]" in result.out
    assert "floor" in result.out
    assert result.out.splitlines()[-1].startswith("next: tightbound quality")
    found = json.loads((run / "analysis" / "quality.json").read_text())
    assert {row.name for row in compared(found)} == set(found["numbers"])
    assert cli("report", run, "--quick").status == 0
    assert "Quality of samples" in (run / "report.html").read_text()
    assert (run / "figures" / "quality.svg").read_bytes().startswith(b"<?xml")

    again = json.loads(cli("quality", run, "-n", "100", "--features", "pca(components=8)", "--json").out)
    assert again == found
    drawn = json.loads(cli("quality", run, "-n", "100", "--features", "pca(components=8)", "--json", "--draw").out)
    assert "draws from p(x|z)" in drawn["about"]["samples"]
    assert drawn["numbers"]["sharpness"]["value"] > found["numbers"]["sharpness"]["value"]


def test_what_is_recorded_is_of_the_samples_that_sample_shows(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(run.parent / "cache"))
    assert cli("fit-sampler", run, "--sampler", "gaussian-mixture(components=2)").status == 0
    for flags in (["--draw"], ["--sampler", "gaussian-mixture"]):
        result = cli("quality", run, "-n", "60", "--features", "pca(components=4)", *flags)
        assert result.status == 0, result.err
        assert not (run / "analysis" / "quality.json").exists()
    assert "a fitted sampler" in result.out


def test_bad_requests_are_refused_in_a_line(refused: Callable[..., str], run: Path) -> None:
    assert "at least 40" in refused("quality", run, "-n", "3")
    assert "features" in refused("quality", run, "--features", "inception")
    assert "trust" in refused("quality", run, "--features", "torch.nn:Flatten()")
    assert "fit-sampler" in refused("quality", run, "--sampler", "flow")
