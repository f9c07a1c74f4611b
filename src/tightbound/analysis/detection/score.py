"""How unusual data are under a model, by several scores, and how well each tells one set of data from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tightbound.analysis.detection.detection import Area, aupr, auroc
from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.analysis.estimate import Analysis, Estimate, estimate, mean
from tightbound.components import TABLE, make
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.data.feed import Source, pick

BINS = 30  # of the histograms
AREAS: dict[str, Callable[[Array, Array], Area]] = {"auroc": auroc, "aupr": aupr}
REFERENCE = 1000  # training data that scores compare with, at least


@dataclass(frozen=True)
class Scores(Analysis):
    """Of one set of data."""

    per_example: Mapping[str, Array]  # (N,) each: "index" and the scores that there are

    def unusual(self, n: int = 8) -> dict[str, list[int]]:
        """By score, the indices of the n most unusual data, the most unusual first."""
        index = self.per_example["index"]
        scores = {name: np.nan_to_num(v, nan=-np.inf, posinf=np.inf) for name, v in self.per_example.items()}
        return {name: index[np.argsort(-v)[:n]].tolist() for name, v in scores.items() if name != "index"}

    def to_json(self) -> dict[str, Any]:
        """Means, the indices of the most unusual data, and a histogram of each score."""
        return {
            **super().to_json(),
            "unusual": self.unusual(),
            "histograms": histograms(own=self),
        }


@dataclass(frozen=True)
class Detection:
    """How well scores tell other data from a model's own."""

    own: Scores
    other: Scores
    numbers: Mapping[str, Estimate]  # "nll_auroc", "nll_aupr", ...
    intervals: Mapping[str, tuple[float, float]]  # 95%, by the same names

    def to_json(self) -> dict[str, Any]:
        """Numbers with their intervals, the AUPR of chance, and of both sets means and histograms of each score."""
        numbers = {
            name: {**asdict(number), "interval": self.intervals.get(name)} for name, number in self.numbers.items()
        }
        sizes = [len(part.per_example["index"]) for part in (self.own, self.other)]
        return {
            "numbers": numbers,
            "chance": sizes[1] / sum(sizes),
            "own": self.own.to_json(),
            "other": self.other.to_json(),
            "histograms": histograms(own=self.own, other=self.other),
        }


def histograms(**sets: Scores) -> dict[str, dict[str, list[float]]]:
    """By score: bin edges, and the counts of each set; the outermost bins hold all that lies beyond them."""
    found = {}
    for name in next(iter(sets.values())).per_example:
        given = {key: part.per_example[name] for key, part in sets.items() if name in part.per_example}
        values = np.concatenate([*given.values()])
        values = values[np.isfinite(values)]
        if name == "index" or not len(values):
            continue
        low, high = np.quantile(values, [0.005, 0.995])
        edges = np.linspace(low, high, BINS + 1)
        if not edges[-1] > edges[0]:
            edges = np.histogram_bin_edges(values, BINS)
        inside = {key: np.clip(v[~np.isnan(v)], edges[0], edges[-1]) for key, v in given.items()}
        counts = {key: np.histogram(v, edges)[0].tolist() for key, v in inside.items()}
        found[name] = {"edges": edges.tolist(), **counts}
    return found


