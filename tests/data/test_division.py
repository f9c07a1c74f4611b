"""Division into training and validation examples; `labels_fraction=` keeps some labels and hides the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from tightbound.config import Settings
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch
from tightbound.data.division import few_labels, for_training
from tightbound.data.given import training_data
from tightbound.data.options import Options
from tightbound.data.view import matched
from tightbound.objectives import M2

LABELS = torch.cat([torch.zeros(150), torch.ones(40), torch.full((10,), 2)]).long()
DATA = tb.data.open(torch.rand(200, 3), labels=LABELS, domain="unit")


def test_as_many_labels_of_each_class_are_kept() -> None:
    own = training_data((torch.rand(200, 3), LABELS))
    few = few_labels(own, 0.03, seed=0)
    kept = few.train.labels
    assert kept is not None
    assert [int((kept == k).sum()) for k in (-1, 0, 1, 2)] == [194, 2, 2, 2]
    assert torch.equal(kept[kept >= 0], LABELS[kept >= 0])
    other = few_labels(own, 0.03, seed=1).train.labels
    assert other is not None
    assert not torch.equal(kept, other)


def test_hidden_labels_stay_hidden_when_classes_get_other_numbers() -> None:
    words = np.array(["dog", "emu"])[np.arange(40) % 2]
    few = few_labels(tb.data.open(np.random.rand(40, 3), labels=words), 0.2, seed=0)
    view = matched(few.train, few.schema, Options(schema=Schema(classes=("cat", "emu", "dog"))), "few")
    own, seen = few.train.labels, next(view.epoch(40)).label
    assert own is not None
    assert seen is not None
    assert torch.equal(seen, torch.tensor([2, 1, -1])[own])


def test_no_batch_of_training_or_validation_examples_shows_a_hidden_label() -> None:
    few: Any = few_labels(DATA, 0.05, seed=0)
    train, validation = few.held_out(50, keep_labeled=True)
    seen = [batch.label for split in (train, validation) for batch in split.epoch(7, key=(1,))]
    assert sorted(torch.cat(seen).tolist()) == sorted(few.train.labels.tolist())
    assert (next(few.test.epoch(5)).label >= 0).all()


def test_validation_takes_no_label_that_is_kept_as_long_as_there_are_others() -> None:
    few: Any = few_labels(DATA, 0.05, seed=0)
    train, validation = few.held_out(150, keep_labeled=True)
    assert sorted(train.labels.tolist()) == sorted([-1] * (30 - 9) + [0] * 3 + [1] * 3 + [2] * 3)
    assert (validation.labels == -1).all()
    train, validation = few.held_out(175, keep_labeled=True)
    assert (len(train), int((validation.labels >= 0).sum())) == (5, 4)


class Counting(M2):
    """Objective that records how many labeled examples it is trained on."""

    labeled = 0

    def rows(self, labels: Tensor | None) -> Tensor | None:
        assert labels is not None
        self.labeled = int((labels >= 0).sum())
        return super().rows(labels)


def test_examples_of_unknown_class_are_set_aside_before_others_if_the_model_infers_labels() -> None:
    own = training_data((torch.rand(60, 2), torch.where(torch.arange(60) < 40, torch.arange(60) % 2, -1)))
    objective = Counting()
    model = tb.VAE.for_data(own, context="inferred-labels", latent=1, network="mlp(hidden=(4,))")
    tb.fit(model, own, objective, epochs=1, validation_size=20, quiet=True)
    assert objective.labeled == 40
    signs: Any = for_training(own, Settings(validation_size=20), partial=False)[1]  # -1 may be a class like others
    assert len(signs.labels.unique()) == 3


def test_the_division_is_the_same_whenever_it_is_asked_for() -> None:
    settings = Settings(labels_fraction=0.05, validation_size=50)
    first, second = ([part.labels for part in for_training(DATA, settings, partial=True)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_objective_that_does_not_train_the_classifier_is_refused() -> None:
    with pytest.raises(CompositionError, match="'elbo' does not train the classifier"):
        tb.train(DATA, context="inferred-labels", objective="elbo", latent=1, epochs=1, quiet=True)


def test_labels_are_hidden_only_where_there_are_classes() -> None:
    with pytest.raises(InputError, match=r"no class labels, which labels_fraction= needs"):
        few_labels(tb.data.open(torch.rand(20, 3)), 0.5, seed=0)


def test_a_model_that_does_not_infer_labels_refuses_to_lose_them() -> None:
    with pytest.raises(CompositionError, match=r"labels_fraction=0\.1.*m1-m2"):
        tb.train(DATA, labels_fraction=0.1, latent=1, epochs=1, quiet=True)


def test_a_run_with_few_labels_records_it_and_infers_the_classes_of_new_examples(tmp_path) -> None:
    x = torch.randn(400, 2) * 0.3 + 3 * torch.eye(2)[torch.arange(400) % 2]
    tb.train(
        (x, torch.arange(400) % 2), context="inferred-labels", objective="m2", labels_fraction=0.02, latent=1,
        epochs=20, lr=0.01, network="mlp(hidden=(8,))", domain="real", quiet=True, run=tmp_path / "run",
    )  # fmt: skip
    trained = tb.load(tmp_path / "run")
    assert trained.config["labels_fraction"] == 0.02
    model: Any = trained.model
    seen = model.observe(Batch(x), Noise("x"), context=False)
    assert (model.context.log_probabilities(seen).argmax(1) == torch.arange(400) % 2).double().mean() > 0.98
