"""What a sweep found: table, sweep.json and picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightbound.analysis.comparison.sweep import Point, Sweep
from tightbound.analysis.estimate import with_error
from tightbound.cli.show import record, say
from tightbound.core.files import write_atomic
from tightbound.report.rate_distortion import rate_distortion
from tightbound.report.table import drawn
from tightbound.search.ledger import Trial
from tightbound.search.metric import Metric
from tightbound.training.folder import RunFolder

COLUMNS = {"rate": "rate", "distortion": "distortion", "elbo": "ELBO", "active_units": "active"}
_NUMBERS = ("rate", "distortion", "elbo")


def scored(folder: Path, trials: Sequence[Trial], metric: Metric) -> dict[str, float | None]:
    """What runs are chosen by, by name; None of those that cannot be chosen."""
    return {t.name: metric.of_run(RunFolder(folder / t.name)) if t.state == "done" else None for t in trials}


def best_of(trials: Sequence[Trial], scores: Mapping[str, float | None]) -> Trial | None:
    """That of the highest score, the first of equals; None where no run has one."""
    return max((t for t in trials if scores[t.name] is not None), key=lambda t: scores[t.name] or 0.0, default=None)


def show_found(
    folder: Path,
    fields: Sequence[str],
    trials: Sequence[Trial],
    scores: Mapping[str, float | None],
    metric: Metric,
    *,
    test_all: bool,
) -> None:
    """The table; sweep.json and the pictures.

    Arguments:
        fields: What varies.
        trials: All that have begun.
        scores: See `scored`.
        metric: What runs are chosen by.
        test_all: Each run was evaluated on test data; else the chosen one alone, and the best come first.
    """
    chosen = best_of(trials, scores)
    points = {t.name: p for t in trials if t.state == "done" and (p := _point(folder, t, scores[t.name])) is not None}
    found = Sweep(", ".join(fields), tuple(points.values()))
    _keep(folder / "sweep.json", found, trials, scores, metric, chosen)
    dominated = {name for name, point in points.items() if test_all and found.dominated(point)}
    if found.points:
        number = found.points[0].numbers["distortion"]
        description = (
            f"n = {number['n']:,} test data, {drawn(number)}; nats, ± standard error; target: {number['target']}."
        )
        say(f"{description} ELBO = -(rate + distortion): the bound, whatever was trained for.")
    if chosen is not None:
        say(f"best: by the {metric.description} on validation data")
    elif any(t.state == "done" for t in trials):
        say(f"no best: no run has validation data and a finite {metric.description} on them")
    if test_all:
        notes = {t.name: _note(t, chosen) or "○" * (t.name in dominated) for t in trials}
        rows = [
            [*t.values.values(), _number(scores[t.name]), *_cells(points.get(t.name)), notes[t.name]] for t in trials
        ]
        _table([*fields, "validation", *COLUMNS.values(), ""], rows, len(fields))
    else:
        best_first = sorted(trials, key=lambda t: (scores[t.name] is None, -(scores[t.name] or 0.0)))
        rows = [[*t.values.values(), _number(scores[t.name]), _note(t, chosen)] for t in best_first]
        _table([*fields, "validation", ""], rows, len(fields))
        if chosen is not None and chosen.name in points:
            known = zip(COLUMNS.values(), _cells(points[chosen.name]), strict=True)
            say(f"the best on test data: {', '.join(f'{name} {value}' for name, value in known)}")
    if "seed" in fields:
        _over_seeds(fields, trials, scores, points)
    if dominated:
        say("○ dominated: another run has no more rate and no more distortion (by the values, whatever their errors)")
    if not test_all or not found.points:
        say(f"numbers: {folder / 'sweep.json'}")
    elif all(None in p.plane for p in found.points):
        say(f"no model has a rate, so that there is no rate-distortion plane; numbers: {folder / 'sweep.json'}")
    else:
        for ending in ("png", "svg"):
            write_atomic(folder / f"rate-distortion.{ending}", rate_distortion(found, ending))
        say(f"picture: {folder / 'rate-distortion.svg'} (and .png), numbers: {folder / 'sweep.json'}")


def _keep(
    file: Path,
    found: Sweep,
    trials: Sequence[Trial],
    scores: Mapping[str, float | None],
    metric: Metric,
    chosen: Trial | None,
) -> None:
    """Writes all numbers, with the values of each run by option."""
    known = found.to_json()
    values = {t.name: dict(t.values) for t in trials}
    points = [{"values": values[point["run"]], **point} for point in known["points"]]
    others = [
        {"values": values[t.name], "value": label(t), "run": t.name, "state": t.state, "reason": t.reason,
         "score": scores[t.name]}
        for t in trials if t.name not in {point["run"] for point in points}
    ]  # fmt: skip
    best = {"best": label(chosen), "best_run": chosen.name} if chosen is not None else {"best": None, "best_run": None}
    record(file, known | {"metric": f"validation {metric.description}"} | best | {"points": points, "others": others})


def label(trial: Trial) -> str:
    """Its values in a line."""
    return ", ".join(trial.values.values())


def _note(trial: Trial, chosen: Trial | None) -> str:
    if trial is chosen:
        return "best"
    return {"begun": "unfinished", "done": ""}.get(trial.state, trial.state)


def _point(folder: Path, trial: Trial, score: float | None) -> Point | None:
    """What is known of a run on test data; None where nothing is."""
    run = RunFolder(folder / trial.name)
    if not run.evaluation_file.is_file():
        return None
    return Point(label(trial), run.read(run.evaluation_file)["estimates"], trial.name, score)


def _over_seeds(
    fields: Sequence[str],
    trials: Sequence[Trial],
    scores: Mapping[str, float | None],
    points: Mapping[str, Point],
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
        head = [*others, "seeds", "validation", *(COLUMNS[c] for c in _NUMBERS)]
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


def _cells(point: Point | None) -> list[str]:
    """Of all columns."""
    if point is None:
        return ["-"] * len(COLUMNS)
    numbers = {name: point.number(name) for name in COLUMNS}
    return [
        "-" if n is None else f"{n[0]:.0f}" if name == "active_units" else with_error(*n) for name, n in numbers.items()
    ]
