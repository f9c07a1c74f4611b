"""The rate in parts: closed forms on linear-Gaussian models, and what must hold exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from conftest import gray
from laws.linear import Linear, linear_gaussian
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.rate import rate_decomposition
from tightbound.core.errors import InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.information import log_weights, mutual_information

PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")
NAMES = {*PARTS, "information_upper", "aggregate_kl", "marginal_kl"}


def draws_of_x(linear: Linear, n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    d, latent = linear.w.shape
    z = torch.randn(n, latent, generator=generator, dtype=torch.float64)
    return z @ linear.w.T + linear.m + linear.sigma * torch.randn(n, d, generator=generator, dtype=torch.float64)


def correlated(seed: int = 3) -> tuple[Linear, dict[str, float]]:
    """A linear encoder whose codes are correlated over the data, and its population's numbers."""
    linear = linear_gaussian(d=4, latent=2, seed=seed)
    head: Any = linear.model.latents.posterior.network[-1]
    with torch.no_grad():
        head.weight[:2] = torch.tensor([[1.0, 0.6, 0.0, 0.4], [0.9, 0.7, 0.2, 0.2]]).double()
        head.bias[:2] = torch.tensor([0.3, -0.2]).double() - head.weight[:2] @ linear.m
        head.bias[2:] = torch.tensor([-1.0, -0.6])
    means = head.weight[:2].detach()
    covariance = means @ (linear.w @ linear.w.T + linear.sigma**2 * torch.eye(4)) @ means.T
    noise = head.bias[2:].detach().exp()
    q = covariance + torch.diag(noise)
    diagonal = q.diagonal()
    mean = torch.tensor([0.3, -0.2]).double()
    marginal = 0.5 * (diagonal + mean.square() - 1 - diagonal.log())
    exact = {
        "mutual_information": 0.5 * (q.logdet() - noise.log().sum()),
        "total_correlation": 0.5 * (diagonal.log().sum() - q.logdet()),
        "dimension_wise_kl": marginal.sum(),
        "aggregate_kl": 0.5 * (q.trace() + mean @ mean - 2 - q.logdet()),
    }
    return linear, {name: value.item() for name, value in exact.items()} | {"marginal": marginal.tolist()}


def test_the_parts_add_up_to_the_rate_of_the_same_draws_exactly() -> None:
    linear, _ = correlated()
    x = draws_of_x(linear, 150)
    found = rate_decomposition(linear.model, x, max_examples=60, seed=4).per_example
    assert np.allclose(sum(found[name] for name in PARTS), found["rate"], atol=1e-12)
    assert np.allclose(found["mutual_information"] + found["aggregate_kl"], found["rate"], atol=1e-12)
    index = torch.from_numpy(found["index"])
    assert len(set(index.tolist())) == 60
    seen = linear.model.observe(Batch(x[index]), Noise("any"))
    noise = ExampleNoise("rate", 4, index=index)
    groups, _ = linear.model.infer(seen, linear.model.encode_state(seen), 1, noise, Knobs({}))
    assert np.allclose(groups[0].log_ratio()[0].detach().numpy(), found["rate"], atol=1e-12)


def test_over_all_data_it_is_the_batch_estimator() -> None:
    linear, _ = correlated()
    x = draws_of_x(linear, 80)
    found = rate_decomposition(linear.model, x)
    seen = linear.model.observe(Batch(x), Noise("any"))
    q, _ = linear.model.encode_state(seen)
    z = q.base_dist.loc + q.base_dist.scale * ExampleNoise("rate", 0, index=torch.arange(80)).normal((1, 80, 2), x)
    by_batch = mutual_information(q, z, log_weights(80))[0].detach()
    assert np.allclose(found.per_example["mutual_information"], by_batch.numpy(), atol=1e-12)


