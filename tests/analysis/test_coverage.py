"""Law 9 over whole analyses: each standard error that an analysis prints covers, on data of a known model.

The model is the linear-Gaussian one with an inexact posterior, and the data are drawn from it. The truth is the answer
for a large data set, where that is much more certain than those for small ones. For estimates that look at few examples
or draws however many are given, it is the mean of the answers, which shows errors that are too small, but no bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.result import Result
from tightbound.analysis.table import analyses

LINEAR, OTHER = linear_gaussian(off=0.3), linear_gaussian(off=0.6)
RUNS, N, LARGE = 300, 60, 4000


def examples(n: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return (z @ LINEAR.w.T + LINEAR.m + LINEAR.sigma * noise).numpy()


def model(linear: Any, n: int = 300, seed: int = 10**6) -> tb.Trained:
    return tb.Trained(linear.model, (examples(n, seed), examples(n, seed + 1)))


def flat(value: Any) -> Any:
    return np.ravel(value)


class Case(NamedTuple):
    ask: Callable[[tb.Trained, Any, int], Result]
    large: int = LARGE
    least: float = 0.90  # 0.93, less two standard errors of a share of 300 data sets


CASES = {
    "evaluate": Case(lambda t, x, s: t.evaluate(x, samples=20, seed=s)),
    "inference-gap": Case(lambda t, x, s: t.inference_gap(x, samples=20, steps=5, max_examples=10**4, seed=s)),
    "compare": Case(lambda t, x, s: t.compare(x, others=(model(OTHER),), samples=20, max_examples=10**4, seed=s)),
    "ais": Case(
        lambda t, x, s: t.ais(x, temperatures=4, chains=2, leapfrog=1, samples=20, max_examples=10**4, seed=s), 2000
    ),
    "holes": Case(lambda t, x, s: t.holes(x, n_samples=300, seed=s)),
    "paths": Case(lambda t, x, s: t.paths(x, pairs=10**4, steps=4, seed=s)),
}
# estimates that are about the given data or say what their error leaves out, with the words that say so
HONEST = {
    "relative_mse": "its own error is not counted",
    **dict.fromkeys(
        ("mutual_information", "information_upper", "aggregate_kl", "total_correlation", "dimension_wise_kl",
         "marginal_kl"),
        "q(z|x) over",
    ),
}  # fmt: skip
ELSEWHERE = {
    "rate-decomposition": "the same estimates as those of evaluate()",
    "detect": "tests/analysis/detection/test_areas.py, and means in tests/analysis/test_estimate.py",
    "score": "no estimates over examples but those of evaluate()",
    "quality": "tests/analysis/samples/test_two_sample.py",
    "memorization": "tests/analysis/samples/test_memorization.py",
    "probe": "accuracy and R^2 in tests/analysis/test_estimate.py",
    "classify": "accuracy and means in tests/analysis/test_estimate.py",
    "attribute": "accuracy in tests/analysis/test_estimate.py",
    "diagnose": "evidence is made of the other analyses",
    "gallery": "no numbers",
    "latent-space": "no numbers",
    "code-usage": "counts",
    "training-curves": "no numbers",
}


def test_each_analysis_has_a_case_or_a_reason() -> None:
    assert {*CASES, *ELSEWHERE} == set(analyses())
    assert not {*CASES} & {*ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_standard_errors_of_analyses_cover(name: str) -> None:
    case, trained = CASES[name], model(LINEAR)
    large = case.ask(trained, examples(case.large, 10**7), 10**7).estimates
    runs = [case.ask(trained, examples(N, i), i).estimates for i in range(RUNS)]
    failed = {}
    for key, truth in large.items():
        known = [run[key] for run in runs if run[key].value is not None and run[key].stderr is not None]
        if truth.value is None or len(known) < RUNS / 2:
            continue
        if (words := HONEST.get(key)) is not None:
            assert words in f"{truth.estimator} {truth.target}"
            continue
        values = np.array([flat(each.value) for each in known])
        errors = np.array([flat(each.stderr) for each in known])
        center = flat(truth.value)
        if truth.stderr is None or (flat(truth.stderr) > np.median(errors, 0) / 5).any():
            center = values.mean(0)
        room = 1e-5 * np.abs(center) + 1e-6  # rounding, as of the second differences of a straight path
        covered = (np.abs(values - center) <= 1.96 * errors + room).mean(0)
        if covered.min() < case.least:
            failed[key] = covered.round(3).tolist()
    assert not failed, failed
