"""Measured interpolation on the command line and on the page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import Result
from tightbound.report.paths import PATHS, _chart
from tightbound.training.folder import RunFolder


def test_paths_are_measured_recorded_and_shown(cli: Callable[..., Result], run: Path) -> None:
    shown = cli("interpolate", run, "--pairs", "12")
    assert shown.status == 0, shown.err
    assert "12 pairs" in shown.out
    assert "length_spherical" in shown.out
    assert shown.out.splitlines()[-1].startswith("next: tightbound report")
    told = json.loads(RunFolder(run).analysis_file("paths").read_text())
    printed = json.loads(cli("interpolate", run, "--pairs", "12", "--json").out)
    assert told == printed
    assert len(told["numbers"]["response"]["value"]) == 2
    assert cli("report", run, "--quick").status == 0
    assert "Between codes" in (run / "report.html").read_text()
    assert (run / "figures" / "paths.svg").is_file()


def test_a_run_against_itself_differs_by_nothing(cli: Callable[..., Result], run: Path) -> None:
    shutil.copytree(run, run.parent / "twin")
    found = json.loads(cli("interpolate", run, "--pairs", "6", "--against", "twin", "--json").out)
    values = {name: number["value"] for name, number in found["difference"].items()}
    assert set(values.values()) == {0.0}
    assert not RunFolder(run).analysis_file("paths").exists(), "a comparison is not an analysis of this run"


def test_ticks_of_many_dimensions_keep_apart() -> None:
    number = {"value": list(range(16))}
    profile = {f"{what}_{path}": [1.0, 1.0] for what in ("step", "distance") for path in PATHS}
    svg = _chart(profile, {"response": number, "crossfade_distance": {"value": None}}).decode()
    assert len(re.findall(r'id="xtick_\d+"', svg.split('id="axes_3"')[1])) <= 10


def test_refusals(refused: Callable[..., str], run: Path) -> None:
    assert "--pairs" in refused("interpolate", run, "--json")
    assert "pairs = 1" in refused("interpolate", run, "--pairs", "1")
    assert "nowhere" in refused("interpolate", run, "--pairs", "5", "--against", "nowhere")
