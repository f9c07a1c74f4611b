"""Likelihood evaluation, embedding and sampling, against pythae, with the same weights.

    TIGHTBOUND_DATA=folder python benchmarks/throughput.py --images 1000 --json throughput.json

The recipe `lesson` (784-512-256-20, Bernoulli) is trained on MNIST. Its weights then give: the IWAE bound of test
images with k samples, here in float32 and in bfloat16 (which includes the float32 check of a tenth of the images, at
most 50), and in pythae by `get_nll`; codes of test images, here means and variances by `encode`, and in pythae by
`embed`, which also decodes; and samples, here by `sample`, and in pythae by its `NormalSampler`. The contestants take
turns. Bounds are printed with paired differences over the images: pythae's draws are others, so that it may differ by
Monte Carlo error, and bfloat16 from float32 by its rounding. pythae uses as many samples as it is asked for where that
is 100 or a multiple of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contestants.nets import save_weights
from harness.race import Contestant, Race, Turns, peers_python
from harness.report import options, seconds_table, show, summary, values, write

import tightbound as tb
from tightbound.components import make
from tightbound.core.model import VAE
from tightbound.recipes import recipe

BASE = "ours"


def lesson(data: tb.data.Data, epochs: int, quick: bool) -> VAE:
    """Return the recipe's model, trained."""
    config = recipe("lesson")
    parts = {name: getattr(config, name) for name in ("latent", "network", "likelihood", "observation")}
    how: dict[str, Any] = {"steps": 5} if quick else {"epochs": epochs}
    how |= {"batch_size": config.batch_size, "lr": config.lr, "quiet": True}
    return tb.fit(tb.VAE.for_data(data, **parts), data, make("objective", config.objective_spec()), **how).model


def contestants(arguments: argparse.Namespace, folder: Path) -> list[Contestant]:
    """Return the contestants."""
    shared = {
        "net": "mlp", "data": str(folder / "test.npy"), "scale": 255, "start": str(folder / "weights.npz"), "seed": 0,
    }  # fmt: skip
    ours = "contestants/ours.py"
    found = [Contestant(BASE, ours, shared), Contestant("ours, bf16", ours, {**shared, "precision": "bf16"})]
    if not arguments.no_peers:
        found.append(Contestant("pythae", "contestants/pythae_vae.py", shared, peers_python()))
    return found


def paired(a: list[float], b: list[float]) -> tuple[float, float]:
    """Return the mean of a - b over examples, with its standard error."""
    differences = np.subtract(a, b)
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def likelihood(turns: Turns, arguments: argparse.Namespace, images: int, samples: int) -> dict[str, Any]:
    """Show seconds and bounds."""
    bounds = {name: answers[0]["bounds"] for name, answers in turns.items()}
    found = summary(values(turns, arguments.clock), BASE)
    rows = []
    for name, each in bounds.items():
        row = found[name]
        row["bound"], row["stderr"] = paired(each, [0.0] * len(each))
        row["less_ours"] = paired(each, bounds[BASE])
        row["decoded_a_second"] = images * samples / row["median"]
        bound = f"{row['bound']:.3f} ± {row['stderr']:.3f}"
        rows.append([name, f"{row['decoded_a_second']:,.0f}", bound, "{:+.4f} ± {:.4f}".format(*row["less_ours"])])
    seconds_table(f"IWAE-{samples} of {images:,} test images, {arguments.clock}", found, BASE)
    show("Bounds, nats", ["contestant", "samples a second", "bound", "less ours in float32"], rows)
    return found


def throughput(title: str, turns: Turns, clock: str, n: int) -> dict[str, Any]:
    """Show examples per second."""
    found = summary(values(turns, clock), BASE)
    rows = []
    for name, row in found.items():
        row["data_a_second"] = n / row["median"]
        rows.append([name, f"{row['data_a_second']:,.0f}", f"{row['median']:.4g}", f"{row['ratio']:.2f}"])
    show(f"{title}, {n:,} data", ["contestant", "data a second", "median, s", f"x {BASE}"], rows)
    return found


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--epochs", type=int, default=2, help="of training")
    parser.add_argument("--images", type=int, default=1000, help="whose bound is computed")
    parser.add_argument("--samples", type=int, default=5000, help="k of the bound")
    parser.add_argument("--data", type=int, default=10_000, help="that are embedded and sampled, at most")
    arguments = parser.parse_args()
    repeats, images, samples, n = arguments.repeats, arguments.images, arguments.samples, arguments.data
    if arguments.quick:
        repeats, images, samples, n = 1, 2, 100, 100
    data = tb.data.open("mnist")
    assert data.test is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_weights(str(folder / "weights.npz"), lesson(data, arguments.epochs, arguments.quick).parameters())
        x = next(data.test.epoch(max(n, images))).x.numpy()
        np.save(folder / "test.npy", x)
        n, images = min(n, len(x)), min(images, len(x))
        with Race(contestants(arguments, folder), arguments.threads) as race:
            race.run(1, warm=0, what="likelihood", n=2, samples=100)  # the first call loads and chooses things
            bounds = race.run(repeats, warm=0, what="likelihood", n=images, samples=samples)
            float32 = {name: {} for name in bounds if name != "ours, bf16"}
            embedded, sampled = (
                race.run(3 * repeats, requests=float32, what=what, n=n) for what in ("embed", "sample")
            )  # fmt: skip
    facts = {
        "likelihood": likelihood(bounds, arguments, images, samples),
        "embedding": throughput("Embedding", embedded, arguments.clock, n),
        "sampling": throughput("Sampling", sampled, arguments.clock, n),
    }
    write(arguments, facts, race)


if __name__ == "__main__":
    main()
