"""A training step of a convolutional VAE on 64 x 64 sprites, against peers, loops by hand and the machine's limits.

    python benchmarks/conv.py --json conv.json

The network of Locatello et al. 2019, Bernoulli pixels, 10 latents, batch 64, Adam 1e-4. The contestants take turns, all
on the same pictures in memory; the ceilings (a step's convolutions alone, Adam alone) take theirs in the same run, and
each layer is timed by itself, in float32 and bfloat16, channels first and last. What is compiled or chosen at the start
falls into a turn that does not count.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contestants.nets import save_start
from harness import limits
from harness.race import Contestant, Race, asked_for, peers_python
from harness.report import options, seconds_table, show, summary, values, write

from tightbound.data import Sprites

OURS, HAND = "contestants/ours.py", "contestants/by_hand.py"
BASE, BATCH = "ours", 64


def contestants(arguments: argparse.Namespace, file: Path) -> list[Contestant]:
    """Return the contestants."""
    start = str(file.with_suffix(".npz"))
    save_start(start, "conv", seed=0)
    shared = {"net": "conv", "data": str(file), "scale": 1, "start": start, "batch_size": BATCH, "lr": 1e-4, "seed": 0}
    last, bf16 = {"channels_last": True}, {"precision": "bf16"}
    found = [
        Contestant(BASE, OURS, shared),
        Contestant("ours, channels-last", OURS, shared | last),
        Contestant("ours, bf16", OURS, shared | bf16),
        Contestant("ours, bf16, channels-last", OURS, shared | bf16 | last),
        Contestant("ours, compiled", OURS, shared | {"compile": True}),
        Contestant("ours, bf16, compiled", OURS, shared | bf16 | {"compile": True}),
        Contestant("by hand", HAND, shared),
        Contestant("by hand, flushed", HAND, shared | {"flush": True}),
        Contestant("by hand, channels-last", HAND, shared | last),
        Contestant("by hand, channels-last, flushed", HAND, shared | last | {"flush": True}),
        Contestant("by hand, bf16, channels-last", HAND, shared | bf16 | last),
        Contestant("by hand, compiled", HAND, shared | {"compile": True}),
    ]
    if not arguments.no_peers:
        python = peers_python()
        found.append(Contestant("pythae", "contestants/pythae_vae.py", shared, python))
        found.append(Contestant("disent", "contestants/disent_vae.py", shared, python))
    return asked_for(found, BASE, arguments)


def show_layers(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Show each layer alone: the fastest turn, in milliseconds, forward and backward."""
    found: dict[str, dict[str, float]] = {}
    rates: dict[str, float] = {}
    for answer in answers:
        for i, row in enumerate(answer["layers"]):
            layer = f"{i % (len(answer['layers']) // 4) + 1} {row['name']}"
            kind = row["precision"] + (", last" if row["channels_last"] else "")
            each = found.setdefault(layer, {})
            each[kind] = min(row["seconds"], each.get(kind, row["seconds"]))
            rates[layer] = row["flops"]
    kinds = list(next(iter(found.values())))
    rows = [[name, *(f"{each[kind] * 1e3:.3f}" for kind in kinds), f"{rates[name] / min(each.values()) / 1e9:.0f}"]
            for name, each in found.items()]  # fmt: skip
    show("Layers alone, forward and backward, ms", ["layer", *kinds, "GFLOP/s at best"], rows)
    return [{"layer": name, "flops": rates[name], "seconds": each} for name, each in found.items()]


def main() -> None:
    parser = options(__doc__, repeats=10)
    parser.add_argument("--steps", type=int, default=50, help="of a turn")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants beside ours")
    arguments = parser.parse_args()
    repeats, steps = (1, 2) if arguments.quick else (arguments.repeats, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sprites.npy"
        sprites = Sprites()
        rows = np.random.default_rng(0).permutation(len(sprites))[: BATCH * steps]
        np.save(file, sprites.batch(torch.from_numpy(rows)).x.numpy())
        trained = contestants(arguments, file)
        ceilings = limits.ceilings("conv", BATCH, channels_last=True)
        with Race([*trained, ceilings], arguments.threads) as race:
            requests: dict[str, dict[str, Any]] = {c.name: {"what": "epoch"} for c in trained}
            turns = race.run(repeats, requests={**requests, limits.NAME: limits.request(arguments.quick)})
            by_layer = {limits.NAME: {"what": "layers", "steps": min(20, steps)}}
            layers = race.run(min(repeats, 3), warm=0, requests=by_layer)[limits.NAME]
    rates = limits.rates(turns.pop(limits.NAME))
    times = values(turns, arguments.clock)
    found = summary({name: [seconds / steps for seconds in each] for name, each in times.items()}, BASE)
    made_of = limits.parts(found, rates, {c.name: c.options.get("precision", "fp32") for c in trained}, 1)
    seconds_table(f"A step of {BATCH} pictures, {arguments.clock}", found, BASE, unit="ms")
    limits.show_rates(rates)
    alone = show_layers(layers)
    limits.show_parts(made_of)
    losses, faults = values(turns, "loss"), values(turns, "faults")
    rows = [[n, f"{v[-1]:.2f}", f"{faults[n][-1] / steps:,.0f}"] for n, v in losses.items()]
    show("The last turn", ["contestant", "mean loss, nats", "page faults a step"], rows)
    facts = {
        "processor": values(turns, "processor"),
        "steps": found,
        "ceilings": rates,
        "layers": alone,
        "parts": made_of,
        "losses": losses,
        "faults": faults,
    }
    write(arguments, facts, race)


if __name__ == "__main__":
    main()
