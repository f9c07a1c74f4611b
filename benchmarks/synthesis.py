"""Are synthetic rows as useful as real ones for training a classifier?

    OMP_NUM_THREADS=1 python benchmarks/synthesis.py --seeds 3

30% of the rows of each table are held out for testing. `VAESynthesizer`, with its defaults, is fitted to the other rows
and draws as many new ones. One random forest learns to predict the target from the real training rows, and another from
the synthetic rows. Prints the accuracy of both on the test rows, and the share of the most frequent class, with
standard errors over seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from defaults import fetched
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from tightbound.sklearn import VAESynthesizer

TABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "penguins": (lambda: pd.read_csv(fetched("penguins")), "species"),
    "breast_cancer": (lambda: _named(load_breast_cancer(as_frame=True)), "target"),
    "wine": (lambda: _named(load_wine(as_frame=True)), "target"),
    "weather": (lambda: pd.read_csv(fetched("weather")).drop(columns="date"), "weather"),
}  # name of a table -> function that returns its rows, and the target column


def _named(bunch: Any) -> Any:
    """Return a data set of scikit-learn as a table whose classes are words."""
    return bunch.frame.assign(target=[str(bunch.target_names[i]) for i in bunch.target])


def accuracy(train: Any, test: Any, target: str, seed: int) -> float:
    """Return the accuracy on test rows of a random forest that is trained on other rows."""
    x = pd.get_dummies(pd.concat([train, test]).drop(columns=target)).astype(float)
    forest = RandomForestClassifier(500, random_state=seed)
    forest.fit(x[: len(train)], train[target].astype(str))
    return float(forest.score(x[len(train) :], test[target].astype(str)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=tuple(TABLES), metavar="TABLE", help="tables")
    parser.add_argument("--seeds", type=int, default=3, help="number of random seeds")
    arguments = parser.parse_args()
    for name in arguments.only:
        read, target = TABLES[name]
        table, found, began = read(), [], time.perf_counter()
        train: Any
        test: Any
        for seed in range(arguments.seeds):
            train, test = train_test_split(table, test_size=0.3, random_state=seed)
            rows = VAESynthesizer(random_state=seed).fit(train).sample(len(train))
            most = test[target].value_counts(normalize=True).max()
            found.append((accuracy(train, test, target, seed), accuracy(rows, test, target, seed), most))
        mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / len(found) ** 0.5
        named = zip(("real", "synthetic", "most"), mean, error, strict=True)
        words = [f"{what} {value:.3f} ± {deviation:.3f}" for what, value, deviation in named]
        print(f"{name:14} {'  '.join(words)}  {(time.perf_counter() - began) / len(found):.0f} s", flush=True)


if __name__ == "__main__":
    main()
