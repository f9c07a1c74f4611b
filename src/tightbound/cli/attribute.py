"""`tightbound attribute`."""

from __future__ import annotations

import torch

from tightbound.analysis import pictures, steer
from tightbound.analysis.estimate import with_error
from tightbound.cli.arguments import Attribute
from tightbound.cli.files import out_file, write_npz
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import endings, say, say_json, show_grid
from tightbound.core.files import write_atomic
from tightbound.report.table import Grid


def attribute(command: Attribute) -> None:
    """Adds a label's vector to codes of other data: a picture, and what a probe says of it."""
    trained = load_run(command)
    model = trained.model
    out = out_file(command.out, "attribute", tuple(e for e in endings(model.shape) if e in (".png", ".npz")))
    data, _ = open_data(command, trained)
    done = steer(
        model, data.train, data.require_test(), command.label, command.against, factor=command.factor,
        direction=command.direction, most=command.most, shown=command.rows, seed=command.seed,
    )  # fmt: skip
    x = torch.stack(done.pictures(model), 1)  # (rows, strengths, *shape)
    if out.suffix == ".png":
        rows = [pictures.to_pixels(row, model.observation.source) for row in x]
        heads = [f"{s:+g}" for s in done.strengths]
        write_atomic(out, pictures.png(pictures.grid(rows, [str(v) for v in done.labels.tolist()], heads)))
    else:
        arrays = {"x": x, "strength": torch.tensor(done.strengths), "label": done.labels, "vector": done.vector}
        write_npz(out, {name: each.numpy() for name, each in arrays.items()})
    if command.json:
        say_json(done.to_json())
        return
    first = next(iter(done.numbers.values()))
    against = "data of all other labels" if command.against is None else f"data of label {command.against}"
    rows_ = [[name, with_error(n.value, n.stderr)] for name, n in done.numbers.items()]  # pyright: ignore
    description = (
        f"{first.n:,} test {against}: the vector is added to their codes, they are decoded and encoded again, and a "
        f"linear probe of training data's codes says of which class that is (binomial standard error)."
    )
    show_grid(Grid(f"Towards label {command.label}", description, [f"share called {command.label}"], rows_))
    say(f"{len(x)} test data (rows) at {len(done.strengths)} strengths of the vector (columns): {out}")
    say_next(command, "probe {run}")
