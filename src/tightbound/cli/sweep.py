"""`tightbound sweep`."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

from tightbound.cli.arguments import Sweep, Train, Training
from tightbound.cli.several import Swept
from tightbound.cli.show import record, say
from tightbound.cli.train import carry_out, compose, recorded, run_name
from tightbound.config import read_config
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.evaluation.sweep import Point
from tightbound.evaluation.sweep import Sweep as Found
from tightbound.report.rate_distortion import rate_distortion
from tightbound.report.table import drawn
from tightbound.training.folder import RunFolder
from tightbound.training.monitor import Interrupted

COLUMNS = {
    "rate": "rate", "distortion": "distortion", "elbo": "ELBO", "mutual_information": "I(x; z)",
    "active_units": "active",
}  # fmt: skip


def sweep(command: Swept) -> None:
    """Trains each run that is not finished, and compares them all."""
    first = command.points[0][1]
    folder = first.run or Path("runs") / f"{run_name(first)}-{command.field.replace('_', '-')}"
    names = [f"{command.field.replace('_', '-')}-{_plain(value)}" for value, _ in command.points]
    places = [folder / (name if names.count(name) == 1 else f"{name}-{i}") for i, name in enumerate(names)]
    runs = [
        (f"{command.field} = {value}", point, RunFolder(place))
        for (value, point), place in zip(command.points, places, strict=True)
    ]
    _check(runs)
    for name, point, run in runs:
        if _finished(run) and not point.overwrite:
            say(f"{name}: kept, {run.path}")
            continue
        say(f"{name}: {run.path}")
        fields = {f.name: getattr(point, f.name) for f in dataclasses.fields(Training)}
        try:
            begun = run.model_file.is_file() and not point.overwrite
            carry_out(Train(**{**fields, "run": run.path, "resume": begun}), run.path)
        except Interrupted as stop:
            raise Interrupted(f"stopped by {stop.by.name} at {name}; the same command goes on there", stop.by) from None
    values = [value for value, _ in command.points]
    points = [
        Point(value, run.read(run.evaluation_file), run.path.name)
        for value, (_, _, run) in zip(values, runs, strict=True)
    ]
    _say(Found(command.field, tuple(points)), folder)
    say(f"next: tightbound compare {' '.join(shlex.quote(str(run.path)) for _, _, run in runs)}")


def _plain(value: str) -> str:
    """What a folder can be called."""
    return re.sub(r"[^\w.+-]+", "_", value).strip("_") or "value"


def _check(runs: list[tuple[str, Sweep, RunFolder]]) -> None:
    """Refuses all that can be, before the first run begins."""
    for name, point, run in runs:
        point.check()
        if not point.evaluate_samples:
            raise InputError("--evaluate-samples 0 leaves nothing to compare; a sweep needs at least 1")
        fitting = compose(point).command
        if run.model_file.is_file() and not point.overwrite:
            before, now = read_config(run.config_file), recorded(fitting)
            changed = [f"{k} was {before.get(k)!r} and is {v!r}" for k, v in now.items() if before.get(k) != v]
            if changed:
                raise InputError(
                    f"{name}: the run {str(run.path)!r} has other settings ({'; '.join(changed)}); "
                    "name another folder by --run, or replace the runs with --overwrite"
                )


def _finished(run: RunFolder) -> bool:
    return run.evaluation_file.is_file() and run.report_file.is_file()


def _say(found: Found, folder: Path) -> None:
    """The table; sweep.json and the pictures."""
    from rich.console import Console
    from rich.table import Table

    record(folder / "sweep.json", found.to_json())
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(found.name, style="bold")
    for title in COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for point in found.points:
        note = "best" if point is found.best else "dominated" if found.dominated(point) else ""
        table.add_row(str(point.value), *(_cell(point, name) for name in COLUMNS), note)
    number = found.points[0].numbers["distortion"]
    caption = (
        f"n = {number['n']:,} test data, {drawn(number)}; nats, ± standard error; "
        f"target: {number['target']}. ELBO = -(rate + distortion): the bound, whatever was trained for; "
        "best: the highest."
    )
    console = Console()
    console.print(caption, highlight=False, markup=False)
    console.print(table)
    limited = [p for p in found.points if p.number("mutual_information") and p.numbers["mutual_information"]["reason"]]
    if limited:
        values = ", ".join(str(p.value) for p in limited)
        say(f"I(x; z) of {found.name} = {values}: {limited[0].numbers['mutual_information']['reason']}")
    if any(found.dominated(point) for point in found.points):
        say("dominated: another run has no more rate and no more distortion (by the values, whatever their errors)")
    if found.best is None:
        say(f"no model has a rate, so that there is no rate-distortion plane; numbers: {folder / 'sweep.json'}")
        return
    for ending in ("png", "svg"):
        write_atomic(folder / f"rate-distortion.{ending}", rate_distortion(found, ending))
    say(f"picture: {folder / 'rate-distortion.svg'} (and .png), numbers: {folder / 'sweep.json'}")


def _cell(point: Point, name: str) -> str:
    number = point.number(name)
    if number is None:
        return "-"
    return f"{number[0]:.0f}" if name == "active_units" else f"{number[0]:.2f} ± {number[1]:.2f}"
