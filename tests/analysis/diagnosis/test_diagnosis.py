"""Each check on models that are built with or without the failure."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from conftest import Result
from laws.linear import Linear, linear_gaussian
from tightbound.analysis import Estimate
from tightbound.analysis.diagnosis.checks.units import InactiveUnits
from tightbound.analysis.diagnosis.checks.width import TooNarrow, TooWide
from tightbound.analysis.diagnosis.engine import Case, Check, diagnose
from tightbound.analysis.diagnosis.findings import Diagnosis, Finding
from tightbound.analysis.diagnosis.independence import independent
from tightbound.analysis.diagnosis.worth import exchange
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.core.domain import BINARY, REAL, Domain
from tightbound.core.terms import Batch
from tightbound.data.splits.indexed import ArraySplit
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Gaussian, Identity
from tightbound.model import VAE
from tightbound.posteriors import DiagonalNormal, RelaxedCategorical
from tightbound.priors import CategoricalPrior, StandardNormal


def drawn(linear: Linear, n: int = 600, seed: int = 0) -> np.ndarray:
    """(n, D) data of the model."""
    generator = torch.Generator().manual_seed(seed)
    z, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (linear.w.shape[1], len(linear.w)))
    return (z @ linear.w.T + linear.m + linear.sigma * e).numpy()


def case_of(model: VAE, train: np.ndarray, test: np.ndarray, **more: Any) -> Case:
    return Case(model, ArraySplit(train), ArraySplit(test), **more)


def of_linear(linear: Linear, **more: Any) -> Case:
    return case_of(linear.model, drawn(linear), drawn(linear, seed=1), **more)


def names(found: Diagnosis) -> set[str]:
    return {finding.name for finding in found.findings}


def weighted(beta: float) -> Linear:
    """The linear model with the posterior that minimizes D + beta R."""
    linear = linear_gaussian(d=8, latent=3)
    noise = beta * linear.sigma**2
    precision = linear.w.square().sum(0) + noise
    head = linear.model.latents.posterior.network[-1]
    with torch.no_grad():
        head.weight[:3] = linear.w.T / precision[:, None]
        head.bias[:3] = -(linear.w.T @ linear.m) / precision
        head.bias[3:] = math.log(noise) - precision.log()
    return linear


def ignoring() -> Linear:
    """The posterior is the prior, and the decoder looks at no z."""
    linear = linear_gaussian()
    with torch.no_grad():
        linear.model.likelihood.network.weight.zero_()
        for tensor in linear.model.latents.posterior.network[-1].parameters():
            tensor.zero_()
    return linear


@pytest.mark.parametrize("progress", [False, True])
def test_the_check_that_is_made_is_shown(progress: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", shown := Terminal())
    diagnose(of_linear(linear_gaussian()), (InactiveUnits(),), progress=progress)
    assert (InactiveUnits.name in shown.getvalue()) == progress


def test_an_exact_posterior_is_healthy() -> None:
    found = diagnose(of_linear(linear_gaussian(d=8, latent=3)))
    assert found.findings == ()
    assert {"posterior-collapse", "posterior-too-wide", "variance-collapse", "overfitting"} <= set(found.checked)
    assert found.verdict == f"Healthy: {len(found.checked)} checks of 600 test examples found nothing."


def test_a_posterior_that_is_the_prior_is_collapse() -> None:
    found = diagnose(of_linear(ignoring()))
    (collapse,) = found.findings
    assert (collapse.name, collapse.severity) == ("posterior-collapse", "severe")
    for name in ("rate", "mutual_information", "swapped_code"):
        assert abs(scalar(collapse.evidence[name])) < 1e-9
    assert scalar(collapse.evidence["dependence"]) > 0.3
    assert "posterior-too-wide" in found.skipped  # there is no rate to weigh
    assert collapse.remedy == {"objective": "free-bits(0.5)"}


def test_a_model_that_is_worse_than_one_without_z_has_learned_nothing() -> None:
    linear = linear_gaussian(d=8, latent=3)
    with torch.no_grad():
        for tensor in linear.model.latents.posterior.network[-1].parameters():
            tensor.zero_()
    assert names(diagnose(of_linear(linear))) == {"nothing-learned", "posterior-collapse"}


@pytest.mark.parametrize(
    ("beta", "name", "severity"),
    [
        (1 / 64, "posterior-too-narrow", "severe"),
        (1 / 6, "posterior-too-narrow", "moderate"),
        (1.0, None, None),
        (3.0, "posterior-too-wide", "mild"),
        (8.0, "posterior-too-wide", "moderate"),
    ],
)
def test_the_exchange_rate_is_the_weight_of_the_rate(beta: float, name: str | None, severity: str | None) -> None:
    """Closed form: the posterior that minimizes D + beta R has -dD/dR = beta."""
    case = of_linear(weighted(beta))
    rate = case.exchange.rate
    assert abs(scalar(rate) - beta) < 3 * scalar_error(rate) + 0.05 * beta
    assert scalar_error(rate) < 0.2 * beta
    found = diagnose(case, [TooWide(), TooNarrow()]).findings
    assert [(f.name, f.severity) for f in found] == ([] if name is None else [(name, severity)])


def test_rescaling_gains_the_cost_of_a_wrong_width() -> None:
    """Posterior noise e times too wide costs, in closed form, sum (e^2 - 1) / 2 - 1 nats with the exact posterior."""
    linear = linear_gaussian(d=8, latent=3)
    with torch.no_grad():
        linear.model.latents.posterior.network[-1].bias[3:] += 2.0  # log variance
    gain = of_linear(linear).exchange.gain
    assert abs(scalar(gain) - 3 * ((math.e**2 - 1) / 2 - 1)) < 4 * scalar_error(gain)
    right = of_linear(linear_gaussian(d=8, latent=3)).exchange.gain
    assert (scalar(right), scalar_error(right)) == (0, 0)
    assert "noise scaled by 1," in right.estimator  # it was tried, and is the best


def test_the_exchange_rate_does_not_depend_on_the_batch_size() -> None:
    linear = weighted(2.0)
    case = of_linear(linear)
    parts = exchange(linear.model, case.train_data, case.train_codes, max_rows=70)
    assert parts.rate.value == pytest.approx(case.exchange.rate.value, rel=1e-9)


def test_independent_elements_cost_what_scipy_says() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.normal(2, 3, (50, 2)), rng.normal(2, 3, (7, 2))
    got = independent(Batch(torch.tensor(x)), Batch(torch.tensor(new)), REAL)
    np.testing.assert_allclose(got, -stats.norm(x.mean(0), x.std(0)).logpdf(new).sum(1), rtol=1e-9)
    ones, few = (torch.tensor(rng.integers(0, 2, (n, 3)), dtype=torch.float32) for n in (40, 5))
    p = (ones.double().sum(0).numpy() + 0.5) / 41
    got = independent(Batch(ones), Batch(few), BINARY)
    np.testing.assert_allclose(got, -stats.bernoulli(p).logpmf(few.numpy()).sum(1), rtol=1e-9)
    # expected binarization: linear in the gray value between the two
    gray = independent(Batch(ones), Batch(torch.full((1, 3), 0.25)), BINARY)
    ends = [independent(Batch(ones), Batch(torch.full((1, 3), v)), BINARY) for v in (0.0, 1.0)]
    np.testing.assert_allclose(gray, 0.75 * ends[0] + 0.25 * ends[1], rtol=1e-9)
    levels = torch.tensor([[0.0], [0.0], [2.0]])
    got = independent(Batch(levels), Batch(torch.tensor([[0.0], [1.0], [2.0]])), Domain("levels", 4))
    np.testing.assert_allclose(np.exp(-got), np.array([2.5, 0.5, 1.5]) / 5)


def test_missing_elements_cost_nothing() -> None:
    table = Domain("mixed", columns=(REAL, BINARY))
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 1.0]])
    mask = torch.tensor([[True, True], [True, True], [False, True]])
    whole = independent(Batch(x, mask=mask), Batch(x[:1]), table)
    hidden = independent(Batch(x, mask=mask), Batch(x[:1], mask=torch.tensor([[False, True]])), table)
    expected = -stats.norm(0.5, 0.5).logpdf(0.0)  # of the two that are observed
    np.testing.assert_allclose(whole - hidden, expected, rtol=1e-9)


def gaussian(scale: float) -> VAE:
    """Four real elements, decoded from two latents with this fixed scale."""
    posterior = DiagonalNormal((4,), 2, nn.Flatten())
    return VAE(Flat(StandardNormal(2), posterior), Gaussian((4,), 2, nn.Linear(2, 4), scale=scale), Identity()).double()


def test_a_scale_below_the_distance_of_the_levels_is_variance_collapse() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 5, (400, 4)) / 4.0
    checks = ["tightbound.analysis.diagnosis.checks.variance:VarianceCollapse"]
    (finding,) = diagnose(case_of(gaussian(0.01), levels, levels), checks).findings
    assert finding.severity == "severe"
    assert scalar(finding.evidence["resolution"]) == 0.25
    assert scalar(finding.evidence["too_fine"]) == 1
    assert not diagnose(case_of(gaussian(0.6), levels, levels), checks).findings
    # the peak of a Gaussian of 0.12 gives a value 0.25 wide a probability of 0.83: it has not run away
    for scale, share in ((0.12, 0.0), (0.09, 1.0)):
        found = diagnose(case_of(gaussian(scale), levels, levels), checks)
        assert scalar(found.evidence["variance-collapse"]["too_fine"]) == share
    constant = np.column_stack([rng.normal(size=(400, 3)), np.full(400, 3.0)])
    for scale, share in ((0.01, 0.25), (0.6, 0.0)):  # nothing repeats but what never varies
        found = diagnose(case_of(gaussian(scale), constant, constant), checks)
        assert scalar(found.evidence["variance-collapse"]["too_fine"]) == share
    smooth = rng.normal(size=(400, 4))  # no two values are the same: no scale is too fine, but errors may be too large
    (finding,) = diagnose(case_of(gaussian(0.01), smooth, smooth), checks).findings
    assert scalar(finding.evidence["too_fine"]) == 0
    assert scalar(finding.evidence["squared_errors"]) > 4


@pytest.mark.parametrize("likelihood", ["gaussian(scale=0.01)", "continuous-bernoulli", "auto"])
def test_the_remedy_of_variance_collapse_is_another_likelihood(likelihood: str) -> None:
    """Data in [0, 1] of which most are 0: the density that suits them grows without limit, too."""
    x = np.where(np.random.default_rng(0).random((60, 4)) < 0.02, 0.5, 0.0)
    model = VAE.for_data(x, latent=2, network="mlp(hidden=(4,))", likelihood=likelihood, start_at_data=False)
    with torch.no_grad():
        for bias in model.likelihood.parameters():
            bias.fill_(-500.0) if bias.dim() == 1 and likelihood != "gaussian(scale=0.01)" else bias.zero_()
    checks = ["tightbound.analysis.diagnosis.checks.variance:VarianceCollapse"]
    (finding,) = diagnose(case_of(model, x, x), checks).findings
    assert scalar(finding.evidence["too_fine"]) > 0
    if likelihood.startswith("gaussian"):
        assert finding.remedy == {"likelihood": "continuous-bernoulli"}
    else:
        assert finding.remedy == {}
        assert "give them as whole numbers" in finding.description


def test_columns_that_one_scale_would_not_cure_are_named() -> None:
    rng = np.random.default_rng(0)
    rare = np.where(rng.random(400) < 0.02, 9.0, 0.0)
    x = np.column_stack([rng.normal(size=(400, 3)) * 0.3, rare])
    checks = ["tightbound.analysis.diagnosis.checks.variance:VarianceCollapse"]
    (finding,) = diagnose(case_of(gaussian(0.4), x, x), checks).findings
    assert finding.evidence["which"].value == [3.0]
    assert (scalar(finding.evidence["fine_scale"]), scalar(finding.evidence["resolution"])) == (pytest.approx(0.4), 9)
    assert finding.remedy == {}
    assert "in the worst 0.4, where neighboring values are 9 apart" in finding.description
    assert "(from 0: 3)" in finding.description


def test_a_hierarchy_is_not_weighed_by_rescaling_it() -> None:
    """Lower groups' posteriors follow the draws of higher ones, which no common scale respects."""
    from tightbound.latents import Ladder

    x = np.random.default_rng(0).normal(size=(60, 4))
    torch.manual_seed(0)
    latents = Ladder((4,), latent=2, network=nn.Flatten(), groups=2)
    likelihood = Gaussian((4,), latents.features, nn.Linear(latents.features, 4))
    found = diagnose(case_of(VAE(latents, likelihood, Identity()).double(), x, x), CHECKS_OF_RATE)
    assert set(found.skipped) == {"posterior-too-wide", "posterior-too-narrow"}


