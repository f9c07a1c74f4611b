"""Each analysis in the table runs on a tiny model: from Python on an array and on data, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import tightbound as tb
from tightbound.analysis import record
from tightbound.analysis.result import Result
from tightbound.analysis.table import analyses

FEW: dict[str, dict[str, Any]] = {
    "evaluate": {"samples": 3},
    "diagnose": {"max_examples": 60, "samples": 3},
    "probe": {"max_examples": 60, "samples": 2},
    "attribute": {"label": 3, "max_examples": 5},
    "score": {"samples": 2, "max_examples": 10, "scores": ("nll", "mahalanobis")},
    "detect": {"samples": 2, "max_examples": 10, "scores": ("nll", "mahalanobis")},
    "compare": {"samples": 2, "max_examples": 10},
}
"""Options that make an analysis fast, by its name."""


@pytest.fixture(scope="module")
def trained() -> tb.Trained:
    data = tb.data.open("digits")
    return tb.fit(tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))"), data, steps=20, quiet=True)


def options(name: str, trained: tb.Trained) -> Mapping[str, Any]:
    """Fast options of an analysis."""
    return FEW.get(name, {}) | ({"others": (tb.Trained(trained.model, trained.data),)} if name == "compare" else {})


@pytest.mark.parametrize("name", [name for name in analyses() if name in FEW])
def test_an_analysis_answers_about_data_and_survives_json(name: str, trained: tb.Trained) -> None:
    analysis = analyses()[name](**options(name, trained))
    data = tb.data.open("digits")
    given = data.train if analysis.data == "required" else data
    result = trained.analyze(analysis, given)
    assert result.caption
    assert result.estimates
    written = record.as_json(analysis, result)
    again = Result.from_json(json.loads(json.dumps(written, allow_nan=False)))
    assert again.estimates == result.estimates
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())
    assert [figure.name for figure in again.figures] == [figure.name for figure in result.figures]


@pytest.mark.parametrize("name", [name for name, each in analyses().items() if name in FEW and not each.splits])
def test_an_analysis_answers_about_an_array(name: str, trained: tb.Trained) -> None:
    x = next(tb.data.open("digits").test.epoch(20, key=("test",))).x.numpy()  # pyright: ignore
    result = getattr(trained, name.replace("-", "_"))(x, **options(name, trained))
    assert result.estimates
