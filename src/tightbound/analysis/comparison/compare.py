"""Paired differences between models on the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.comparison.differences import ASSUMPTIONS, COMPARED, Difference
from tightbound.analysis.estimate import Estimate, value_text
from tightbound.analysis.figures import Figure, Intervals
from tightbound.analysis.result import Result, Table
from tightbound.core.errors import InputError

if TYPE_CHECKING:
    from tightbound.analysis.comparison.engine import Compared
    from tightbound.core.model import VAE
    from tightbound.data import Data, Split
    from tightbound.trained import Trained

BETTER = {1: "higher is better", -1: "lower is better", 0: "neither is better"}


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """Differences between models; `estimates` holds them as "iwae: a - b"."""

    @property
    def best(self) -> str:
        """Name of the model with the best bound; without bounds, with the smallest reconstruction error."""
        return self.details["best"]

    @property
    def differences(self) -> list[Difference]:
        """Differences of all pairs in each quantity."""
        return [Difference.from_json(each) for each in self.details["differences"]]

    @property
    def runs(self) -> dict[str, dict[str, Estimate]]:
        """Estimates of each model, by its name and quantity."""
        runs = self.details["runs"]
        return {name: {q: Estimate(**each) for q, each in own.items()} for name, own in runs.items()}

    def between(self, a: str, b: str, quantity: str) -> Difference:
        """Return the difference a - b, whichever was given first.

        Raises:
            KeyError: If there is no such pair.
        """
        for one in self.differences:
            if one.quantity == quantity and {one.a, one.b} == {a, b}:
                return one if one.a == a else one.reversed()
        raise KeyError((a, b, quantity))

    def against_best(self, quantity: str) -> list[Difference]:
        """Return the difference of each other model to the best one."""
        return [self.between(name, self.best, quantity) for name in self.runs if name != self.best]


@dataclass(frozen=True, kw_only=True)
class Compare(Analysis[Comparison]):
    """Compare trained models on the same examples, with the same noise.

    Differences are paired over examples, so that their standard errors are much smaller than those of each model. For
    each difference there is a two-sided p-value, corrected for the number of pairs (Holm), the probability that the
    first model is better, and the share of examples on which it is better.

    References:
        A simple sequentially rejective multiple test procedure (Holm 1979), https://www.jstor.org/stable/4615733
    """

    name = "compare"
    question = "Which model is better?"
    data = "named"
    reported = False

    others: tuple[Trained, ...] = option(metavar="RUN2 ...", variant=True, positional=True, runs=True)
    """One or more runs to compare with."""
    samples: int = option(500, least=1, passes=True)
    """Importance samples per example: k of the IWAE bound."""
    max_examples: int = option(2000, least=1, short="-n")
    """Maximum number of examples, picked at random."""

    def check(self) -> None:
        """Raise InputError for options out of range."""
        super().check()
        if not isinstance(self.others, tuple | list) or not self.others:
            raise InputError("one model was given to compare; give two or more")

    def run(self, trained: Trained, subject: Subject) -> Comparison:
        """Evaluate all models on the examples, and compare them in pairs."""
        from tightbound.analysis.comparison.engine import check_same_target, compare

        models = _named([trained, *self.others])
        check_same_target(models)
        known = subject.data
        if known is not None and known is trained.data and _is_split_of(subject.examples, known):
            for name, other in zip(list(models)[1:], self.others, strict=True):
                _check_same_data(next(iter(models)), trained, name, other)
        found = compare(
            models, subject.examples, samples=self.samples, max_examples=self.max_examples, seed=self.seed,
            progress=self.progress,
        )  # fmt: skip
        return result_of(found, subject.name)


def _named(trained: list[Trained]) -> dict[str, VAE]:
    """Return the models by the names of their runs, or by their paths if two runs have the same name."""
    paths = [None if one.path is None else one.path.resolve() for one in trained]
    given = [path for path in paths if path is not None]
    if len(set(given)) < len(given):
        raise InputError(f"a run is named twice: {', '.join(map(str, given))}; name different runs")
    short = len({path.name for path in given}) == len(given)
    names = [
        f"model {i}" if path is None else path.name if short else str(one.path)
        for i, (one, path) in enumerate(zip(trained, paths, strict=True), 1)
    ]
    return {name: one.model for name, one in zip(names, trained, strict=True)}


def _is_split_of(examples: Split, data: Data) -> bool:
    return any(examples is split for split in (data.test, data.train, data.whole))


def _check_same_data(first: str, trained: Trained, second: str, other: Trained) -> None:
    """Raise InputError if two models were not trained on the same data with the same test split."""
    one, two = trained.data, other.data
    if one is None or two is None:
        raise InputError(f"the data of {first!r} or {second!r} are not known; pass data=")
    if one.fingerprint != two.fingerprint or not one.fingerprint.startswith("sha256:"):
        raise InputError(
            f"{first!r} and {second!r} were trained on different data ({one.name}, {two.name}), or on data that cannot "
            "be told apart; pass data= to compare them on the same examples"
        )
    sizes = [0 if each.test is None else each.test.size for each in (one, two)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{first!r} set {sizes[0]:,} test examples aside and {second!r} {sizes[1]:,}: one was trained on examples "
            "that the other is tested on; train both with the same test data"
        )


def result_of(found: Compared, name: str) -> Comparison:
    """Return the result of a comparison on examples of this name."""
    details = {
        "best": found.best,
        "n": found.n,
        "target": found.target,
        "runs": {run: {q: asdict(each) for q, each in own.items()} for run, own in found.runs.items()},
        "differences": [asdict(each) for each in found.differences],
    }
    estimates = {f"{d.quantity}: {d.a} - {d.b}": d.difference for d in found.differences}
    plain = Comparison(estimates, details=details)
    to_best = {quantity: plain.against_best(quantity) for quantity in COMPARED}
    bound = "iwae" if any(one.p is not None for one in to_best["iwae"]) else "elbo"
    return Comparison(
        estimates,
        tabulated=True,
        caption=f"{found.n:,} examples ({name}), the same for all models, with the same noise; target: {found.target}",
        sentences=[one.sentence() for quantity in (bound, "reconstruction_mse") for one in to_best[quantity]],
        tables=[_table(found, to_best)],
        figures=_figures(found, to_best),
        details=details,
    )


def _table(found: Compared, to_best: Mapping[str, list[Difference]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for quantity, sign in COMPARED.items():
        rows.append((f"{quantity} ({BETTER[sign]})", *[""] * 5))
        differences = {one.a: one for one in to_best[quantity]}
        for run, own in found.runs.items():
            cells = ["best" if run == found.best else "", "", "", ""]
            if run in differences:
                one = differences[run]
                values = ((one.p_corrected, ".2g"), (one.probability, ".3f"), (one.win_rate, ".0%"))
                cells = [value_text(one.difference), *("-" if v is None else format(v, how) for v, how in values)]
            rows.append((f"  {run}", value_text(own[quantity]), *cells))
    pairs = len(found.runs) * (len(found.runs) - 1) // 2
    caption = (
        f"Paired differences from {found.best}, with a two-sided p-value"
        + f" (corrected for {pairs} pairs, Holm)" * (pairs > 1)
        + ". P(better): probability that the model is better; wins: share of examples on which it is better."
    )
    columns = ("", "mean ± stderr", "difference", "p", "P(better)", "wins")
    return Table("Differences", columns, rows, caption, [ASSUMPTIONS])


def _figures(found: Compared, to_best: Mapping[str, list[Difference]]) -> list[Figure]:
    panels = []
    for quantity, differences in to_best.items():
        known = [one for one in differences if one.difference.value is not None]
        if not known:
            continue
        unit = known[0].difference.unit
        panels.append(Intervals.of({one.a: one.difference for one in known}, title=quantity, x_label=unit))
    caption = f"Differences to {found.best}, mean over {found.n:,} examples with 95% intervals; 0: no difference."
    return [Figure("differences", "Differences between the models", caption, panels)] if panels else []