def test_codes_of_classes_are_not_inactive_for_their_small_variance() -> None:
    x = np.random.default_rng(0).integers(0, 2, (60, 6)).astype(float)
    found = diagnose(case_of(categorical(1.0), x, x), ["tightbound.analysis.diagnosis.checks.units:InactiveUnits"])
    assert "inactive-units" in found.skipped


def test_the_first_few_examples_represent_all() -> None:
    """Data are often ordered by class: what looks at the first hundred of them would look at one class."""
    x = np.sort(np.random.default_rng(0).normal(size=(600, 6)), axis=0)
    case = case_of(linear_gaussian().model, x, x)
    first = case.test_data[:50].positions().double()
    assert abs(first.mean() - 300) < 100
    assert first.std() > 100


def test_a_model_that_knows_less_than_frequencies_has_learned_nothing() -> None:
    checks = ["tightbound.analysis.diagnosis.checks.fit:NothingLearned"]
    x = (np.random.default_rng(0).random((400, 6)) < 0.05).astype(float)
    torch.manual_seed(0)
    posterior = DiagonalNormal((6,), 2, nn.Flatten())
    fresh = VAE(Flat(StandardNormal(2), posterior), Bernoulli((6,), 2, nn.Linear(2, 6)), Identity("binary"))
    (finding,) = diagnose(case_of(fresh, x, x, config={"epochs": 2}), checks).findings
    assert finding.severity == "severe"
    assert finding.remedy == {"epochs": 4}
    (finding,) = diagnose(case_of(fresh, x, x, config={"lr": 0.3}), checks).findings
    assert finding.remedy == {"lr": "auto"}
    with torch.no_grad():  # decoding nothing but the frequencies, of a posterior that is the prior
        for tensor in (*fresh.likelihood.parameters(), *posterior.parameters()):
            tensor.zero_()
        p = torch.tensor(x.mean(0))
        next(m for m in fresh.likelihood.modules() if isinstance(m, nn.Linear)).bias.copy_((p / (1 - p)).log())
    assert not diagnose(case_of(fresh, x, x), checks).findings
    assert "nothing-learned" in diagnose(case_of(fresh, x, x, config={"beta": "50"}), checks).skipped


