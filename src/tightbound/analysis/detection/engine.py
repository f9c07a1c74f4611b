"""Score examples under a model, and measure how well each score tells one data set from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.detection.areas import Area, aupr, auroc
from tightbound.analysis.detection.scores.base import Array, Score, View
from tightbound.analysis.estimate import Estimate, estimate, mean
from tightbound.components import TABLE, make
from tightbound.core.component import Component
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, pick

AREAS: dict[str, tuple[Callable[[Array, Array], Area], str]] = {
    "auroc": (auroc, "probability that an example of the other data scores higher; 0.5 is chance"),
    "aupr": (aupr, "average precision for finding the other data; chance is their share"),
}


class Scored(NamedTuple):
    """Scores of one data set.

    Attributes:
        batch: The raw examples, N.
        estimates: Mean of each score, by name.
        per_example: "index", positions (N,) in the data, and the values (N,) of each score that exists.
    """

    batch: Batch
    estimates: Mapping[str, Estimate]
    per_example: Mapping[str, Array]


class Detected(NamedTuple):
    """How well scores tell other data from a model's own.

    Attributes:
        own: Scores of the model's own data.
        other: Scores of the other data.
        estimates: "nll_auroc", "nll_aupr", ...
        intervals: 95% intervals, by the same names.
    """

    own: Scored
    other: Scored
    estimates: Mapping[str, Estimate]
    intervals: Mapping[str, tuple[float, float]]


def score(model: VAE, data: Source, train: Source, **options: Any) -> Scored:
    """Score examples: the higher, the more unusual; see `score_all`."""
    return score_all(model, (data,), train, **options)[0]


def detect(model: VAE, own: Source, other: Source, train: Source, **options: Any) -> Detected:
    """Measure how well each score tells other data from a model's own: AUROC and AUPR of "is one of the others".

    Args:
        model: The model.
        own: Examples like those that the model was trained on, but not these.
        other: Examples that should be more unusual.
        train: Training data, which some scores compare with.
        **options: See `score_all`.
    """
    a, b = score_all(model, (own, other), train, **options)
    found = {f"{name}_{kind}": _area(name, kind, a, b) for name in a.estimates for kind in AREAS}
    intervals = {name: interval for name, (_, interval) in found.items() if interval is not None}
    return Detected(a, b, {name: number for name, (number, _) in found.items()}, intervals)


def score_all(
    model: VAE,
    sources: Sequence[Source],
    train: Source,
    *,
    scores: Sequence[Component | str] = (),
    samples: int = 100,
    max_examples: int = 1000,
    reference: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> list[Scored]:
    """Score the examples of several data sets.

    Args:
        model: The model.
        sources: Data sets to score.
        train: Training data, which some scores compare with.
        scores, samples, max_examples, seed, progress: See `ScoreExamples`.
        reference: Compare with as many training examples as are scored, but at least with this many.

    Raises:
        InputError: If the data do not fit the model, there are none, or a score is unknown.
    """
    chosen = _chosen(scores)
    whole("samples", samples, least=1)
    picked = [pick(model, source, max_examples, seed) for source in sources]
    # another seed: if training data are scored, they are compared with other training examples
    picked.append(pick(model, train, max(max_examples, reference), key_seed("train", seed)))
    *views, known = (View(model, batch, samples, seed, progress) for batch in picked)
    return [_score(view, known, chosen) for view in views]


def _chosen(scores: Sequence[Component | str]) -> list[Score]:
    chosen: list[Any] = [make("score", s) if isinstance(s, str) else s for s in scores or TABLE["score"]]
    names = [part.name for part in chosen]
    if len(set(names)) < len(names):
        raise InputError(f"a score is named twice: {', '.join(names)}; name each once")
    return chosen


def _score(data: View, train: View, scores: Sequence[Score]) -> Scored:
    index = data.batch.positions().numpy()
    estimates, per_example = {}, {"index": index}
    for part in scores:
        facts: dict[str, Any] = {**part.facts(data.model), "samples": data.samples}
        reason = part.reason_missing(data)
        if reason is None:
            per_example[part.name] = values = np.asarray(part(data, train), dtype=float)
            facts |= {"estimator": part.estimator(data, train)}
            facts |= {"reason": data.model.observation.not_a_likelihood if part.of_bound else None}
            known = values[~np.isnan(values)]
            if len(known):
                estimates[part.name] = mean(known, **facts)
                continue
            reason = "no example has this score"
        estimates[part.name] = Estimate.missing(reason, n=len(index), **facts)
    return Scored(data.batch, estimates, per_example)


def _area(name: str, kind: str, a: Scored, b: Scored) -> tuple[Estimate, tuple[float, float] | None]:
    area, description = AREAS[kind]
    facts: dict[str, Any] = {
        "unit": kind.upper(),
        "target": f"other data told from own data by {name}",
        "description": description,
    }
    missing = [part.estimates[name].reason for part in (a, b) if name not in part.per_example]
    values = [np.zeros(0) if missing else part.per_example[name] for part in (a, b)]
    own, other = (each[~np.isnan(each)] for each in values)
    facts["n"] = len(own) + len(other)
    if min(len(own), len(other)) < 2:
        reason = missing[0] if missing else "at least two examples of each data set must have this score"
        return Estimate.missing(str(reason), **facts), None
    found = area(own, other)
    reason = a.estimates[name].reason
    if found.stderr is None:
        reason = "no standard error: the scores of the two data sets do not overlap"
    return estimate(found.value, found.stderr, estimator=found.estimator, reason=reason, **facts), found.interval
