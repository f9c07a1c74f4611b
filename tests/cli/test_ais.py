"""`tightbound evaluate --ais`, and what the page says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tightbound.report.ais import sections, verdict

from conftest import TINY, gray

NAMES = {"ais", "iwae_same_data", "ais_minus_iwae", "acceptance", "ess", "bdmc_lower", "bdmc_upper", "bdmc_gap"}
FAST = ("--samples", "3", "--ais", "3", "--ais-data", "4")


def test_as_json_beside_the_bound_on_the_same_data(cli: Any, run: Path) -> None:
    result = cli("evaluate", run, *FAST, "--json", "--per-example", "p.npz")
    assert result.status == 0
    numbers = json.loads(result.out, parse_constant=pytest.fail)
    assert set(numbers) > NAMES
    assert (numbers["iwae"]["n"], numbers["ais"]["n"], numbers["bdmc_gap"]["n"]) == (297, 4, 4)
    assert numbers["iwae_same_data"]["samples"] == 3
    difference = numbers["ais"]["value"] - numbers["iwae_same_data"]["value"]
    assert numbers["ais_minus_iwae"]["value"] == pytest.approx(difference)
    some = np.sort(np.random.default_rng(0).permutation(297)[:4])
    with np.load("p.npz") as file:
        assert numbers["iwae_same_data"]["value"] == pytest.approx(file["iwae"][some].mean())
    assert not (run / "analysis/ais.json").exists()


def test_as_a_table_kept_in_the_run_and_shown_on_its_page(cli: Any, run: Path) -> None:
    out = cli("evaluate", run, *FAST).out
    for name in NAMES:
        assert re.search(rf"^{name} +\S", out, flags=re.MULTILINE), name
    assert "On the same 4 data AIS says" in out.replace("\n", " ")
    kept = json.loads((run / "analysis/ais.json").read_text())
    assert set(kept["numbers"]) == NAMES
    assert cli("report", run, "--quick").status == 0
    page = (run / "report.html").read_text()
    assert "annealed importance sampling" in page
    assert "On the same 4 data AIS says" in page
    assert "bdmc" not in cli("evaluate", run, "--samples", "2").out


def test_numbers_out_of_range_are_refused(refused: Any, run: Path) -> None:
    assert "--ais = 0" in refused("evaluate", run, "--ais", "0")
    assert "--ais-data = 0" in refused("evaluate", run, "--ais", "2", "--ais-data", "0")


def test_codes_on_a_sphere_are_refused_before_anything_is_computed(cli: Any, refused: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    parts = ["--prior", "sphere", "--posterior", "power-spherical"]
    assert cli("train", "x.npy", *TINY, *parts, "--run", "sphere", "--evaluate-samples", "0").status == 0
    assert "'sphere'" in refused("evaluate", "sphere", *FAST)


def test_an_autoencoder_is_told_that_it_has_no_bound(cli: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    parts = ["--posterior", "point", "--objective", "autoencoder", "--run", "ae", "--evaluate-samples", "0"]
    assert cli("train", "x.npy", *TINY, *parts).status == 0
    assert "no IWAE bound to hold it against" in cli("evaluate", "ae", *FAST).out.replace("\n", " ")


def numbers(difference: float, stderr: float | None) -> dict[str, dict[str, Any]]:
    def number(value: float, error: float | None = 0.5, **facts: Any) -> dict[str, Any]:
        given = {"value": value, "stderr": error, "n": 50, "samples": 5000, "reason": None, "unit": "nats"}
        return given | {"target": "binarized", "estimator": "", "description": ""} | facts

    values = {"ais": -90.0, "iwae_same_data": -90.0 - difference, "bdmc_gap": 0.12}
    return {k: number(v) for k, v in values.items()} | {"ais_minus_iwae": number(difference, stderr)}


def test_the_gap_of_both_bounds_is_as_sure_as_its_error() -> None:
    made = numbers(0.5, 0.1)
    gaps = {(0.8, 0.1): "0.80 ± 0.10 nats apart: on average", (-0.5, 0.4): "no error of AIS is seen",
            (-0.06, None): "one example cannot tell"}  # fmt: skip
    for (value, stderr), said in gaps.items():
        made["bdmc_gap"] |= {"value": value, "stderr": stderr}
        assert said in verdict(made)[1]


@pytest.mark.parametrize(
    ("difference", "stderr", "said"),
    [
        (0.5, 0.1, "the bound is loose by 0.50 ± 0.10."),
        (-0.5, 0.1, "AIS is the looser, by 0.50 ± 0.10; give it more temperatures."),
        (0.15, 0.1, "they agree, with a paired difference of 0.15 ± 0.10."),
        (0.5, None, "they differ by 0.50"),
    ],
)
def test_the_verdict_is_as_sure_as_the_numbers(difference: float, stderr: float | None, said: str) -> None:
    bound, gap = verdict(numbers(difference, stderr))
    assert bound.startswith("On the same 50 data AIS says -90.00 ± 0.50 nats, IWAE-5000 -")
    assert said in bound
    assert "cannot be told apart (0.12 ± 0.50 nats)" in gap
    (section,) = sections({"numbers": numbers(difference, stderr)})
    assert said in section.description
    assert "ais_minus_iwae" in section.html()
