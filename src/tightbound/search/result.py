"""Result of a sweep: runs, the best run, tables and the rate-distortion plane. Does not import torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tightbound.analysis.estimate import Estimate, scalar, with_error
from tightbound.analysis.figures import Figure, Scatter
from tightbound.analysis.result import Result, Table
from tightbound.search.study import State

COLUMNS = {"rate": "rate", "distortion": "distortion", "elbo": "ELBO", "active_units": "active"}
_SPREAD = ("rate", "distortion", "elbo")
_DOMINATED = "○ dominated: another run has no more rate and no more distortion (regardless of standard errors)"


@dataclass(frozen=True)
class SweptRun:
    """Run of a sweep.

    Attributes:
        path: Folder of the run.
        values: Values of the options that vary, as text.
        state: "done", "pruned", "failed", or "unfinished".
        score: Validation metric by which runs are chosen (larger is better); None if the run cannot be chosen.
        reason: The reason why the run was pruned or failed.
        tested: Evaluation on test data; None if the run was not evaluated.
    """

    path: Path
    values: Mapping[str, str]
    state: State = "done"
    score: float | None = None
    reason: str | None = None
    tested: Result | None = None

    @property
    def label(self) -> str:
        """The values on one line."""
        return ", ".join(self.values.values())

    def estimate(self, name: str) -> Estimate | None:
        """Return an estimate on test data, or None if there is none."""
        found = None if self.tested is None else self.tested.estimates.get(name)
        return None if found is None or found.value is None else found

    @property
    def plane(self) -> tuple[float, float] | None:
        """Rate and distortion, or None if one of them is missing."""
        rate, distortion = self.estimate("rate"), self.estimate("distortion")
        return None if rate is None or distortion is None else (scalar(rate), scalar(distortion))


@dataclass(frozen=True, repr=False)
class SweepResult(Result):
    """Result of a sweep, with its runs as estimates, tables and a figure.

    Attributes:
        runs: All runs that have begun.
        best: The run with the highest score on validation data; None if no run has a score.
    """

    runs: tuple[SweptRun, ...] = field(default=(), kw_only=True)
    best: SweptRun | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, options: Sequence[str], metric: str, runs: Sequence[SweptRun], *, all_tested: bool) -> SweepResult:
        """Compare runs.

        Args:
            options: Names of the options that vary.
            metric: Validation metric by which runs are chosen.
            runs: All runs that have begun.
            all_tested: Whether every run is evaluated on test data, or only the best.
        """
        best = max((r for r in runs if r.score is not None), key=lambda r: r.score or 0.0, default=None)
        beaten = [run for run in runs if all_tested and dominated(run, runs)]
        shown = [name for name in COLUMNS if all_tested and any(run.tested for run in runs)]
        notes = [_DOMINATED] if beaten else []
        ordered = runs if all_tested else sorted(runs, key=lambda r: (r.score is None, -(r.score or 0.0)))
        rows = []
        for run in ordered:
            note = "best" if run is best else run.state if run.state != "done" else "○" if run in beaten else ""
            rows.append([*run.values.values(), _number(run.score), *(_cell(run, name) for name in shown), note])
        tables = [Table("Runs", [*options, "validation", *(COLUMNS[c] for c in shown), ""], rows, notes=notes)]
        if "seed" in options:
            tables += _over_seeds(options, runs)
        tested = [run for run in runs if run.tested is not None]
        return cls(
            {f"{r.path.name}/{c}": e for r in tested for c in COLUMNS if (e := r.estimate(c)) is not None},
            tables=tables,
            tabulated=True,
            figures=_figures(options, runs, best, beaten) if all_tested else (),
            sentences=_sentences(metric, runs, best, all_tested),
            caption=tested[0].tested.caption if tested and tested[0].tested is not None else "",
            details={
                "options": list(options),
                "metric": f"validation {metric}",
                "best": None if best is None else best.path.name,
                "runs": [_plain(run) | {"dominated": run in beaten} for run in runs],
            },
            runs=tuple(runs),
            best=best,
        )  # fmt: skip


def dominated(run: SweptRun, runs: Sequence[SweptRun]) -> bool:
    """Return whether another run has no more rate and no more distortion, and less of one of them."""
    if (at := run.plane) is None:
        return False
    others = [other.plane for other in runs if other.plane is not None]
    return any(other != at and other[0] <= at[0] and other[1] <= at[1] for other in others)


def _sentences(metric: str, runs: Sequence[SweptRun], best: SweptRun | None, all_tested: bool) -> list[str]:
    if best is None:
        done = any(run.state == "done" for run in runs)
        return [f"No best run: no run has validation data and a finite {metric} on them."] if done else []
    found = [f"Best: {best.path.name}, the highest {metric} on validation data ({best.score:.2f})."]
    if not all_tested and best.tested is not None:
        numbers = ", ".join(f"{title} {_cell(best, name)}" for name, title in COLUMNS.items())
        found.append(f"The best on test data: {numbers}.")
    return found


def _figures(
    options: Sequence[str], runs: Sequence[SweptRun], best: SweptRun | None, beaten: Sequence[SweptRun]
) -> list[Figure]:
    """Return the rate-distortion plane (Alemi et al. 2018, Fixing a broken ELBO, https://arxiv.org/abs/1711.00464)."""
    placed = [(run, at) for run in runs if (at := run.plane) is not None]
    if not placed:
        return []
    kinds = {name: [(r, at) for r, at in placed if (r in beaten) == (name != "")] for name in ("", "dominated")}
    kinds = {name: own for name, own in kinds.items() if own}
    lines = {}
    if best is not None and best.plane is not None:
        distance, rates = sum(best.plane), [rate for _, (rate, _) in placed]
        lines[f"ELBO of the best run: {-distance:.2f}"] = [(rate, distance - rate) for rate in (min(rates), max(rates))]
    names = ", ".join(options)
    panel = Scatter(
        x_label="rate, KL(q(z|x), p(z)), in nats",
        y_label="distortion, -E log p(x|z), in nats",
        series={kind: [at for _, at in own] for kind, own in kinds.items()},
        names={kind: [run.label for run, _ in own] for kind, own in kinds.items()},
        errors={kind: [_errors(run) for run, _ in own] for kind, own in kinds.items()},
        lines=lines,
    )
    caption = f"Each point is a run, labeled by {names}. Points on the dashed line have the ELBO of the best run."
    return [Figure("rate-distortion", "Rate and distortion", caption, [panel])]


def _errors(run: SweptRun) -> list[float]:
    estimates = [run.estimate(name) for name in ("rate", "distortion")]
    return [e.stderr if e is not None and isinstance(e.stderr, float) else 0.0 for e in estimates]


def _over_seeds(options: Sequence[str], runs: Sequence[SweptRun]) -> list[Table]:
    groups: dict[tuple[str, ...], list[SweptRun]] = {}
    for run in runs:
        if run.tested is not None:
            groups.setdefault(tuple(v for k, v in run.values.items() if k != "seed"), []).append(run)
    rows = [
        [*values, str(len(group)), _spread([r.score for r in group])]
        + [_spread([None if (e := r.estimate(name)) is None else scalar(e) for r in group]) for name in _SPREAD]
        for values, group in groups.items()
        if len(group) > 1
    ]
    head = [*(o for o in options if o != "seed"), "seeds", "validation", *(COLUMNS[name] for name in _SPREAD)]
    return [Table("Mean ± standard deviation over seeds", head, rows)] if rows else []


def _plain(run: SweptRun) -> dict[str, Any]:
    """Return a run as plain values, with the numbers of its test evaluation."""
    estimates = {} if run.tested is None else run.tested.estimates
    numbers = {name: e for name, e in estimates.items() if not isinstance(e.value, list)}
    return {
        "run": run.path.name,
        "values": dict(run.values),
        "state": run.state,
        "reason": run.reason,
        "score": run.score,
        "test": {name: {"value": e.value, "stderr": e.stderr, "n": e.n} for name, e in numbers.items()},
    }


def _cell(run: SweptRun, name: str) -> str:
    found = run.estimate(name)
    if found is None:
        return "-"
    stderr = found.stderr if isinstance(found.stderr, float) else None
    return f"{scalar(found):.0f}" if name == "active_units" else with_error(scalar(found), stderr)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return "-"
    return f"{statistics.mean(known):.2f} ± {statistics.stdev(known):.2f}"
