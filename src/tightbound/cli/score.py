"""`tightbound score`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tightbound.analysis import Scores, pictures
from tightbound.cli.files import check_ending, csv, write_npz
from tightbound.cli.judging import Score
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import record, say, say_json, show
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.core.model import VAE
from tightbound.core.world import dismissed
from tightbound.data import Data, Split
from tightbound.data.feed import pick
from tightbound.report.score import detection_rows, histograms, likelihood_fails
from tightbound.report.table import rows
from tightbound.trained import Trained
from tightbound.training.folder import RunFolder


@dataclass(frozen=True)
class _Set:
    """Data that were scored."""

    name: str
    split: Split
    scores: Scores


def score(command: Score) -> None:
    """Prints, and records in the run where its own part is that of its best weights on its test data."""
    trained = load_run(command)
    _check_files(command, trained.model)
    sets, written = _score(command, trained)
    dismissed()
    if pictures.is_image(trained.model.shape):
        written["picture"] = base64.b64encode(_unusual(trained.model, sets[0], command)).decode()
    if command.out is not None:
        _write(command.out, sets)
    if command.picture is not None:
        drawn = histograms(written) if command.picture.suffix == ".svg" else _unusual(trained.model, sets[-1], command)
        write_atomic(command.picture, drawn)
    if command.split == "auto" and command.weights == "auto":
        record(RunFolder(command.run).analysis_file("score"), written)
    if command.json:
        say_json(written)
        return
    say(f"weights: {trained.weights}")
    counts = " and ".join(f"{len(s.scores.per_example['index']):,} of {s.name}" for s in sets)
    caption = f"mean over {counts}, picked at random where there are more; the higher, the more unusual"
    if len(sets) > 1:
        _show_both(written, caption)
        _show_detection(written)
    else:
        show(written["numbers"], caption)
        _show_unusual(sets[0].scores)
    say_next(command, "report {run}")


def _score(command: Score, trained: Trained) -> tuple[list[_Set], dict[str, Any]]:
    """The run's own data, then the other ones where they are named; and all that was found, as JSON has it."""
    alone = command.data is None
    run, own = open_data(replace(command, data=None, split=command.split if alone else "auto"), trained)
    how: dict[str, Any] = {
        "scores": command.scores, "samples": command.samples, "most": command.n, "seed": command.seed, "progress": True,
    }  # fmt: skip
    name = _name(run, command.split if alone else "auto")
    if alone:
        found = trained.score(own, run.train, **how)
        return [_Set(name, own, found)], {**found.to_json(), "data": {"own": name}}
    data, other = open_data(command, trained)
    if (name_of_other := _name(data, command.split)) == name:
        raise InputError(f"{command.data!r} is the run's own test data; leave it out, or name other data")
    found = trained.detect(own, other, run.train, **how)
    sets = [_Set(name, own, found.own), _Set(name_of_other, other, found.other)]
    return sets, {**found.to_json(), "data": {"own": name, "other": name_of_other}}


def _name(data: Data, split: str) -> str:
    return f"{data.name} ({split})" if split != "auto" else data.name


def _check_files(command: Score, model: VAE) -> None:
    if command.out is not None:
        check_ending(command.out, (".csv", ".npz"))
    if command.picture is not None:
        check_ending(command.picture, (".svg", ".png") if pictures.is_image(model.shape) else (".svg",))


def _write(out: Path, sets: Sequence[_Set]) -> None:
    """A row an example: which set it is of, its index there, its scores."""
    parts, names = [s.scores.per_example for s in sets], [s.name for s in sets]
    columns = {k: np.concatenate([part[k] for part in parts]) for k in parts[0] if all(k in part for part in parts)}
    which = np.repeat(np.arange(len(sets)), [len(part["index"]) for part in parts])
    if out.suffix == ".npz":
        write_npz(out, {"data": np.array(names)[which], **columns})
        return
    table = torch.from_numpy(np.column_stack([which, *columns.values()]))
    write_atomic(out, csv(table, ["data", *columns], [names, *([[]] * len(columns))]))


def _unusual(model: VAE, scored: _Set, command: Score, n: int = 12) -> bytes:
    """PNG: a row a score, the most unusual data at the left."""
    data = pick(model, scored.split, command.n, command.seed)
    places = {index: place for place, index in enumerate(data.positions().tolist())}
    chosen = scored.scores.unusual(n)
    images = [data.x[[places[i] for i in indices]] for indices in chosen.values()]
    domain = model.observation.source
    return pictures.png(pictures.grid([pictures.to_pixels(x, domain) for x in images], list(chosen)))


def _show_unusual(scored: Scores) -> None:
    say("the most unusual data, by their index:")
    for name, indices in scored.unusual().items():
        say(f"  {name:15s} {', '.join(map(str, indices))}")


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    for column in columns:
        table.add_column(column, no_wrap="±" in column or "[" in column)
    return table


def _show_both(found: dict[str, Any], caption: str) -> None:
    from rich.console import Console
    from rich.text import Text

    table = _table(*(f"{found['data'][key]} ±" for key in ("own", "other")), "unit: what it is")
    for own, other in zip(*(rows(found[key]["numbers"]) for key in ("own", "other")), strict=True):
        table.add_row(own.name, own.value, other.value, Text(f"{own.unit}: {own.description}"))
    Console().print(caption, highlight=False, markup=False)
    Console().print(table)


def _show_detection(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    own, other = found["data"]["own"], found["data"]["other"]
    table = _table("AUROC [95%]", "AUPR [95%]")
    for row in detection_rows(found):
        table.add_row(*map(Text, row))
    share = found["chance"]
    say(
        f"{other} told from {own}: AUROC, the probability that an example of {other} scores higher (chance: 0.5; below it"
    )
    say(f"the score is misled), and AUPR, average precision for finding {other} (chance: {share:.2g})")
    Console().print(table)
    if likelihood_fails(found):
        say(f"note: the model finds {other} more likely than {own}, so the likelihood is no test of belonging to")
        say(f"{own}; see docs/out-of-distribution.md")
