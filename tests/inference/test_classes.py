"""Classes inferred by a model or its latent sampler: Bayes' rule, few labels, and samples of one class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import tightbound as tb
from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.division import few_labels
from tightbound.data.splits.drawn import Drawn
from tightbound.inference.classes import infer_classes
from tightbound.inference.fitting import chosen_sampler
from tightbound.inference.samplers import Sampler

CENTERS = torch.tensor([[2.0, 2.0, 0.0], [-2.0, -2.0, 0.0], [2.0, -2.0, 0.0]])


def clusters(n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (n, 3) of three clusters, whose last coordinate is noise, and their classes (n,)."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    return CENTERS[y] + 0.4 * torch.randn(n, 3, generator=generator), y


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    """A VAE of the clusters whose latent sampler was fitted with four labels of each class."""
    options: Any = {"network": "mlp(hidden=(16,), skip=True)", "latent": 3, "epochs": 40, "quiet": True, "lr": 5e-3}
    x, y = clusters()
    run = tmp_path_factory.mktemp("classes") / "run"
    data = tb.data.open({"x": x.numpy(), "y": y.numpy()}, test=0.3)
    trained = tb.train(data, run=run, sampler="prior", **options)
    few = few_labels(data, 0.03, seed=0).train
    trained.fit_sampler("m2(inner=1, hidden=(16,), noise=0)", few, epochs=20, default=True)
    return trained


def test_few_labels_are_enough_to_classify_clusters(trained: tb.Trained) -> None:
    x, y = clusters(300)
    found = trained.classify({"x": x.numpy(), "y": y.numpy()})
    assert found["accuracy"].value > 0.95
    p = found.per_example["probabilities"]
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    right = found.per_example["class"].astype(int) == y.numpy()
    assert found["accuracy"].value == pytest.approx(right.mean())
    assert found["log_loss"].value == pytest.approx(-np.log(p[np.arange(300), y]).mean(), rel=1e-5)


def test_a_table_with_blank_labels_trains_a_sampler_that_learns_classes(tmp_path: Path) -> None:
    x, y = clusters(120)
    words = np.array(["cat", "dog", "emu"])[y.numpy()]
    some = [word if i % 4 == 0 else None for i, word in enumerate(words)]
    rows = [f"{a:.3f},{b:.3f},{word or ''}" for (a, b, _), word in zip(x, some, strict=True)]
    table = tmp_path / "few.csv"
    table.write_text("\n".join(["a,b,class", *rows]) + "\n")
    few: Any = {"network": "mlp(hidden=(4,))", "latent": 2, "epochs": 1, "minutes": 0.001, "quiet": True}
    tb.train(table, labels="class", sampler="m2(inner=1, hidden=(4,))", run=tmp_path / "run", **few)
    again = tb.load(tmp_path / "run")
    assert again.data is not None
    assert again.data.train.labels is not None
    assert sorted(again.data.train.labels.unique().tolist()) == [-1, 0, 1, 2]
    again.fit_sampler("m2(inner=1, hidden=(4,))", (x[:, :2].numpy(), some), epochs=1)
    found = again.classify((x[:, :2].numpy(), some))
    assert found["accuracy"].n == 30  # unknown classes do not count
    assert "3 classes" in str(again.probe(samples=2).tables[0])


def test_a_sampler_of_one_class_is_refused() -> None:
    x, y = clusters(60)
    one = y.clamp_max(1) - 1  # -1 marks an unknown class
    with pytest.raises(CompositionError, match="fewer than two"):
        tb.train({"x": x.numpy(), "y": one.numpy()}, sampler="m2", epochs=1, quiet=True)
    plain = tb.train(x, sampler="prior", latent=1, network="mlp(hidden=(4,))", epochs=1, quiet=True)
    with pytest.raises(InputError, match="one class only"):
        plain.fit_sampler("m2", (x, one), epochs=1)


def test_labels_that_are_no_classes_of_the_model_are_named(trained: tb.Trained) -> None:
    x, y = clusters(90)
    found = trained.classify({"x": x.numpy(), "y": y.numpy() + 1})
    assert found["accuracy"].n == found["log_loss"].n == 60
    assert "leaves out 30 examples" in str(found["accuracy"].reason)
    named = trained.classify((x.numpy(), np.array(["cat", "dog", "emu"])[y.numpy()]))  # the run has numbers
    assert named["accuracy"].value is None
    assert "words" in str(named["accuracy"].reason)


def test_labels_may_be_one_hot_rows(trained: tb.Trained) -> None:
    x, y = clusters(90)
    found = trained.classify((x, y))
    hot = (x.numpy(), np.eye(4)[y.numpy()])
    assert trained.classify(hot)["log_loss"].value == found["log_loss"].value
    assert trained.probe(hot, train=hot, samples=2)["linear"].n == 90


def test_classes_may_have_any_order() -> None:
    x, y = clusters(90)
    plain = tb.train(x, sampler="prior", latent=2, network="mlp(hidden=(4,))", epochs=1, quiet=True)
    values = []
    for order in ((0, 1, 2), (2, 0, 1)):
        plain.fit_sampler(f"class-regions(components=1, labels={order})", (x, y), default=True)
        found = plain.classify((x, y))
        values.append((found["accuracy"].value, found["log_loss"].value))
    assert values[1] == pytest.approx(values[0], rel=1e-5)


def test_draws_of_a_class_lie_in_its_cluster(trained: tb.Trained) -> None:
    for label in range(3):
        nearest = torch.cdist(trained.sample(300, label=label, draw=False), CENTERS).argmin(1)
        assert (nearest == label).double().mean() > 0.55  # with codes of all classes, a third
    nearest = torch.cdist(trained.sample(300, draw=False), CENTERS).argmin(1)
    assert nearest.bincount(minlength=3).min() > 60  # each with probability 1/3
    with pytest.raises(InputError, match="class 5"):
        trained.sample(2, label=5)


def test_examples_without_labels_have_no_accuracy(trained: tb.Trained) -> None:
    found = trained.classify(clusters(30)[0])
    assert found["accuracy"].value is None
    assert "no labels" in str(found["accuracy"].reason)
    assert len(found.per_example["class"]) == 30
    factors = (clusters(30)[0], torch.zeros(30, 2))
    assert trained.classify(factors)["accuracy"].value is None


def test_a_model_that_infers_no_classes_is_refused() -> None:
    x, _ = clusters(60)
    plain = tb.train(x, sampler="prior", latent=1, network="mlp(hidden=(4,))", epochs=1, quiet=True)
    assert chosen_sampler(plain.folder) is None
    with pytest.raises(CompositionError, match="m1-m2"):
        plain.classify(x)
    with pytest.raises(CompositionError, match="labels_fraction"):
        tb.train({"x": x.numpy(), "y": np.arange(60) % 2}, labels_fraction=0.5, epochs=1, quiet=True)


def test_a_sampler_that_cannot_be_fitted_is_refused_before_training(tmp_path: Path) -> None:
    x, _ = clusters(60)
    with pytest.raises(CompositionError, match="the data have none"):
        tb.train(x, sampler="m2", epochs=1, quiet=True)
    with pytest.raises(InputError, match="no argument 'widths'"):
        tb.train(x, sampler="flow(widths=3)", epochs=1, quiet=True)
    for name in ("prior(1)", "auto(x=1)"):
        with pytest.raises(InputError, match="there is no sampler"):
            tb.train(x, sampler=name, epochs=1, run=tmp_path / "run", quiet=True)
    with pytest.raises(CompositionError, match="sample from the prior"):
        tb.train(x, recipe="vq-vae", sampler="flow", latent=2, epochs=1, run=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    table = tmp_path / "t.csv"
    table.write_text("a,b,y\n" + "".join(f"{i % 7}.5,{i}.25,{i % 3 or ''}\n" for i in range(60)))
    with pytest.raises(InputError, match="20 rows have no label"):  # the model itself needs each class
        tb.train(table, labels="y", context="labels", sampler="m2", epochs=1, quiet=True)


def test_the_classifier_of_a_model_is_preferred_to_its_sampler() -> None:
    x, y = clusters(90)
    options: Any = {"latent": 1, "network": "mlp(hidden=(8,))", "epochs": 1, "quiet": True}
    trained = tb.train({"x": x.numpy(), "y": y.numpy()}, context="inferred-labels", objective="m2", **options)
    model: Any = trained.model
    expected = model.context.log_probabilities(model.observe(Batch(x), Noise("any"), context=False))
    found = infer_classes(model, x)
    assert found.labels == (0, 1, 2)
    assert torch.allclose(found.log_probabilities, expected, atol=1e-5)


def test_regions_classify_by_bayes_rule() -> None:
    x, y = clusters()
    y = y.where(y > 0, torch.ones_like(y)) + 4  # classes 5 and 6 with shares 2/3 and 1/3
    sampler: Sampler = make("sampler", "class-regions(components=1)", latent=3, labels=[5, 6]).double()
    sampler.start_at(x.double(), 0, y)
    densities = []
    for label in (5, 6):
        own = x[y == label].double().numpy()
        joint = multivariate_normal(own.mean(0), np.cov(own.T, bias=True)).logpdf(x.numpy()) + np.log(len(own) / len(x))
        densities.append(joint)
    expected = np.stack(densities, 1) - np.logaddexp(*densities)[:, None]
    np.testing.assert_allclose(sampler.log_probabilities(x.double()).numpy(), expected, rtol=1e-3, atol=0.01)


def test_unused_dimensions_are_left_out_and_drawn_from_a_gaussian() -> None:
    x, y = clusters(300)
    x = x + torch.tensor([0.0, 0.0, 7.0])
    sampler: Sampler = make("sampler", "m2(inner=1, hidden=(4,))", latent=3, labels=[-1, 0, 1, 2], active=[0, 1])
    sampler.start_at(x, 0, y)
    assert sampler.labels == (0, 1, 2)
    assert sampler.inputs(x).shape == (300, 2)
    drawn = sampler.sample(4000, Noise("any"))[:, 2].detach().double()
    assert drawn.mean().item() == pytest.approx(7, abs=0.05)
    assert drawn.std().item() == pytest.approx(0.4, abs=0.05)
    with pytest.raises(InputError, match="class labels"):
        make("sampler", "m2", latent=3).start_at(x, 0, None)


def test_each_epoch_takes_one_draw_of_each_example() -> None:
    draws = torch.arange(20.0).reshape(5, 4, 1)
    split = Drawn(draws, torch.arange(5))
    epochs = [next(split.epoch(5, key=(i,))) for i in range(6)]
    for batch in epochs:
        assert torch.equal(batch.x[:, 0].div(4, rounding_mode="floor").long(), batch.index)
        assert torch.equal(batch.label, batch.index)
    assert len({tuple(batch.x[batch.index.argsort(), 0].tolist()) for batch in epochs}) > 3
    again = next(split.epoch(5, key=(0,)))
    assert torch.equal(again.x, epochs[0].x)
