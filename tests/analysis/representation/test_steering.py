"""Steering along attribute vectors, and the classes that generated examples are assigned to."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from tightbound.analysis.representation.steering import STRENGTHS, classified_as, steer
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError
from tightbound.core.terms import Batch


def clouds(n: int = 600) -> tuple[Tensor, Tensor]:
    """Codes in the plane of classes 2, 5 and 7, which lie apart."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(3, (n,), generator=generator)
    centers = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    codes = centers[which] + 0.3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return codes, torch.tensor([2, 5, 7])[which]


class Point(torch.nn.Module):
    """An encoder into the plane that gives the data themselves."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.full_like(x, -20)], 1)


def plane() -> tb.VAE:
    """A model whose codes are its data, and whose decoder gives them back."""
    posterior = tb.posteriors.DiagonalNormal((2,), 2, torch.nn.Identity())
    posterior.network = Point()
    likelihood = tb.likelihoods.Gaussian((2,), 2, torch.nn.Linear(2, 2), scale=0.1)
    with torch.no_grad():
        for parameter, value in zip(likelihood.parameters(), (torch.eye(2), torch.zeros(2)), strict=False):
            parameter.copy_(value)
    return tb.VAE(tb.Flat(tb.priors.StandardNormal(2), posterior), likelihood, tb.likelihoods.Identity()).double()


def test_adding_the_vector_changes_the_class_and_adding_nothing_does_not() -> None:
    model, (codes, labels) = plane(), clouds()
    batch = Batch(codes, label=labels)
    done = steer(model, batch, batch, 7, 2, strengths=(-1.0, 0.0, 1.0), max_examples=100)
    torch.testing.assert_close(done.vector, tb.Trained(model).attribute_vector(batch, 7, 2))
    assert [done.estimates[name].value for name in ("-1", "+0", "+1")] == [0, 0, 1]
    assert done.estimates["+1"].n == 100
    torch.testing.assert_close(done.x[:, 2], done.codes + done.vector)
    assert done.labels.tolist() == [2] * 100
    assert torch.equal(labels[done.index], done.labels)
    assert done.predicted[:, 2].all()
    away = steer(model, batch, batch, 7, strengths=(0.0,))
    assert away.estimates["+0"].n == min(500, int((labels != 7).sum()))


def test_generated_examples_are_classified_beside_real_ones() -> None:
    model, (codes, labels) = plane(), clouds()
    batch = Batch(codes, label=labels)
    drawn = torch.cat([codes[labels == 7][:30], codes[labels == 5][:10]])
    shares = classified_as(model, drawn, 7, batch, batch)
    assert (shares["generated"].value, shares["generated"].n) == (0.75, 40)
    assert (shares["data"].value, shares["data"].n) == (1, int((labels == 7).sum()))
    rows = Batch(codes, label=torch.nn.functional.one_hot(labels))
    assert classified_as(model, drawn, 7, rows, rows, partial=True)["generated"].value == 0.75
    few = Batch(codes, label=labels.where(torch.arange(len(labels)) % 10 == 0, torch.full_like(labels, -1)))
    shares = classified_as(model, drawn, 7, few, batch, partial=True)
    assert (shares["generated"].value, shares["data"].value) == (0.75, 1)  # as with all labels
    assert f"of {(few.label >= 0).sum()} training examples" in str(shares["data"].target)
    with pytest.raises(InputError, match="no test example has label 3"):
        classified_as(model, drawn, 3, batch, batch)
    with pytest.raises(InputError, match="no labels"):
        classified_as(model, drawn, 7, codes, codes)


@pytest.fixture(scope="module")
def trained() -> tb.Trained:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=4, network="mlp(hidden=(16,))")
    return tb.fit(model, data, steps=30, quiet=True)


def test_the_effect_of_a_shift_is_pictured_and_measured(trained: tb.Trained) -> None:
    found = trained.attribute(label=3, against=8, max_examples=20, rows=4)
    assert list(found.estimates) == [f"{s:+g}" for s in STRENGTHS]
    assert [figure.is_picture for figure in found.figures] == [True, False]
    assert found.per_example["x"].shape == (len(found.per_example["label"]), 9, 1, 8, 8)
    assert set(found.per_example["label"]) == {8}
    shares = [estimate.value for estimate in found.estimates.values()]
    np.testing.assert_allclose(found.per_example["predicted"].mean(0), shares)
    again = Result.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.estimates == found.estimates
    assert len(again.details["vector"]) == 4


def test_unknown_labels_and_options_are_refused(trained: tb.Trained) -> None:
    with pytest.raises(InputError, match="no example has label 12"):
        trained.attribute(label=12)
    with pytest.raises(InputError, match="rows = 0"):
        trained.attribute(label=3, rows=0)
