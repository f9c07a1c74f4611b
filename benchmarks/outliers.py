"""Compare `VAEOutlierDetector` with default options to the outlier detectors of scikit-learn and PyOD.

    OMP_NUM_THREADS=1 python benchmarks/outliers.py
    OMP_NUM_THREADS=1 python benchmarks/outliers.py --only wine iris --seeds 1
    OMP_NUM_THREADS=1 python benchmarks/outliers.py --pyod path/to/python

There are six labeled tables: four of scikit-learn, and two that come with packages (see `defaults.py`). In each table,
some classes are usual and one class is unusual. The number of unusual rows is reduced to a tenth of the number of usual
rows. Each detector is fitted to all rows without labels, and ranks them. The script prints the area under the ROC curve
with standard errors over seeds, which select the unusual rows, and the mean rank over tables. For detectors other than
tightbound, numbers are standardized, categories are one-hot, and means replace missing numbers. PCA scores a row by its
squared reconstruction error, with as many components as explain 90% of the variance. PyOD's VAE is included if `--pyod`
names a Python that has PyOD and torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from defaults import fetched
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from tightbound.sklearn import VAEOutlierDetector

Array = np.ndarray[Any, Any]
PYOD = """
import json, sys
import numpy as np
from pyod.models.vae import VAE
given = json.load(sys.stdin)
model = VAE(random_state=given["seed"], verbose=0).fit(np.array(given["x"]))
print(json.dumps(model.decision_scores_.tolist()))
"""


def _of(load: Callable[..., Any], unusual: int, usual: tuple[int, ...]) -> Callable[[], tuple[Any, Array]]:
    """Return a function that reads a data set of scikit-learn and marks one class as unusual."""

    def read() -> tuple[Any, Array]:
        x, y = load(return_X_y=True, as_frame=True)
        some = np.isin(y, (unusual, *usual))
        return x[some].reset_index(drop=True), np.asarray(y[some] == unusual)

    return read


def _from(name: str, column: str, unusual: str, leave_out: tuple[str, ...] = ()) -> Callable[[], tuple[Any, Array]]:
    """Return a function that reads a table of `defaults.py` and marks one class as unusual."""

    def read() -> tuple[Any, Array]:
        table = pd.read_csv(fetched(name))
        return table.drop(columns=[column, *leave_out]), np.asarray(table[column] == unusual)

    return read


TABLES: dict[str, Callable[[], tuple[Any, Array]]] = {
    "breast_cancer": _of(load_breast_cancer, 0, (1,)),  # malignant
    "digits": _of(load_digits, 9, (3, 5, 8)),
    "wine": _of(load_wine, 1, (0, 2)),
    "iris": _of(load_iris, 2, (0, 1)),
    "penguins": _from("penguins", "species", "Chinstrap"),
    "weather": _from("weather", "weather", "snow", ("date",)),
}


def contaminated(x: Any, unusual: Array, seed: int) -> tuple[Any, Array]:
    """Return all usual rows and a tenth as many unusual rows, chosen at random."""
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(unusual))[: round(0.1 * (~unusual).sum())]
    rows = np.sort(np.concatenate([np.flatnonzero(~unusual), kept]))
    return x.iloc[rows].reset_index(drop=True), unusual[rows]


def standardized(x: Any) -> Array:
    """Return a table of words and numbers as standardized numbers without missing entries."""
    numbers = pd.get_dummies(x, drop_first=True).astype(float)
    return StandardScaler().fit_transform(SimpleImputer().fit_transform(numbers))


def by_pca(x: Array) -> Array:
    """Return the squared reconstruction error of the first principal components."""
    pca = PCA(0.9).fit(x)
    return np.square(x - pca.inverse_transform(pca.transform(x))).sum(1)


def scores(x: Any, seed: int, options: dict[str, Any], pyod: Path | None) -> dict[str, Array]:
    """Return the scores (N,) of each detector, high for unusual rows."""
    z = standardized(x)
    found = {"tightbound": -VAEOutlierDetector(random_state=seed, **options).fit(x).score_samples(x)}
    found["IsolationForest"] = -IsolationForest(random_state=seed).fit(z).score_samples(z)
    found["LOF"] = -LocalOutlierFactor().fit(z).negative_outlier_factor_
    found["PCA"] = by_pca(z)
    if pyod is not None:
        given = json.dumps({"x": z.tolist(), "seed": seed})
        done = subprocess.run([pyod, "-c", PYOD], input=given, text=True, check=True, capture_output=True)
        found["PyOD VAE"] = np.array(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=tuple(TABLES), metavar="TABLE", help="tables")
    parser.add_argument("--seeds", type=int, default=5, help="number of random seeds")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="options of the estimator")
    parser.add_argument("--pyod", type=Path, metavar="PYTHON", help="Python executable with PyOD installed")
    arguments = parser.parse_args()
    ranks: list[dict[str, float]] = []
    for name in arguments.only:
        began, found, sizes = time.perf_counter(), [], []
        for seed in range(arguments.seeds):
            x, unusual = contaminated(*TABLES[name](), seed)
            each = scores(x, seed, arguments.options, arguments.pyod)
            found.append({title: roc_auc_score(unusual, values) for title, values in each.items()})
            sizes.append(len(x))
        areas = pd.DataFrame(found)
        mean, error = areas.mean(), areas.sem() if len(areas) > 1 else None
        ranks.append(dict(zip(mean.index, rankdata(-mean), strict=True)))
        shown = [f"{k}: {mean[k]:.3f}" + (f" ± {error[k]:.3f}" if error is not None else "") for k in mean.index]
        seconds = (time.perf_counter() - began) / arguments.seeds
        print(f"{name:14} {sizes[0]:4} rows  {'  '.join(shown)}  {seconds:.0f} s", flush=True)
    means = pd.DataFrame(ranks).mean().sort_values()
    print("mean rank:", ", ".join(f"{title} {rank:.2f}" for title, rank in means.items()))


if __name__ == "__main__":
    main()
