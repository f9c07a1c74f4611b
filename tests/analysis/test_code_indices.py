"""Code indices: their exact bound, their cost, the use of codebooks, and every analysis of models that have them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from conftest import Result
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.gap import inference_gap
from tightbound.analysis.bounds.reconstruction import Variation
from tightbound.analysis.comparison.compare import result_of
from tightbound.analysis.comparison.engine import compare, difference
from tightbound.analysis.detection.engine import score
from tightbound.analysis.diagnosis.engine import Case, diagnose
from tightbound.analysis.estimate import mean_error, scalar
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, code_terms
from tightbound.likelihoods import Identity
from tightbound.model import VAE

X = torch.randint(0, 2, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
SMALL = "pixelcnn(hidden=8, layers=1, embedding=4, attention=0, blocks=1)"


def quantized(quantizer: str = "vq(codebook_size=5)", learned: bool = False) -> VAE:
    """Two levels, of 4 x 4 and 2 x 2 codes."""
    torch.manual_seed(3)
    model = tb.VAE.for_data(
        tb.data.open(X), latent=4, network="resnet(halvings=(1,1), hidden=8, inner=4, blocks=1)",
        latents=f"quantized(quantizer={quantizer!r})", prior=SMALL,
    )  # fmt: skip
    if learned:
        assert model.latents.second_stage is not None
        model.latents.second_stage.enable()
        for p in model.latents.second_stage.parameters():
            torch.nn.init.normal_(p, 0, 0.5)
    return model.eval()


def codes_of(model: VAE) -> tuple[list[Tensor], Tensor, Any]:
    """(N, P, 1) of each level, log p(x | codes), terms."""
    with torch.no_grad():
        terms = model(Batch(X, index=torch.arange(len(X))), 1, Noise(), Knobs.final(model.schedules))
    return [g.indices[0] for g in code_terms(terms.latents)], terms.log_likelihood[0].double(), terms


@pytest.mark.parametrize("samples", [1, 5000])
def test_the_bound_is_exact_whatever_number_of_samples_is_asked(samples: int) -> None:
    model = quantized()
    found = evaluate(model, X, samples=samples)
    codes, log_likelihood, _ = codes_of(model)
    elbo = log_likelihood - 20 * math.log(5)
    np.testing.assert_allclose(found.per_example["elbo"], elbo.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(found.per_example["codes"], torch.cat(codes, 1).flatten(1).numpy())
    assert found["elbo"].samples is None
    assert found["kl_per_group"].value == pytest.approx([16 * math.log(5), 4 * math.log(5)])
    for name in ("iwae", "iwae_ladder", "pareto_k", "convergence", "effective_samples"):
        assert found[name].value is None
        assert "function of it" in str(found[name].reason)
    assert found["bits_per_dim"].value == pytest.approx(-elbo.mean().item() / (64 * math.log(2)), rel=1e-6)
    assert "elbo" in found["bits_per_dim"].estimator
    assert found.bound == "elbo"
    assert found.has_uniform_codes
    assert "mean" not in found.per_example
    json.dumps(found.to_json(), allow_nan=False)


def test_one_pass_is_all_that_is_decoded() -> None:
    model, rows = quantized(), [0]
    hook = model.likelihood.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[:-1].numel()))
    evaluate(model, X, samples=5000)
    hook.remove()
    assert sum(rows) == 2 * len(X)  # the bound, and the reconstruction


def test_a_learned_prior_against_the_uniform_one() -> None:
    model = quantized(learned=True)
    found = evaluate(model, X, samples=3)
    codes, _, _ = codes_of(model)
    with torch.no_grad():
        by_level = [p.log_prob(c).double() for p, c in zip(model.latents.priors_of(codes), codes, strict=True)]
    rate = -sum(by_level).numpy()
    np.testing.assert_allclose(found.per_example["rate"], rate, rtol=1e-5)
    assert found["kl_per_group"].value == pytest.approx([-p.mean().item() for p in by_level], rel=1e-5)
    assert found["uniform_rate"].value == pytest.approx(20 * math.log(5), rel=1e-6)
    gain = 20 * math.log(5) - rate
    assert found["prior_gain"].value == pytest.approx(gain.mean(), rel=1e-4)
    assert found["prior_gain"].stderr == pytest.approx(mean_error(gain), rel=1e-4)
    assert found["prior_gain_share"].value == pytest.approx(gain.mean() / (20 * math.log(5)), rel=1e-4)
    assert not found.has_uniform_codes


def test_codebooks_are_counted_and_distances_measured() -> None:
    model = quantized()
    found = evaluate(model, X)
    codes, _, terms = codes_of(model)
    used, perplexity, error = [], [], []
    for own, group in zip(codes, terms.latents, strict=True):
        p = np.bincount(own.flatten().numpy(), minlength=5) / own.numel()
        used.append((p > 0).mean())
        perplexity.append(math.exp(-sum(q * math.log(q) for q in p if q)))
        v, e = group.vectors.double(), group.z[0].double()
        error.append(((v - e).square().sum() / (v - v.mean((0, 1))).square().sum()).item())
    assert found["codes_used"].value == pytest.approx(used)
    assert found["code_perplexity"].value == pytest.approx(perplexity)
    assert found["quantization_error"].value == pytest.approx(error, rel=1e-5)


def test_the_error_of_a_perplexity_is_its_spread_over_data_sets() -> None:
    from tightbound.analysis.bounds.code_indices import CodeBooks, counted
    from tightbound.core.terms import CodeTerms

    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        kind = rng.integers(0, 2, (50, 1))  # codes of an example go together
        codes = torch.as_tensor(np.where(rng.random((50, 6)) < 0.8, kind, rng.integers(0, 4, (50, 6))))
        books = CodeBooks()
        for part in codes[:, :, None].split(20):
            z = torch.zeros(1, len(part), 6, 1)
            group = CodeTerms(z, indices=part[None], codebook_size=4, shared=True, vectors=z[0])
            books.add(counted([group]))
        found.append(books.estimates()["code_perplexity"])
    spread = np.std([e.value for e in found])
    assert np.mean([e.stderr for e in found]) == pytest.approx(spread, rel=0.15)


def test_drawn_code_indices_have_an_iwae_bound() -> None:
    torch.manual_seed(0)
    model = tb.VAE.for_data(
        tb.data.open(X), latent=3, network="mlp(hidden=(8,))",
        latents="quantized(quantizer='gumbel(codebook_size=4)', positions=6)", prior=SMALL,
    ).eval()  # fmt: skip
    found = evaluate(model, X, samples=50)
    assert found.bound == "iwae"
    assert found["iwae"].value >= found["elbo"].value
    assert found.has_uniform_codes
    assert found["prior_gain"].value == 0
    assert found["quantization_error"].value is None
    assert "drawn" in str(found["quantization_error"].reason)
    assert found["code_perplexity"].value is not None
    closed = found["rate"].value
    model.latents.second_stage.enable()
    for p in model.latents.second_stage.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    taken = evaluate(model, X, samples=200)
    assert taken["uniform_rate"].value == pytest.approx(closed, abs=0.1)  # Monte Carlo against the closed form
    assert taken["uniform_rate"].value - taken["prior_gain"].value == pytest.approx(taken["rate"].value)


def test_the_error_relative_to_the_variance() -> None:
    x = torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, math.nan]])
    variation, observation = Variation((2,)), Identity("real")
    for part in x.split(2):
        mask = ~torch.isnan(part)
        variation.add(observation, part, Batch(part.nan_to_num(), mask=mask))
    # of elements 0, 2, 4 with weights 1/2, 1/2, 1: mean 2.5; the other does not vary
    assert variation.value == pytest.approx((0.5 * 2.5**2 + 0.5 * 0.5**2 + 1.5**2) / 3)
    found = evaluate(quantized(), X)
    errors, variance = found.per_example["reconstruction_mse"], X.double().var(0, correction=0).mean().item()
    number = found["relative_mse"]
    assert number.value == pytest.approx(errors.mean() / variance)
    assert number.stderr == pytest.approx(mean_error(errors) / variance)
    still = evaluate(quantized(), torch.ones(3, 1, 8, 8))["relative_mse"]
    assert still.value is None
    assert "vary" in str(still.reason)


def test_scores_take_the_elbo_and_say_so() -> None:
    model = quantized(learned=True)
    found = score(model, X, X, max_examples=20)
    own = evaluate(model, X)
    np.testing.assert_allclose(
        found.per_example["nll"], -own.per_example["elbo"][found.per_example["index"]], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.per_example["prior"], own.per_example["rate"][found.per_example["index"]], rtol=1e-6
    )
    assert "ELBO" in found.estimates["nll"].estimator
    assert found.estimates["regret"].value is None
    assert found.estimates["mahalanobis"].value is None
    uniform = score(quantized(), X, X, scores=["prior"], max_examples=20)
    assert uniform.estimates["prior"].value is None  # the same for all


def test_comparison_with_a_model_that_has_an_iwae_bound() -> None:
    torch.manual_seed(0)
    plain = tb.VAE.for_data(tb.data.open(X), latent=2, network="mlp(hidden=(4,))").eval()
    found = result_of(compare({"vq": quantized(), "vae": plain}, X, samples=20), "x")
    own, other = evaluate(quantized(), X), evaluate(plain, X, samples=20)
    between = found.between("vq", "vae", "iwae")
    assert between.difference.value == pytest.approx(
        (own.per_example["elbo"] - other.per_example["iwae"]).mean(), rel=1e-5
    )
    assert "ELBO of vq" in between.difference.description
    assert found.runs["vq"]["iwae"].value == pytest.approx(own["elbo"].value)
    alone = difference("a", "b", "iwae", own, own)
    assert alone.difference.value is None
    assert "function of it" in str(alone.difference.reason)


def test_a_deterministic_posterior_cannot_be_fitted() -> None:
    with pytest.raises(CompositionError, match="function of it"):
        inference_gap(quantized(), X[:4], samples=5, steps=2)


def case_of(model: VAE, config: dict[str, Any] | None = None) -> Case:
    data = tb.data.open(X)
    return Case(model, data.whole, data.whole, config or {"latents": "quantized"}, max_examples=40, samples=5)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "quantizer", ["vq(codebook_size=5)", "fsq(levels=(3,3))", "residual(depth=2)", "grouped(of='vq')"]
)
def test_every_check_answers_or_says_why_not(quantizer: str, learned: bool) -> None:
    found = diagnose(case_of(quantized(quantizer, learned)))
    json.dumps(found.to_json(), allow_nan=False)
    for check in ("holes", "inactive-units", "amortization-gap", "posterior-too-wide", "posterior-too-narrow"):
        assert check in found.skipped
    assert ("nothing-learned" in found.skipped) != learned
    evidence = found.evidence["posterior-collapse"]["mutual_information"]
    assert evidence.value is not None
    assert scalar(evidence) <= math.log(40) + 1e-9
    assert ("code-prior" in [f.name for f in found.findings]) or learned
    assert found.evidence["codebook-collapse"]["bits_by_level"].value is not None


def test_constant_code_indices_of_data_without_dependence_are_codebook_collapse_alone() -> None:
    model = quantized()
    for level in model.latents.levels:
        level.quantizer.codebook[1:] = 1e3
    found = diagnose(case_of(model))
    severity = {f.name: f.severity for f in found.findings}
    assert severity["codebook-collapse"] == "severe"
    assert "posterior-collapse" not in severity  # the elements of X are independent: there is nothing to encode
    assert scalar(found["posterior-collapse.mutual_information"]) == 0
    remedy = next(f for f in found.findings if f.name == "codebook-collapse").remedy
    assert remedy == {"latents": "quantized(quantizer='fsq')"}
    tb.VAE.for_data(tb.data.open(X), latent=4, network="resnet(halvings=(1,1), hidden=8, inner=4, blocks=1)", **remedy)


def test_a_level_by_itself_is_named() -> None:
    model = quantized()
    model.latents.levels[1].quantizer.codebook[1:] = 1e3
    found = {f.name: f for f in diagnose(case_of(model)).findings}["codebook-collapse"]
    assert "of level 2" in found.description
    assert found.evidence["bits_by_level"].value[1] == 0 < found.evidence["bits_by_level"].value[0]


def test_levels_below_are_drawn_given_those_that_are_kept() -> None:
    model = quantized(learned=True)
    codes, _, _ = codes_of(model)
    flat = torch.cat(
        [level.quantizer.embed(c).flatten(1) for level, c in zip(model.latents.levels, codes, strict=True)], 1
    )
    with torch.no_grad():
        again = [
            model.latents.nearest_indices(
                model.latents.complete(model.latents.nearest_indices(flat)[1:], Noise("redraw", i))
            )
            for i in range(2)
        ]
        assert torch.equal(model.latents.complete(model.latents.nearest_indices(flat), Noise()), flat)
    assert torch.equal(again[0][1], codes[1])
    assert torch.equal(again[1][1], codes[1])
    assert not torch.equal(again[0][0], again[1][0])


def test_the_command_line(cli: Callable[..., Result]) -> None:
    np.save("x.npy", X.numpy().astype(np.uint8))
    made = cli("train", "x.npy", "--latents", "quantized(quantizer='vq(codebook_size=5)')", "--network",
               "resnet(halvings=(1,1), hidden=8, inner=4, blocks=1)", "--latent", "4", "--epochs", "1",
               "--run", "run")  # fmt: skip
    assert made.status == 0, made.err
    assert "code-prior" in made.out
    assert "elbo" in made.out
    assert "the one value of z each" in " ".join(made.out.split())
    refused = cli("ais", "run", "--temperatures", "2")
    assert refused.status == 2
    assert len(refused.err.splitlines()) == 1
