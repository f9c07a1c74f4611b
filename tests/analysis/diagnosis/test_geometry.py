"""The checks of holes, encoder and copies, on models that are known to be wrong and to be right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laws.linear import Linear, linear_gaussian
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.overfitting import EncoderOverfitting
from tightbound.analysis.diagnosis.checks.samples import CopiedSamples
from tightbound.analysis.diagnosis.engine import Case, diagnose
from tightbound.analysis.diagnosis.findings import Finding
from tightbound.analysis.estimate import Estimate
from tightbound.components import make
from tightbound.config import Config
from tightbound.data.splits.indexed import ArraySplit

CHECKS = [
    "tightbound.analysis.diagnosis.checks.samples:PriorHoles",
    "tightbound.analysis.diagnosis.checks.overfitting:EncoderOverfitting",
    "tightbound.analysis.diagnosis.checks.samples:CopiedSamples",
]
CONFIG: dict[str, Any] = {"network": "mlp(hidden=(32,))", "prior": "normal", "latents": "flat"}


def case_of(linear: Linear, shift: float = 0.0, n: int = 300) -> Case:
    """The model with data of its own; `shift` moves the z that they are made of."""
    generator = torch.Generator().manual_seed(0)

    def data() -> ArraySplit:
        z = shift + torch.randn(n, linear.w.shape[1], generator=generator, dtype=torch.float64)
        noise = torch.randn(n, len(linear.w), generator=generator, dtype=torch.float64)
        return ArraySplit((z @ linear.w.T + linear.m + linear.sigma * noise).numpy())

    return Case(linear.model, data(), data(), config=CONFIG, max_examples=200, samples=50)


def changed(evidence: dict[str, Estimate], **values: float) -> dict[str, Estimate]:
    return {name: replace(number, value=values.get(name, number.value)) for name, number in evidence.items()}


def test_the_true_model_gives_no_alarm() -> None:
    found = diagnose(case_of(linear_gaussian()), CHECKS)
    assert found.findings == ()
    assert found.checked == ("holes", "amortization-gap", "memorization")


def test_data_whose_codes_lie_apart_from_the_prior_are_holes() -> None:
    (finding,) = diagnose(case_of(linear_gaussian(), shift=6.0), CHECKS[:1]).findings
    assert finding.name == "holes"
    assert finding.severity == "severe"
    assert finding.remedy == {"prior": "vamp(components=30)"}
    assert "of the prior's draws" in finding.description


def test_an_encoder_that_is_right_on_training_data_alone() -> None:
    """The same encoder, but the exact evidence is subtracted: what is judged is the difference of the gaps."""
    one = case_of(linear_gaussian())
    evidence = dict(EncoderOverfitting().measure(one))
    assert evidence["overfitting"].value == pytest.approx(0, abs=0.05)
    assert EncoderOverfitting().judge(evidence, one) is None
    grades = {}
    for lost in (0.9, 1.5, 8.0, 30.0):
        found = EncoderOverfitting().judge(changed(evidence, overfitting=lost, amortization_gap=lost), one)
        grades[lost] = None if found is None else found.severity
    assert grades == {0.9: None, 1.5: "mild", 8.0: "moderate", 30.0: "severe"}
    # as much as the family costs anyway is none
    assert EncoderOverfitting().judge(changed(evidence, overfitting=8.0, approximation_gap=9.0), one) is None
    finding = EncoderOverfitting().judge(changed(evidence, overfitting=8.0), one)
    assert isinstance(finding, Finding)
    assert finding.remedy == {"network": "mlp(hidden=(32,), dropout=0.2)"}


def test_an_encoder_of_other_data_is_found_by_measurement() -> None:
    """Test data from elsewhere, where a shifted encoder is worse: its gap there is greater by a known amount."""
    linear = linear_gaussian()
    good = case_of(linear)
    network = linear.model.latents.posterior.network  # pyright: ignore[reportAttributeAccessIssue]

    class Astray(torch.nn.Module):
        """The exact encoder, but off by 1 in each mean for data on one side of a plane."""

        def forward(self, x: Tensor) -> Tensor:
            raw = network(x).unflatten(1, (2, -1)).clone()
            raw[:, 0] += (x[:, :1] > 50).to(raw)
            return raw.flatten(1)

    far = ArraySplit(good.test.batch(torch.arange(200)).x.numpy() + np.array([100.0, 0, 0, 0, 0, 0]))  # pyright: ignore
    linear.model.latents.posterior.network = Astray()  # pyright: ignore[reportAttributeAccessIssue]
    one = Case(linear.model, good.train, far, config=CONFIG, max_examples=100, samples=50)
    evidence = EncoderOverfitting().measure(one)
    precision = (linear.w.square().sum(0) + linear.sigma**2) / linear.sigma**2
    kl = 0.5 * float(precision.sum())  # of a shift by 1 in units of the posterior
    assert evidence["overfitting"].value == pytest.approx(kl, rel=0.1)
    finding = EncoderOverfitting().judge(evidence, one)
    assert finding is not None
    assert finding.name == "amortization-gap"


def test_a_decoder_that_knows_its_training_data_by_heart() -> None:
    """A prior and a likelihood so narrow that all samples are one training example, or nearly."""
    linear = linear_gaussian()
    one = case_of(linear)
    with torch.no_grad():
        linear.model.likelihood.network.weight.zero_()  # pyright: ignore
        linear.model.likelihood.network.bias.copy_(one.train.batch(torch.tensor([5])).x[0])  # pyright: ignore
    narrow = Linear(linear.model, linear.w, linear.m, 0.01)
    narrow.model.likelihood = type(linear.model.likelihood)((6,), 3, linear.model.likelihood.network, scale=0.01)  # pyright: ignore
    (finding,) = diagnose(replace(one, model=narrow.model.double()), CHECKS[2:]).findings
    assert finding.name == "memorization"
    assert finding.severity == "severe"
    assert list(finding.remedy) == ["network"]


def test_the_grades_of_copies() -> None:
    one = case_of(linear_gaussian())
    evidence = dict(CopiedSamples().measure(one))
    for z, nearer, near, grade in (
        (-9.0, 0.97, 0.4, None), (-9.0, 0.97, 0.95, "severe"), (5.0, 0.3, 0.95, "severe"), (5.0, 0.3, 0.75, "moderate"),
        (0.0, 0.5, 0.55, "mild"), (0.0, 0.5, 0.45, None),
    ):  # fmt: skip
        seen = changed(evidence, copying_z=z, nearer_than_test=nearer, too_near=near, too_near_test=0.4)
        found = CopiedSamples().judge(seen, one)
        assert (None if found is None else found.severity) == grade


@pytest.mark.parametrize(
    ("network", "decay", "options"),
    [
        ("mlp(hidden=(8,), dropout=0.4)", 0.0, {"network": "mlp(hidden=(8,), dropout=0.5)"}),
        ("conv(channels=(4,))", 0.0, {"network": "conv(channels=(4,), dropout=0.2)"}),
        ("auto", 0.05, {"optimizer": "adamw", "weight_decay": 0.5}),
    ],
)
def test_remedies_are_training_options(network: str, decay: float, options: dict[str, Any]) -> None:
    assert remedies.dropout({"network": network, "weight_decay": decay}) == options
    Config(**options)
    if "network" in options:
        make("network", options["network"])


@pytest.mark.parametrize(
    ("config", "option"),
    [({"prior": "normal"}, "prior"), ({"prior": "vamp(components=5)", "epochs": 3}, "epochs"),
     ({"latents": "ladder(groups=2)"}, "minutes")],
)  # fmt: skip
def test_holes_are_not_remedied_twice_by_the_same(config: dict[str, Any], option: str) -> None:
    one = replace(case_of(linear_gaussian()), config=config)
    assert list(remedies.fitted_prior(one)) == [option]