def test_closed_forms_with_correlated_codes() -> None:
    linear, exact = correlated()
    assert min(exact["total_correlation"], exact["aggregate_kl"], exact["mutual_information"]) > 0.2
    found = rate_decomposition(linear.model, draws_of_x(linear, 4000), max_examples=2000)
    for name in (*PARTS, "aggregate_kl"):
        number = found[name]
        # the error of 4000 data beside that of the draws given these
        allowed = 5 * number.stderr * (1 + 0.5**0.5) + 2 / 4000 * len(linear.w)
        assert number.value == pytest.approx(exact[name], abs=allowed), name
        assert exact[name] > allowed, name  # the comparison tells it from zero
    marginal = found["marginal_kl"]
    assert np.allclose(marginal.value, exact["marginal"], atol=5 * 1.7 * np.max(marginal.stderr))
    assert sum(marginal.value) == pytest.approx(found["dimension_wise_kl"].value)


def test_the_aggregate_of_the_exact_posterior_is_the_prior() -> None:
    """E_x p(z | x) = p(z): all of the rate is mutual information, I = (log det(W'W + s^2) - log det s^2) / 2."""
    linear = linear_gaussian(d=5, latent=2, sigma=1.0)
    found = rate_decomposition(linear.model, draws_of_x(linear, 3000), max_examples=1500)
    exact = 0.5 * (linear.w.square().sum(0) + 1).log().sum().item()
    low, high = found["mutual_information"], found["information_upper"]
    assert low.value - 4 * low.stderr < exact < high.value + 4 * high.stderr
    for name in ("aggregate_kl", "total_correlation", "dimension_wise_kl"):
        assert abs(found[name].value) < 5 * found[name].stderr + 0.02


def test_the_bracket_contains_the_information_of_the_population_with_few_examples() -> None:
    """Means over many small data sets, of which each bracket is wide."""
    linear, exact = correlated()
    found = [rate_decomposition(linear.model, draws_of_x(linear, 6, seed)) for seed in range(150)]
    ends = [[each[end].value for each in found] for end in ("mutual_information", "information_upper")]
    low, high = np.mean(ends, axis=1)
    error = np.std(ends, axis=1) / 150**0.5
    assert low + 4 * error[0] < exact["mutual_information"] < high + 4 * error[1]


def test_information_is_at_most_log_n_and_says_when_it_is_near() -> None:
    linear = linear_gaussian(d=6, latent=3, sigma=0.001)
    found = rate_decomposition(linear.model, draws_of_x(linear, 40))
    assert found["mutual_information"].value == pytest.approx(math.log(40), abs=1e-6)
    assert "near log N = 3.69" in found["mutual_information"].reason
    assert found["information_upper"].value > 100
    collapsed = linear_gaussian(d=6, latent=3)
    with torch.no_grad():
        head: Any = collapsed.model.latents.posterior.network[-1]
        head.weight.zero_()
    found = rate_decomposition(collapsed.model, draws_of_x(collapsed, 40))
    for name in ("mutual_information", "information_upper", "total_correlation"):
        assert found[name].value == pytest.approx(0, abs=1e-10)
    assert found["mutual_information"].reason is None


def model(**parts: str) -> tuple[tb.VAE, Any]:
    data = tb.data.open(np.concatenate([gray(60), gray(60, seed=1)]))
    return tb.VAE.for_data(data, latent=4, network="mlp(hidden=(6,))", **parts), data


NONE = ("total_correlation", "dimension_wise_kl", "marginal_kl")


