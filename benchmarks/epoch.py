"""A training epoch of the lesson's network on MNIST, against peers, loops by hand and the machine's limits.

    TIGHTBOUND_DATA=folder python benchmarks/epoch.py --json epoch.json

784-512-256-20, Bernoulli pixels (in expectation), batch 128, Adam 1e-3. The contestants take turns, an epoch each; the
ceilings (a step's products alone, Adam alone) take theirs in the same run. All start from the same weights, and each
is judged by the same evaluation: the mean loss of each epoch is printed for all, and the test ELBO at the end. The
first epoch, in which things are compiled or chosen, counts for the curves alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contestants.nets import save_start
from harness import limits
from harness.race import Contestant, Race, asked_for, peers_python
from harness.report import options, seconds_table, show, summary, values, write

import tightbound as tb

OURS, HAND = "contestants/ours.py", "contestants/by_hand.py"
BASE, BATCH = "ours", 128


def contestants(arguments: argparse.Namespace, train: Path, start: Path) -> list[Contestant]:
    """Return the contestants."""
    shared = {
        "net": "mlp", "data": str(train), "scale": 255, "batch_size": BATCH, "lr": 1e-3, "seed": arguments.seed,
        "start": str(start),
    }  # fmt: skip
    found = [
        Contestant(BASE, OURS, shared),
        Contestant("ours, compiled", OURS, {**shared, "compile": True}),
        Contestant("ours, bf16 compiled", OURS, {**shared, "compile": True, "precision": "bf16"}),
        Contestant("lesson", "contestants/lesson.py", shared),
        Contestant("by hand", HAND, shared),
        Contestant("by hand, flushed", HAND, shared | {"flush": True}),
        Contestant("by hand, compiled", HAND, {**shared, "compile": True}),
        Contestant("by hand, bf16 compiled", HAND, {**shared, "compile": True, "precision": "bf16"}),
    ]
    if not arguments.no_peers:
        python = peers_python()
        found.append(Contestant("pythae", "contestants/pythae_vae.py", shared, python))
        found.append(Contestant("JAX scan", "contestants/jax_scan.py", shared, python))
    return asked_for(found, BASE, arguments)


def export(data: tb.data.Data, train: Path, test: Path, quick: bool) -> int:
    """Write images (N, 1, 28, 28), uint8, for all contestants; return the number of batches per epoch."""
    assert data.test is not None
    for split, file, few in ((data.train, train, 512 + 64), (data.test, test, 100)):
        images = next(split.epoch(few if quick else len(split))).x.numpy()
        np.save(file, images.reshape(-1, 1, 28, 28))
    return -(-len(np.load(train, mmap_mode="r")) // BATCH)


def judge(race: Race, names: list[str], test: Path, folder: Path, samples: int) -> dict[str, Any]:
    """Return the test ELBO of each contestant's weights, computed by tightbound."""
    found = {}
    for name in names:
        file = folder / f"{names.index(name)}.npz"
        race.ask(name, what="weights", file=str(file))
        found[name] = race.ask(BASE, what="bound", file=str(file), test=str(test), samples=samples)
    return found


def show_curves(losses: dict[str, list[float]], bounds: dict[str, Any]) -> None:
    """Show the table of losses."""
    epochs = len(losses[BASE])
    shown = sorted({0, 1, 2, 4, 9, epochs - 1} & set(range(epochs)))
    head = ["contestant", *(f"epoch {i + 1}" for i in shown), "test ELBO", "less ours"]
    rows = []
    for name, each in losses.items():
        elbo, stderr = bounds[name]["elbo"], bounds[name]["stderr"]
        last = [f"{elbo:.2f} ± {stderr:.2f}", f"{elbo - bounds[BASE]['elbo']:+.2f}"]
        rows.append([name, *(f"{each[i]:.2f}" for i in shown), *last])
    note = "pythae's loss is a mean over batches, of which the last is smaller; the others' are means over data"
    show("Training loss, nats an example", head, rows, note)


def main() -> None:
    parser = options(__doc__, repeats=8)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants beside ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-at-data", action="store_true", help="all start the output bias at the marginals")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, test = folder / "train.npy", folder / "test.npy"
        batches = export(tb.data.open("mnist"), train, test, arguments.quick)
        start = folder / "start.npz"
        save_start(str(start), "mlp", arguments.seed, np.load(train) / 255 if arguments.start_at_data else None)
        trained = contestants(arguments, train, start)
        names = [c.name for c in trained]
        with Race([*trained, limits.ceilings("mlp", BATCH)], arguments.threads) as race:
            requests: dict[str, dict[str, Any]] = {name: {"what": "epoch"} for name in names}
            first = race.run(1, warm=0, requests=requests)  # compiles; counts for the curves alone
            turns = race.run(repeats, warm=0, requests={**requests, limits.NAME: limits.request(arguments.quick)})
            bounds = judge(race, names, test, folder, samples=2 if arguments.quick else 10)
    rates = limits.rates(turns.pop(limits.NAME))
    found = summary(values(turns, arguments.clock), BASE)
    for name, row in found.items():
        row["first"] = first[name][0][arguments.clock]
    made_of = limits.parts(found, rates, {c.name: c.options.get("precision", "fp32") for c in trained}, batches)
    losses = values({name: [*first[name], *answers] for name, answers in turns.items()}, "loss")
    seconds_table(f"An epoch of {batches} batches of {BATCH}, {arguments.clock}", found, BASE)
    limits.show_rates(rates)
    limits.show_parts(made_of)
    show_curves(losses, bounds)
    facts = {
        "batches": batches,
        "processor": values(turns, "processor"),
        "epochs": found,
        "ceilings": rates,
        "parts": made_of,
    }
    write(arguments, {**facts, "losses": losses, "bounds": bounds}, race)


if __name__ == "__main__":
    main()