CHECKS_OF_RATE = [f"tightbound.analysis.diagnosis.checks.width:Too{kind}" for kind in ("Wide", "Narrow")]


def categorical(spread: float) -> VAE:
    """Three codes of four classes; with spread 0 every example has the first class of each."""
    posterior = RelaxedCategorical((6,), 12, nn.Flatten(), groups=3)
    model = VAE(Flat(CategoricalPrior(12, 3), posterior), Bernoulli((6,), 12, nn.Linear(12, 6)), Identity("binary"))
    head = posterior.network[-1]
    with torch.no_grad():
        head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0)).mul_(spread)
        head.bias.zero_()
        head.bias[::4] = 0.0 if spread else 20.0
    return model


def test_codes_that_never_change_are_codebook_collapse() -> None:
    x = np.random.default_rng(0).integers(0, 2, (300, 6)).astype(np.float32)
    checks = ["tightbound.analysis.diagnosis.checks.codebook:CodebookCollapse"]
    (finding,) = diagnose(case_of(categorical(0.0), x, x), checks).findings
    assert finding.severity == "severe"
    assert scalar(finding.evidence["used"]) == 3
    assert finding.evidence["perplexity"].value == pytest.approx([1, 1, 1])
    found = diagnose(case_of(categorical(2.0), x, x), checks)
    assert not found.findings
    assert "codebook-collapse" in diagnose(of_linear(linear_gaussian()), checks).skipped


