"""Every analysis of the table: on a tiny model, from Python and as JSON, on an array and on `Data`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

import tightbound as tb
from tightbound.analysis import record
from tightbound.analysis.base import Analysis
from tightbound.analysis.result import Result
from tightbound.analysis.table import analyses
from tightbound.core.errors import InputError

SMALL: dict[str, dict[str, Any]] = {
    "evaluate": {"samples": 3},
    "ais": {"temperatures": 3, "chains": 2, "leapfrog": 1, "samples": 3, "max_examples": 4},
    "inference-gap": {"samples": 3, "steps": 2, "max_examples": 4},
    "diagnose": {"max_examples": 60, "samples": 3, "quick": True},
    "quality": {"n_samples": 40, "features": "pca(components=3)"},
    "memorization": {"n_samples": 40},
    "holes": {"n_samples": 100},
    "paths": {"pairs": 5, "steps": 4},
    "probe": {"max_examples": 80},
    "attribute": {"label": 1, "max_examples": 20, "rows": 2},
    "score": {"scores": ("elbo",), "samples": 3, "max_examples": 20},
    "detect": {"scores": ("elbo",), "samples": 3, "max_examples": 20},
    "compare": {"samples": 3, "max_examples": 20},
}
# detect() compares the model's own test data with other examples
CASES = [(name, form) for name in analyses() for form in ("data", "array") if (name, form) != ("detect", "data")]
QUANTIZED = {"latents": "quantized(quantizer='vq(codebook_size=5)')", "latent": 4}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIGHTBOUND_DATA", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data() -> tb.data.Data:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 160)
    x = (random.random((160, 8, 8)) < 0.3 + 0.4 * labels[:, None, None]).astype(np.uint8) * 16
    x[0, 0] = np.arange(8) * 2
    return tb.data.open(x, levels=17, labels=labels, test=0.4)


@pytest.fixture(scope="module")
def models(data: tb.data.Data) -> dict[str, tb.Trained]:
    metrics = [{"epoch": 1, "step": 3, "train_loss": 2.0, "validation_loss": 2.1}]
    plain = {"latent": 2, "network": "mlp(hidden=(8,))"}
    parts: dict[str, dict[str, Any]] = {
        "plain": plain, "code-usage": QUANTIZED, "classify": {**plain, "context": "inferred-labels"}
    }  # fmt: skip
    return {name: tb.Trained(tb.VAE.for_data(data, **each), data, metrics=metrics) for name, each in parts.items()}


@pytest.mark.parametrize(("name", "form"), CASES)
def test_each_analysis_answers_from_an_array_and_from_data(
    name: str, form: str, data: tb.data.Data, models: dict[str, tb.Trained]
) -> None:
    analysis = analyses()[name]
    trained = models.get(name, models["plain"])
    options = {**SMALL.get(name, {}), **({"others": (models["plain"],)} if name == "compare" else {})}
    test = next(data.require_test().epoch(100))
    given = data if form == "data" else test.x.numpy().astype(np.uint8)
    if form == "array" and name in ("probe", "attribute"):
        given = (given, test.label.numpy())  # these need labels
    result = getattr(trained, name.replace("-", "_"))(given, **options)
    assert isinstance(result, Result)
    assert result.estimates or result.figures or result.tables
    for estimate in result.estimates.values():
        assert estimate.value is not None or estimate.reason
        assert estimate.description
    written = json.loads(json.dumps(record.as_json(analysis(**options), result), allow_nan=False))
    again = Result.from_json(written)
    assert again.estimates == dict(result.estimates)
    assert [figure.name for figure in again.figures] == [figure.name for figure in result.figures]
    assert list(again.sentences) == list(result.sentences)


@pytest.mark.parametrize("name", analyses())
def test_each_analysis_describes_itself_and_checks_its_options(name: str) -> None:
    analysis: type[Analysis] = analyses()[name]
    assert analysis.question.endswith("?")
    assert analysis.group in ("look", "judge")
    given = {"label": 1, "others": ("a run",)}
    required = {option.name: given[option.name] for option in dataclasses.fields(analysis) if option.name in given}
    for option in dataclasses.fields(analysis):
        assert option.kw_only
        if option.type == "int" and option.name not in required:
            with pytest.raises(InputError, match=option.name):
                analysis(**{**required, option.name: -1})
