"""What a sweep found: table, sweep.json and picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tightbound.cli.show import record, say
from tightbound.core.files import write_atomic
from tightbound.evaluation.sweep import Point, Sweep
from tightbound.report.rate_distortion import rate_distortion
from tightbound.report.table import drawn
from tightbound.search.ledger import Trial
from tightbound.search.metric import Metric
from tightbound.training.folder import RunFolder

COLUMNS = {
    "rate": "rate", "distortion": "distortion", "elbo": "ELBO", "mutual_information": "I(x; z)",
    "active_units": "active",
}  # fmt: skip
_NUMBERS = ("rate", "distortion", "elbo")


def show_found(folder: Path, fields: Sequence[str], trials: Sequence[Trial], metric: Metric, *, test_all: bool) -> None:
    """The table; sweep.json and the pictures.

    Arguments:
        fields: What varies.
        trials: All that have begun.
        metric: What runs are chosen by.
        test_all: Each run was evaluated on test data; else the chosen one alone, and the best come first.
    """
    scores = {t.name: metric.of_run(RunFolder(folder / t.name)) if t.state == "done" else None for t in trials}
    points = {t.name: p for t in trials if t.state == "done" and (p := _point(folder, t, scores[t.name])) is not None}
    found = Sweep(", ".join(fields), tuple(points.values()))
    chosen = max((t for t in trials if scores[t.name] is not None), key=lambda t: scores[t.name] or 0.0, default=None)
    others = [
        {
            "value": ", ".join(t.values.values()),
            "run": t.name,
            "state": t.state,
            "reason": t.reason,
            "score": scores[t.name],
        }
        for t in trials
        if t.name not in points
    ]
    best = None if chosen is None else ", ".join(chosen.values.values())
    record(folder / "sweep.json", found.to_json() | {"best": best, "others": others})
    if not test_all:
        trials = sorted(trials, key=lambda t: (scores[t.name] is None, -(scores[t.name] or 0.0)))
    notes = {
        t.name: t.reason or ("unfinished" if not t.over else "best" if t is chosen
        else "dominated" if t.name in points and found.dominated(points[t.name]) else "")
        for t in trials
    }  # fmt: skip
    rows = [
        [*t.values.values(), _number(scores[t.name]), *(_cell(points.get(t.name), c) for c in COLUMNS), notes[t.name]]
        for t in trials
    ]
    if found.points:
        number = found.points[0].numbers["distortion"]
        says = (
            f"n = {number['n']:,} test data, {drawn(number)}; nats, ± standard error; target: {number['target']}. "
            "ELBO = -(rate + distortion): the bound, whatever was trained for."
        )
        say(says if test_all else f"{says} Of the chosen run alone.")
    say(f"best: by the {metric.says} on validation data" if chosen else "no best: no run has validation data and "
        f"{metric.says}")  # fmt: skip
    _table([*fields, f"validation {metric.says}", *COLUMNS.values(), ""], rows, len(fields))
    if len(fields) and "seed" in fields:
        _over_seeds(fields, trials, scores, points, metric)
    limited = [p for p in found.points if p.number("mutual_information") and p.numbers["mutual_information"]["reason"]]
    if limited:
        values = "; ".join(str(p.value) for p in limited)
        say(f"I(x; z) of {found.name} = {values}: {limited[0].numbers['mutual_information']['reason']}")
    if "dominated" in notes.values():
        say("dominated: another run has no more rate and no more distortion (by the values, whatever their errors)")
    if not test_all or not found.points:
        say(f"numbers: {folder / 'sweep.json'}")
    elif all(None in p.plane for p in found.points):
        say(f"no model has a rate, so that there is no rate-distortion plane; numbers: {folder / 'sweep.json'}")
    else:
        for ending in ("png", "svg"):
            write_atomic(folder / f"rate-distortion.{ending}", rate_distortion(found, ending))
        say(f"picture: {folder / 'rate-distortion.svg'} (and .png), numbers: {folder / 'sweep.json'}")


def _point(folder: Path, trial: Trial, score: float | None) -> Point | None:
    """What is known of a run on test data; None where nothing is."""
    run = RunFolder(folder / trial.name)
    if not run.evaluation_file.is_file():
        return None
    return Point(", ".join(trial.values.values()), run.read(run.evaluation_file), trial.name, score)


def _over_seeds(
    fields: Sequence[str],
    trials: Sequence[Trial],
    scores: dict[str, float | None],
    points: dict[str, Point],
    metric: Metric,
) -> None:
    """Mean and spread of the runs that differ in their seed alone."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        if trial.name in points:
            groups.setdefault(tuple(v for k, v in trial.values.items() if k != "seed"), []).append(trial)
    rows = [
        [*values, str(len(group)), _spread([scores[t.name] for t in group])]
        + [_spread([None if (n := points[t.name].number(c)) is None else n[0] for t in group]) for c in _NUMBERS]
        for values, group in groups.items()
        if len(group) > 1
    ]
    if rows:
        others = [field for field in fields if field != "seed"]
        say("mean ± standard deviation over seeds:")
        head = [*others, "seeds", f"validation {metric.says}", *(COLUMNS[c] for c in _NUMBERS)]
        _table(head, rows, len(others))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> None:
    """The first `names` columns are words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for i, title in enumerate(head):
        words = i < names or not title
        table.add_column(title, style="bold" if i < names else None, justify="left" if words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets are no markup here
    console = Console()
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    (console if needed <= console.width else Console(width=needed)).print(table)


def _spread(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return "-"
    return f"{statistics.mean(known):.2f} ± {statistics.stdev(known):.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(point: Point | None, name: str) -> str:
    number = None if point is None else point.number(name)
    if number is None:
        return "-"
    return f"{number[0]:.0f}" if name == "active_units" else f"{number[0]:.2f} ± {number[1]:.2f}"