def test_learning_that_does_not_hold_on_test_data_is_overfitting() -> None:
    linear = linear_gaussian(d=8, latent=3)
    other = drawn(linear, seed=1)
    for column in other.T:  # the same marginals without the dependence that the model has learned
        np.random.default_rng(int(abs(column[0]) * 1e6)).shuffle(column)
    checks = ["tightbound.analysis.diagnosis.checks.overfitting:Overfitting"]
    (finding,) = diagnose(case_of(linear.model, drawn(linear), other), checks).findings
    assert finding.severity == "severe"
    assert scalar(finding.evidence["share_that_holds"]) < 0
    assert not diagnose(of_linear(linear), checks).findings


def test_a_loss_that_falls_in_a_straight_line_has_not_settled() -> None:
    checks = ["tightbound.analysis.diagnosis.checks.training:Undertrained"]

    def verdict(losses: np.ndarray) -> Diagnosis:
        rows = [{"stage": "", "epoch": i, "validation_loss": float(loss)} for i, loss in enumerate(losses)]
        return diagnose(of_linear(linear_gaussian(), metrics=rows, config={"epochs": 20}), checks)

    steps = np.arange(20)
    (finding,) = verdict(100.0 - steps).findings
    assert finding.remedy == {"epochs": 40}
    assert not verdict(100 * np.exp(-steps / 4)).findings
    assert not verdict(np.full(20, 7.0)).findings
    assert "undertrained" in verdict(steps[:3].astype(float)).skipped


