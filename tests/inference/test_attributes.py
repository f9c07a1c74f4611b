"""Labels in latent space: attribute vectors and class regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from tightbound.analysis.representation.steering import classified_as
from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.inference.attributes import class_labels, vector_of_codes
from tightbound.inference.samplers.regions import ClassRegions


def clouds(n: int = 600) -> tuple[Tensor, Tensor]:
    """Codes in the plane of classes 2, 5 and 7, which lie apart."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(3, (n,), generator=generator)
    centers = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    codes = centers[which] + 0.3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return codes, torch.tensor([2, 5, 7])[which]


def test_the_vector_is_the_difference_of_the_means() -> None:
    codes, labels = clouds()
    expected = torch.tensor([4.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(vector_of_codes(codes, labels, 5, 2), expected, atol=0.08, rtol=0)
    others = codes[labels == 5].mean(0) - codes[labels != 5].mean(0)
    torch.testing.assert_close(vector_of_codes(codes, labels, 5), others)


def test_the_normal_of_a_probe_leaves_out_what_goes_along() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (4000,), generator=generator)
    other = labels + 0.6 * torch.randn(4000, generator=generator)  # goes along with the label, which it does not make
    codes = torch.stack([2.0 * labels - 1 + 0.5 * (other - labels), other], 1)
    by_means = vector_of_codes(codes, labels, 1, 0)
    by_probe = vector_of_codes(codes, labels, 1, 0, direction="probe")
    assert by_means[1] == pytest.approx(1, abs=0.1)
    assert by_probe[0] > 0
    assert by_probe[1] / by_probe[0] < 0.2 < by_means[1] / by_means[0]


def test_a_probes_vector_takes_one_mean_as_far_as_the_other() -> None:
    codes, labels = clouds()
    vector = vector_of_codes(codes, labels, 7, 2, direction="probe")
    torch.testing.assert_close(vector, torch.tensor([0.0, 6.0], dtype=torch.float64), atol=0.8, rtol=0)


@pytest.mark.parametrize(
    ("of", "against", "direction", "description"),
    [(3, None, "means", "no example has label 3; known labels: 2, 5, 7"), (2, 9, "means", "label 9"),
     (2, 2, "means", "are both 2"), (2, 5, "up", "direction = 'up'")],
)  # fmt: skip
def test_vectors_that_are_not_there_are_refused(of: int, against: int | None, direction: str, description: str) -> None:
    with pytest.raises(InputError, match=description):
        vector_of_codes(*clouds(), of, against, direction=direction)  # pyright: ignore


def test_labels_of_several_factors_need_a_factor() -> None:
    labels = torch.tensor([[0, 3], [1, 4]])
    assert class_labels(labels, 1).tolist() == [3, 4]
    for given, factor, description in (
        (labels, None, "2 factors"), (labels, 2, "2 factors"), (labels[:, 0], 0, "leave out factor="),
        (None, None, "no labels"), (torch.tensor([0.5]), None, "whole numbers"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=description):
            class_labels(given, factor)


def test_regions_are_of_their_class_and_together_of_all() -> None:
    codes, labels = clouds()
    sampler = make("sampler", "class-regions(components=2)", latent=2, labels=[2, 5, 7]).double()
    assert isinstance(sampler, ClassRegions)
    sampler.start_at(codes, 0, labels)
    for label in (2, 5, 7):
        own, drawn = codes[labels == label], sampler.of(label).sample(4000, Noise("test"))
        torch.testing.assert_close(drawn.mean(0), own.mean(0), atol=0.05, rtol=0)
        torch.testing.assert_close(drawn.std(0), own.std(0), atol=0.05, rtol=0)
    drawn = sampler.sample(6000, Noise("test"))
    near = torch.cdist(drawn, torch.stack([codes[labels == c].mean(0) for c in (2, 5, 7)])).argmin(1)
    shares = torch.stack([(labels == c).double().mean() for c in (2, 5, 7)])
    torch.testing.assert_close(near.bincount().double() / 6000, shares, atol=0.03, rtol=0)
    # the density of all is that of the classes by their shares
    z = codes[:50]
    by_class = torch.stack([sampler.of(c).log_prob(z) for c in (2, 5, 7)])  # pyright: ignore
    torch.testing.assert_close(sampler.log_prob(z), (by_class + shares.log().unsqueeze(1)).logsumexp(0))


def test_regions_refuse_what_they_cannot_be_made_of() -> None:
    codes, labels = clouds()
    sampler = make("sampler", "class-regions(components=3)", latent=2, labels=[2, 5, 7]).double()
    for given in (None, labels.float(), labels[:, None], labels[:5]):
        with pytest.raises(InputError, match="class labels"):
            sampler.start_at(codes, 0, given)
    few = labels.clone()
    few[few == 5] = 2
    few[:3] = 5
    with pytest.raises(InputError, match="class 5 has 3 examples"):
        sampler.start_at(codes, 0, few)
    sampler.start_at(codes, 0, labels)
    with pytest.raises(InputError, match=r"no class 3; known classes: 2, 5, 7"):
        sampler.of(3)
    with pytest.raises(InputError, match="class-regions"):
        make("sampler", "kernel", latent=2).of(3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=8, network="mlp(hidden=(128,))", likelihood="bernoulli")
    return tb.fit(model, data, epochs=20, lr=2e-3, quiet=True, run=tmp_path_factory.mktemp("regions") / "run")


def test_a_region_sampled_from_a_run_is_mostly_of_its_class(trained: tb.Trained) -> None:
    data = tb.data.open("digits")
    trained.fit_sampler("class-regions(components=1)", data.train)
    again = tb.load(trained.path)
    threes = again.sample(200, sampler="class-regions", label=3)
    assert torch.equal(threes, trained.sample(200, sampler="class-regions", label=3))
    right = classified_as(again.model, threes, 3, data.train, data.test)["generated"].value
    of_all = classified_as(again.model, again.sample(200), 3, data.train, data.test)["generated"].value
    assert right > 0.35 > 0.2 > of_all  # pyright: ignore
    with pytest.raises(InputError, match="no class 11"):
        again.sample(2, sampler="class-regions", label=11)
    with pytest.raises(InputError, match="fit 'class-regions'"):
        again.sample(2, label=3)


def test_the_classes_can_be_said(trained: tb.Trained) -> None:
    data = tb.data.open("digits")
    trained.fit_sampler("class-regions(components=1, labels=(3, 8))", data.train)
    with pytest.raises(InputError, match="known classes: 3, 8"):
        tb.load(trained.path).sample(2, sampler="class-regions", label=1)


def test_data_without_labels_have_no_regions_and_no_vectors(trained: tb.Trained) -> None:
    x = torch.from_numpy(np.zeros((20, 1, 8, 8), dtype=np.uint8))
    with pytest.raises(InputError, match="was given none"):
        trained.fit_sampler("class-regions", x)
    with pytest.raises(InputError, match="no labels"):
        trained.attribute_vector(x, 3)


def test_a_model_that_completes_data_has_no_vectors(tmp_path: Path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood="bernoulli", context="visible")
    with pytest.raises(CompositionError, match="completes examples"):
        tb.Trained(model).attribute_vector(data.test, 3)
