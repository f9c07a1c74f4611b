"""Are synthetic rows as useful as real ones for training a classifier?

    OMP_NUM_THREADS=1 python benchmarks/synthesis.py --seeds 3
    python benchmarks/peers.py && OMP_NUM_THREADS=1 python benchmarks/synthesis.py --seeds 3 --peers

30% of the rows of each table are held out for testing. `VAESynthesizer`, with its defaults, is fitted to the other rows
and draws as many new ones. With `--peers`, CTGAN's TVAE does the same with default options, in the peers' environment;
it does not accept missing entries, and is fitted to the complete rows. One random forest is trained to predict the
target on the real training rows, and another one on the rows of each synthesizer. The script prints the accuracy of
each forest on the test rows, and the share of the most frequent class, with standard errors over seeds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from defaults import fetched
from harness.race import Contestant, Race, peers_python
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


def of_tvae(race: Race, folder: Path, train: Any, seed: int) -> Any:
    """Return rows of CTGAN's TVAE, as many as there are training rows."""
    known = train.dropna()
    discrete = [name for name in known.columns if not pd.api.types.is_numeric_dtype(known[name])]
    known.to_csv(folder / "train.csv", index=False)
    race.ask("TVAE", train=str(folder / "train.csv"), out=str(folder / "rows.csv"), discrete=discrete, n=len(train),
             seed=seed)  # fmt: skip
    return pd.read_csv(folder / "rows.csv")


def compare(name: str, seeds: int, race: Race | None, folder: Path) -> str:
    """Return the line with the results of one table."""
    read, target = TABLES[name]
    table, began = read(), time.perf_counter()
    found: dict[str, list[float]] = {}
    train: Any
    test: Any
    for seed in range(seeds):
        train, test = train_test_split(table, test_size=0.3, random_state=seed)
        rows = {"real": train, "synthetic": VAESynthesizer(random_state=seed).fit(train).sample(len(train))}
        rows |= {} if race is None else {"TVAE": of_tvae(race, folder, train, seed)}
        for what, own in rows.items():
            found.setdefault(what, []).append(accuracy(own, test, target, seed))
        found.setdefault("most", []).append(test[target].value_counts(normalize=True).max())
    words = [
        f"{what} {np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
        for what, values in found.items()
    ]
    return f"{name:14} {'  '.join(words)}  {(time.perf_counter() - began) / seeds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=tuple(TABLES), metavar="TABLE", help="tables")
    parser.add_argument("--seeds", type=int, default=3, help="number of random seeds")
    parser.add_argument("--peers", action="store_true", help="also evaluate CTGAN's TVAE, in the peers' environment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tvae = [Contestant("TVAE", "contestants/tvae.py", python=peers_python())] if arguments.peers else []
        with Race(tvae, threads=1) as race:
            for name in arguments.only:
                print(compare(name, arguments.seeds, race if tvae else None, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
