"""Compare `impute` with default options to the imputers of scikit-learn.

    OMP_NUM_THREADS=1 python benchmarks/imputation.py
    OMP_NUM_THREADS=1 python benchmarks/imputation.py --only breast_cancer --hidden 0.5

In each of the ten tables of `defaults.py`, a fifth of the known entries is hidden at random. Then tightbound trains on
the rest with all defaults (for at most three minutes), and all imputers fill in the table that they were fitted to. The
output is the root mean square error of hidden numbers, in standard deviations of their columns, and the share of hidden
categories that are right, with standard errors over seeds. The imputers of scikit-learn receive K categories as K - 1
columns of zeros and ones (of K columns, the others would reveal each one) or as numbers that are rounded, whichever is
right more often. They can return any number; tightbound returns one that the column can hold.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from defaults import TABLES, opened

import tightbound as tb
from tightbound.core.domain import Domain
from tightbound.data.given import training_data

Array = np.ndarray[Any, Any]
IMPUTERS = ("tightbound", "iterative", "neighbors", "mean or mode")


def table(name: str) -> tuple[Array, tuple[Domain, ...] | None]:
    """Return all rows (N, D) of a table, with NaN for missing entries, and the kinds of its columns if they differ."""
    data = opened(name)
    x = next(data.whole.epoch(len(data.whole))).x.double().numpy()  # pyright: ignore
    return x, data.domain.columns or None


def by_sklearn(x: Array, columns: Sequence[Domain], imputer: Any, *, one_hot: bool) -> Array:
    """Fill in a table with an imputer of scikit-learn, which receives categories as zeros and ones or as numbers."""
    nominal = [own.kind == "categories" for own in columns]
    unit = np.where(nominal, 1.0, np.maximum(np.nanstd(x, 0), 1e-30))  # distances between rows weight columns equally
    x = x / unit
    parts = []
    for column, own, split in zip(x.T, columns, nominal, strict=True):
        known = column[:, None]
        if split and one_hot:
            known = (known == np.arange((own.levels or 2) - 1)).astype(float)
        parts.append(np.where(np.isnan(column)[:, None], np.nan, known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filled = imputer.fit_transform(np.concatenate(parts, 1))
    out, start = np.empty_like(x), 0
    for i, (part, own) in enumerate(zip(parts, columns, strict=True)):
        found = filled[:, start : start + part.shape[1]]
        out[:, i] = found[:, 0]
        if nominal[i]:
            last = (own.levels or 2) - 1
            every = np.concatenate([found, 1 - found.sum(1, keepdims=True)], 1)
            out[:, i] = every.argmax(1) if one_hot else np.rint(found[:, 0]).clip(0, last)
        start += part.shape[1]
    return out * unit


def scores(filled: Array, x: Array, hidden: Array, columns: Sequence[Domain]) -> tuple[float, float]:
    """Return the error of hidden numbers and the share of hidden categories that are right (NaN if there are none)."""
    nominal = np.array([own.kind == "categories" for own in columns])
    error = (filled - x) / np.nanstd(x, 0)
    numbers, words = hidden & ~nominal, hidden & nominal
    right = float((filled == x)[words].mean()) if words.any() else float("nan")
    return float(np.sqrt(np.square(error[numbers]).mean())), right


def compared(name: str, seed: int, share: float, minutes: float, options: dict[str, Any]) -> dict[str, Any]:
    """Hide a share of the entries of a table, and return the scores of each imputer."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401, pyright: ignore
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    x, kinds = table(name)
    rng = np.random.default_rng(seed)
    hidden = (rng.random(x.shape) < share) & ~np.isnan(x)
    given, columns = np.where(hidden, np.nan, x), kinds or (Domain("real"),) * x.shape[1]
    start = time.perf_counter()
    data = training_data(given.astype(np.float32), kinds=None if kinds is None else list(kinds))
    trained = tb.train(data, quiet=True, seed=seed, minutes=minutes, **options)  # pyright: ignore
    filled = trained.impute(given.astype(np.float32)).double().numpy()
    seconds = time.perf_counter() - start
    found: dict[str, Any] = {"table": name, "seed": seed, "seconds": seconds, "options": options, "hidden": share}
    found["tightbound"] = scores(filled, x, hidden, columns)
    others = (IterativeImputer(random_state=seed), KNNImputer(), SimpleImputer())
    for title, imputer in zip(IMPUTERS[1:], others, strict=True):
        tried = (scores(by_sklearn(given, columns, imputer, one_hot=way), x, hidden, columns) for way in (True, False))
        found[title] = max(tried, key=lambda score: (score[1], -score[0]))
    return found


def shown(values: Sequence[float]) -> str:
    """Return the mean over seeds with its standard error."""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE", help="tables to use")
    parser.add_argument("--seeds", type=int, default=5, help="number of random seeds")
    parser.add_argument("--hidden", type=float, default=0.2, help="share of the known entries that are hidden")
    parser.add_argument("--minutes", type=float, default=3.0, help="time limit for training")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="training options")
    parser.add_argument("--json", type=Path, help="file for the results, one line each")
    arguments = parser.parse_args()
    level = 0
    for name in arguments.only:
        runs = [
            compared(name, seed, arguments.hidden, arguments.minutes, arguments.options)
            for seed in range(arguments.seeds)
        ]
        if arguments.json is not None:
            with arguments.json.open("a") as file:
                file.writelines(json.dumps(run, default=float) + "\n" for run in runs)
        errors, right = ({k: [run[k][i] for run in runs] for k in IMPUTERS} for i in range(2))
        words = not np.isnan(right["tightbound"]).any()
        beside = [np.subtract(errors["tightbound"], errors["iterative"])]
        beside += [np.subtract(right["iterative"], right["tightbound"])] if words else []
        level += all(worse.mean() <= 2 * worse.std(ddof=min(1, len(worse) - 1)) / len(worse) ** 0.5 for worse in beside)
        print(f"{name:14} {np.mean([run['seconds'] for run in runs]):5.0f} s", end="")
        for imputer in IMPUTERS:
            print(f"  {imputer}: error {shown(errors[imputer])}", end="")
            print(f", right {shown(right[imputer])}" if words else "", end="")
        print(flush=True)
    print(f"level with IterativeImputer or better, within two standard errors: {level} of {len(arguments.only)} tables")


if __name__ == "__main__":
    main()