def test_weights_that_are_nan_end_the_diagnosis() -> None:
    linear = linear_gaussian()
    with torch.no_grad():
        linear.model.likelihood.network.bias[0] = torch.nan
    found = diagnose(of_linear(linear))
    assert names(found) == {"not-finite"}
    assert found.checked == ("not-finite",)
    assert set(found.skipped.values()) == {"nothing else can be measured after not-finite"}
    assert json.dumps(found.to_json(), allow_nan=False)


def test_a_group_that_carries_nothing_is_a_finding_and_surplus_dimensions_are_not() -> None:
    case = of_linear(linear_gaussian())
    facts: Any = {"n": 9, "estimator": "", "target": ""}
    some = {"inactive": Estimate(1.0, None, unit="", **facts)}
    assert InactiveUnits().judge(some, case) is None
    groups = {"rate_by_group": Estimate([5.0, 0.01, 2.0], [0.1] * 3, unit="nats", **facts)}
    finding = InactiveUnits().judge(some | groups, case)
    assert finding is not None
    assert "numbers 2," in finding.description


def test_an_autoencoder_is_asked_what_it_can_answer(cli: Callable[..., Result]) -> None:
    words = ("--network", "mlp(hidden=(16,))", "--latent", "2", "--epochs", "1", "--evaluate-samples", "0")
    cli("train", "digits", "--posterior", "point", "--objective", "autoencoder", *words, "--run", "ae")
    found = json.loads(cli("diagnose", "ae", "--json").out)
    assert {"posterior-collapse", "posterior-too-wide", "overfitting"} <= set(found["details"]["skipped"])
    assert {"not-finite", "inactive-units"} <= set(found["details"]["checked"])


def test_the_command_line_says_the_same_in_words_json_and_report(cli: Callable[..., Result], run: Path) -> None:
    few = ("--max-examples", "40")
    found = json.loads(cli("diagnose", run, *few, "--json").out)
    recorded = json.loads((run / "analysis/diagnose.json").read_text())
    for key in ("sentences", "estimates", "remedy", "details"):
        assert recorded[key] == found[key]
    again = Diagnosis.from_json(recorded)
    assert [finding.name for finding in again.findings] == [finding["name"] for finding in found["details"]["findings"]]
    assert set(again.evidence) == set(again.checked)
    shown = cli("diagnose", run, *few)
    assert shown.status == 0
    assert found["details"]["verdict"] in shown.out
    if "command" in found:
        assert found["command"] in shown.out
    cli("report", run, "--quick")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert found["details"]["verdict"] in page


def test_other_data_leave_no_diagnosis_in_the_run(cli: Callable[..., Result], run: Path) -> None:
    before = (run / "analysis/diagnose.json").read_bytes()
    assert cli("diagnose", run, "--split", "train", "--max-examples", "50").status == 0
    assert (run / "analysis/diagnose.json").read_bytes() == before


def test_refused(refused: Callable[..., str], run: Path) -> None:
    assert "--max-examples 1" in refused("diagnose", run, "--max-examples", "1")


def test_a_check_of_ones_own_is_made() -> None:
    class Always(Check):
        """Finds the same in every model."""

        name = "always"
        question = "Is there a model?"

        def measure(self, case: Case) -> dict[str, Estimate]:
            return {"models": Estimate(1.0, None, 1, "models", "count", "the model")}

        def judge(self, evidence: Any, case: Case) -> Finding:
            return Finding(self.name, "mild", evidence, "There is a model.", {"epochs": 1})

    found = diagnose(of_linear(linear_gaussian()), [Always()])
    assert found.sentences == [
        "Found by 1 check of 600 test examples: always (mild).",
        "always (mild): There is a model. Remedy: set epochs to 1.",
    ]
    assert found["always.models"].value == 1
    assert found.remedy == {"epochs": 1}
    assert found.tables[0].rows == [["always", "mild", "Is there a model?", "models 1 models"]]