def score(
    model: VAE,
    data: Source,
    train: Source,
    *,
    scores: Sequence[Score | str] = (),
    samples: int = 100,
    most: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Scores:
    """Scores of data, each the higher the more unusual an example is.

    Arguments:
        data: What is scored.
        train: Training data, with which some scores compare.
        scores: Which ("regret(steps=200)", or objects); none: all that there are.
        samples: k of the IWAE bound that stands for log p(x).
        most: Score at most so many data, picked at random; of training data as many are taken, but at least 1000.
        progress: Show progress bars on standard error.

    Raises:
        InputError: data of another shape or domain, no data, or an unknown score.
    """
    scored, reference = _views(model, (data,), train, samples, most, seed, progress)
    return _score(scored, reference, _chosen(scores))


def detect(
    model: VAE,
    own: Source,
    other: Source,
    train: Source,
    *,
    scores: Sequence[Score | str] = (),
    samples: int = 100,
    most: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Detection:
    """How well each score tells `other` data from the model's `own`: AUROC and AUPR of "is of the other data".

    Arguments:
        own: Data like those that the model was trained on, but not these.
        other: What should be more unusual.
        train, scores, samples, most, seed, progress: See `score`.

    Raises:
        InputError: as `score`.
    """
    first, second, third = _views(model, (own, other), train, samples, most, seed, progress)
    chosen = _chosen(scores)
    a, b = _score(first, third, chosen), _score(second, third, chosen)
    numbers, intervals = {}, {}
    for part in chosen:
        for kind, area in AREAS.items():
            name = f"{part.name}_{kind}"
            numbers[name], interval = _area(part.name, kind, area, a, b)
            if interval is not None:
                intervals[name] = interval
    return Detection(a, b, numbers, intervals)


def _views(
    model: VAE, sources: Sequence[Source], train: Source, samples: int, most: int, seed: int, progress: bool
) -> list[View]:
    whole("samples", samples, least=1)
    picked = [pick(model, source, most, seed) for source in sources]
    # others than those that are scored, where training data are scored
    picked.append(pick(model, train, max(most, REFERENCE), key_seed("train", seed)))
    return [View(model, batch, samples, seed, progress) for batch in picked]


def _chosen(scores: Sequence[Score | str]) -> list[Score]:
    chosen = [make("score", s) if isinstance(s, str) else s for s in scores or TABLE["score"]]
    names = [part.name for part in chosen]
    if len(set(names)) < len(names):
        raise InputError(f"a score is named twice: {', '.join(names)}")
    return chosen


def _score(data: View, train: View, scores: Sequence[Score]) -> Scores:
    index = data.batch.positions().numpy()
    numbers, per_example = {}, {"index": index}
    for part in scores:
        facts: dict[str, Any] = {
            "unit": part.unit(data.model),
            "target": part.target(data.model),
            "samples": data.samples,
            "description": part.description,
        }
        reason = part.lacks(data)
        if reason is not None:
            numbers[part.name] = Estimate(None, None, len(index), estimator="none", reason=reason, **facts)
            continue
        values = np.asarray(part(data, train), dtype=float)
        per_example[part.name] = values
        facts |= {"estimator": part.estimator(data, train), "reason": part.label(data.model)}
        given = values[~np.isnan(values)]
        if len(given):
            numbers[part.name] = mean(given, **facts)
        else:
            numbers[part.name] = Estimate(None, None, len(index), **{**facts, "reason": "no example has this score"})
    return Scores(numbers, per_example)


def _area(
    name: str, kind: str, area: Callable[[Array, Array], Area], a: Scores, b: Scores
) -> tuple[Estimate, tuple[float, float] | None]:
    description = {
        "auroc": "probability that other data score higher; 0.5 is chance",
        "aupr": "average precision for finding the other data; their share is chance",
    }[kind]
    facts: dict[str, Any] = {
        "unit": kind.upper(),
        "target": f"other data told from own by {name}",
        "description": description,
    }
    lacking = [s.numbers[name].reason for s in (a, b) if name not in s.per_example]
    own, other = (np.zeros(0) if lacking else s.per_example[name][~np.isnan(s.per_example[name])] for s in (a, b))
    facts["n"] = len(own) + len(other)
    if min(len(own), len(other)) < 2:
        reason = lacking[0] if lacking else "needs at least two data of each set with this score"
        return Estimate(None, None, estimator="none", reason=reason, **facts), None
    found = area(own, other)
    reason = a.numbers[name].reason
    if found.stderr is None:
        reason = "no standard error: the scores of the two sets do not overlap"
    return estimate(found.value, found.stderr, estimator=found.estimator, reason=reason, **facts), found.interval
