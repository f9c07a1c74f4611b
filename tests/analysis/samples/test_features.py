"""Features: what they compute, and how they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Components  # noqa: N811
from torch import nn

import tightbound as tb
from tightbound.analysis.samples.features import PCA, Classifier, Given, Identity, fit_features
from tightbound.analysis.samples.features.base import Scaled, take
from tightbound.analysis.samples.features.fitting import class_count, named
from tightbound.core.errors import InputError

QUICK = "classifier(steps=120)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def all_of(split: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batch = next(split.epoch(10_000))
    return batch.x, batch.label


def test_each_column_has_its_scale_and_images_share_one() -> None:
    x = np.random.default_rng(0).normal(5, [1, 100, 1e-3], (200, 3)).astype(np.float32)
    columns = Scaled((3,))
    columns.fit(tb.data.open(x, test=0.01).train)
    assert torch.allclose(columns(torch.from_numpy(x)).var(0), torch.ones(3), rtol=0.05)
    images = Scaled((1, 2, 2))
    pixels = np.random.default_rng(0).normal(5, [[1, 2], [3, 4]], (500, 1, 2, 2)).astype(np.float32)
    images.fit(tb.data.open(pixels, test=0.01).train)
    spread = images(torch.from_numpy(pixels)).std(0).flatten()
    assert torch.allclose(spread / spread[0], torch.tensor([1.0, 2, 3, 4]), rtol=0.15)


def test_mixed_tables_have_one_hot_categories_and_the_mean_for_missing_values() -> None:
    random = np.random.default_rng(0)
    x = np.stack([random.normal(3, 2, 300), random.integers(0, 3, 300)], 1)
    x[::7, 0] = np.nan
    x[::5, 1] = np.nan
    data = tb.data.open(x, kinds=["real", ("categories", ["a", "b", "c"])])
    scaled = Scaled(data.shape, tuple(c.literal for c in data.domain.columns))
    scaled.fit(data.train)
    values, _ = next(data.train.epoch(1000)).x, None
    out = scaled(values)
    assert out.shape == (len(values), 4)
    assert (out[values[:, 0].isnan(), 0] == 0).all()
    assert (out[values[:, 1].isnan(), 1:] == 0).all()
    seen = ~values[:, 1].isnan()
    assert (out[seen, 1:].argmax(1) == values[seen, 1]).all()
    assert torch.isfinite(out).all()
    assert fit_features(data).of(values).isfinite().all()


def test_principal_components_are_those_of_scikit_learn() -> None:
    data = tb.data.open("digits")
    found = fit_features(data, "pca(components=10)")
    train, _ = all_of(data.train)
    test, _ = all_of(data.test)
    flat = (train.flatten(1).double() - train.double().mean()) / train.double().std(correction=0)
    oracle = Components(10).fit(flat.numpy())
    x = ((test.flatten(1).double() - train.double().mean()) / train.double().std(correction=0)).numpy()
    expected = oracle.transform(x)
    ours = found.of(test).numpy() * float(found.unit)
    assert np.allclose(np.abs(ours), np.abs(expected), atol=2e-2)
    assert np.allclose(ours.var(0), expected.var(0), rtol=1e-2)


@pytest.mark.parametrize("name", ["pca", "identity"])
def test_features_have_variance_one_on_average(name: str) -> None:
    data = tb.data.open("digits")
    x, _ = all_of(data.train)
    assert fit_features(data, name).of(x).var(0).mean() == pytest.approx(1, rel=0.02)


def test_the_classifier_learns_is_reproducible_and_is_stored(cache: Path) -> None:
    data = tb.data.open("digits")
    first = fit_features(data, QUICK)
    x, label = all_of(data.test)
    assert (first.predict(first.of(x)) == label).double().mean() > 0.9
    (file,) = cache.glob("*.safetensors")
    file.unlink()
    torch.manual_seed(17)
    assert torch.equal(fit_features(data, QUICK).of(x), first.of(x))
    stamp = file.stat().st_mtime_ns
    stored = fit_features(data, QUICK)
    assert file.stat().st_mtime_ns == stamp, "stored features were fitted again"
    assert torch.equal(stored.of(x), first.of(x))
    assert named(stored, data, 0) == "classifier(digits, seed 0)"
    fit_features(data, QUICK, seed=1)
    fit_features(data, "pca")
    fit_features(tb.data.open(x.numpy(), levels=17), "pca")
    assert len(list(cache.glob("*.safetensors"))) == 4


def test_a_damaged_file_is_named_in_the_error(cache: Path) -> None:
    data = tb.data.open("digits")
    fit_features(data, "pca")
    (file,) = cache.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{file.name}.*delete"):
        fit_features(data, "pca")


def test_features_that_cannot_be_stored_give_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path / "blocked"))
    with pytest.warns(UserWarning, match="could not be stored"):
        fit_features(tb.data.open("digits"), "pca")


def test_auto_is_the_classifier_if_labels_are_classes() -> None:
    x, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    assert isinstance(fit_features(tb.data.open(x, labels=labels), "auto"), Classifier)
    plain = tb.data.open(x)
    assert isinstance(fit_features(plain), PCA)
    with pytest.raises(InputError, match="classes"):
        fit_features(plain, "classifier")


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (np.arange(100) % 4, 4),
        (np.arange(100), 0),  # one example per class: numbers, not classes
        (np.linspace(0, 1, 100), 0),
        (np.zeros(100, int), 0),
        (np.arange(100) % 4 - 1, 0),
        (np.stack([np.arange(100) % 4] * 2, 1), 0),
        (None, 0),
    ],
)
def test_labels_that_count_as_classes(labels: Any, count: int) -> None:
    data = tb.data.open(np.random.default_rng(0).normal(size=(100, 3)), labels=labels, test=0.01)
    assert class_count(data.train) == count


def test_features_of_a_data_loader_are_not_stored(cache: Path) -> None:
    x, y = torch.randn(200, 5), torch.arange(200) % 3
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    data = tb.data.open((loader, loader))
    found = fit_features(data, "classifier(steps=5)")
    assert found.of(x).shape == (200, 64)
    assert not list(cache.glob("*"))


def test_a_module_of_your_own_is_used_as_it_is() -> None:
    data = tb.data.open("digits")
    x, _ = all_of(data.test)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    found = fit_features(data, module)
    assert isinstance(found, Given)
    assert torch.allclose(found.of(x).float(), module(x.float()), atol=1e-5)
    assert named(found, data, 0) == "Sequential, as given"
    with pytest.raises(InputError, match="returned"):
        fit_features(data, nn.Identity()).of(x)
    with pytest.raises(InputError, match="do not accept"):
        fit_features(data, nn.Linear(3, 2)).of(x)


def test_features_of_another_module_need_trust() -> None:
    data = tb.data.open("digits")
    with pytest.raises(InputError, match="trust"):
        fit_features(data, "torch.nn:Flatten()")
    found = fit_features(data, "torch.nn:Flatten()", trust=True)
    x, _ = all_of(data.test)
    assert torch.equal(found.of(x), x.flatten(1).double())


def test_fewer_examples_than_components_leave_axes_at_zero() -> None:
    data = tb.data.open(np.random.default_rng(0).normal(size=(12, 20)).astype(np.float32))
    found = fit_features(data, "pca(components=15)")
    x = take(data.train, 100, 0).x
    out = found.of(x)
    assert out.shape == (len(x), 15)
    assert (out[:, len(x) :] == 0).all()
    assert Identity(shape=(3,)).of(torch.eye(3)).shape == (3, 3)