@pytest.mark.parametrize(
    ("parts", "null", "why"),
    [
        ({}, (), ""),
        ({"posterior": "full"}, NONE, "does not factorize"),
        ({"posterior": "low-rank"}, NONE, "does not factorize"),
        ({"posterior": "flow(transforms=1, hidden=(6,))"}, NONE, "does not factorize"),
        ({"posterior": "von-mises-fisher", "prior": "sphere"}, NONE, "does not factorize"),
        ({"posterior": "relaxed-categorical(groups=2)", "prior": "categorical(groups=2)"}, NONE, "does not factorize"),
        ({"prior": "vamp(components=3)"}, ("marginal_kl",), "prior does not factorize"),
        ({"latents": "bottom-up(upper=2, hidden=(5,))"}, NONE, "does not factorize"),
        ({"latents": "ladder(groups=2, hidden=6)"}, NONE, "does not factorize"),
        ({"posterior": "planar(flows=2)"}, NAMES, "unknown at z of other examples"),
        ({"posterior": "sylvester(flows=1)"}, NAMES, "unknown at z of other examples"),
        ({"posterior": "hamiltonian(steps=1)"}, NAMES, "unknown at z of other examples"),
        ({"posterior": "point"}, NAMES, "point mass"),
    ],
)
def test_unknown_parts_are_missing_with_the_reason(parts: dict[str, str], null: Any, why: str) -> None:
    vae, data = model(**parts)
    found = rate_decomposition(vae, data.train, max_examples=30)
    assert set(found.estimates) == NAMES
    for name, number in found.estimates.items():
        assert (number.value is None) == (name in null), name
        if number.value is None:
            assert why in number.reason
        assert number.description
        assert number.estimator
    if not null:
        assert found["mutual_information"].value == pytest.approx(
            found.per_example["rate"].mean() - found["aggregate_kl"].value
        )


def test_with_a_context_only_a_prior_that_ignores_it_has_an_aggregate() -> None:
    data = tb.data.open("digits")
    some = data.train.subset(range(60))
    tiny = {"latent": 2, "network": "mlp(hidden=(6,))", "context": "labels"}
    assert rate_decomposition(tb.VAE.for_data(data, **tiny), some)["mutual_information"].value is not None
    conditional = rate_decomposition(tb.VAE.for_data(data, prior="learned", **tiny), some)
    assert "depends on the context" in conditional["mutual_information"].reason
    hierarchy = rate_decomposition(tb.VAE.for_data(data, latents="ladder(groups=2)", **tiny), some)
    assert "depends on the context" in hierarchy["aggregate_kl"].reason


def test_information_of_a_bottom_up_hierarchy_is_that_of_its_lowest_group() -> None:
    """The groups above are drawn from z_1 alone, so that they cannot tell more of x."""
    vae, data = model(latents="bottom-up(upper=2, hidden=(5,))")
    vae = vae.double()
    found = rate_decomposition(vae, data.whole.batch(torch.arange(50)))
    seen = vae.observe(data.whole.batch(torch.arange(50)), Noise("any"))
    vae.eval()
    state = vae.encode_state(seen)
    groups, _ = vae.infer(seen, state, 1, ExampleNoise("rate", 0, index=torch.arange(50)), Knobs({}))
    lowest = mutual_information(state[0], groups[0].z)[0].detach()
    assert np.allclose(found.per_example["mutual_information"], lowest.numpy(), atol=1e-9)


def test_missing_entries_and_one_example() -> None:
    table = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    table[::3, 1] = np.nan
    data = tb.data.open(table)
    vae = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(6,))")
    assert rate_decomposition(vae, data.train)["total_correlation"].value is not None
    alone = rate_decomposition(vae, table[:1])
    assert alone["mutual_information"].value == 0
    assert "nothing is left" in alone["information_upper"].reason
    for wrong in (0, 2.5):
        with pytest.raises(InputError, match="max_examples"):
            rate_decomposition(vae, table, max_examples=wrong)  # pyright: ignore
    with pytest.raises(InputError, match="no data"):
        rate_decomposition(vae, table[:0])


def test_every_evaluation_contains_the_decomposition() -> None:
    linear, _ = correlated()
    x = draws_of_x(linear, 50)
    found = evaluate(linear.model, x, samples=3, seed=2)
    assert set(found.estimates) >= NAMES
    assert found["total_correlation"].value == rate_decomposition(linear.model, x, seed=2)["total_correlation"].value
