"""Score examples under a model, and measure how well each score tells one data set from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Scored:
    """Scores of one data set.

    Attributes:
        batch: The raw examples, N.
        estimates: Mean of each score, by name.
        per_example: "index", positions (N,) in the data, and the values (N,) of each score that exists.
    """

    batch: Batch
    estimates: Mapping[str, Estimate]
    per_example: Mapping[str, Array]


@dataclass(frozen=True)
class Detected:
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


def score(
    model: VAE,
    data: Source,
    train: Source,
    *,
    scores: Sequence[Component | str] = (),
    samples: int = 100,
    max_examples: int = 1000,
    reference: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Scored:
    """Score examples: the higher, the more unusual.

    Args:
        model: The model.
        data: Examples to score.
        train: Training data, which some scores compare with.
        scores: Scores, as objects or by name: "regret(steps=200)"; empty: all of them.
        samples: Importance samples of the IWAE bound that stands for log p(x).
        max_examples: Score at most so many examples, picked at random.
        reference: Compare with as many training examples as are scored, but at least with this many.
        seed: Random seed.
        progress: Show progress bars on standard error.

    Raises:
        InputError: If the data do not fit the model, there are none, or a score is unknown.
    """
    chosen = _chosen(scores)
    scored, known = _views(model, (data,), train, samples, max_examples, reference, seed, progress)
    return _score(scored, known, chosen)


def detect(
    model: VAE,
    own: Source,
    other: Source,
    train: Source,
    *,
    scores: Sequence[Component | str] = (),
    samples: int = 100,
    max_examples: int = 1000,
    reference: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Detected:
    """Measure how well each score tells other data from a model's own: AUROC and AUPR of "is one of the others".

    Args:
        model: The model.
        own: Examples like those that the model was trained on, but not these.
        other: Examples that should be more unusual.
        train: As for `score`, like the arguments that follow.

    Raises:
        InputError: As `score`.
    """
    chosen = _chosen(scores)
    first, second, known = _views(model, (own, other), train, samples, max_examples, reference, seed, progress)
    a, b = _score(first, known, chosen), _score(second, known, chosen)
    estimates, intervals = {}, {}
    for part in chosen:
        for kind in AREAS:
            name = f"{part.name}_{kind}"
            estimates[name], interval = _area(part.name, kind, a, b)
            if interval is not None:
                intervals[name] = interval
    return Detected(a, b, estimates, intervals)


def _views(
    model: VAE,
    sources: Sequence[Source],
    train: Source,
    samples: int,
    max_examples: int,
    reference: int,
    seed: int,
    progress: bool,
) -> list[View]:
    whole("samples", samples, least=1)
    picked = [pick(model, source, max_examples, seed) for source in sources]
    # another seed: if training data are scored, they are compared with other training examples
    picked.append(pick(model, train, max(max_examples, reference), key_seed("train", seed)))
    return [View(model, batch, samples, seed, progress) for batch in picked]


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
        facts: dict[str, Any] = {
            "unit": part.unit(data.model),
            "target": part.target(data.model),
            "samples": data.samples,
            "description": part.description,
        }
        reason = part.reason_missing(data)
        if reason is not None:
            estimates[part.name] = Estimate(None, None, len(index), estimator="none", reason=reason, **facts)
            continue
        values = np.asarray(part(data, train), dtype=float)
        per_example[part.name] = values
        facts |= {"estimator": part.estimator(data, train), "reason": part.caveat(data.model)}
        known = values[~np.isnan(values)]
        if len(known):
            estimates[part.name] = mean(known, **facts)
        else:
            facts["reason"] = "no example has this score"
            estimates[part.name] = Estimate(None, None, len(index), **facts)
    return Scored(data.batch, estimates, per_example)


def _area(name: str, kind: str, a: Scored, b: Scored) -> tuple[Estimate, tuple[float, float] | None]:
    area, description = AREAS[kind]
    facts: dict[str, Any] = {
        "unit": kind.upper(),
        "target": f"other data told from own data by {name}",
        "description": description,
    }
    missing = [part.estimates[name].reason for part in (a, b) if name not in part.per_example]
    if missing:
        own = other = np.zeros(0)
    else:
        own, other = (part.per_example[name][~np.isnan(part.per_example[name])] for part in (a, b))
    facts["n"] = len(own) + len(other)
    if min(len(own), len(other)) < 2:
        reason = missing[0] if missing else "at least two examples of each data set must have this score"
        return Estimate(None, None, estimator="none", reason=reason, **facts), None
    found = area(own, other)
    reason = a.estimates[name].reason
    if found.stderr is None:
        reason = "no standard error: the scores of the two data sets do not overlap"
    return estimate(found.value, found.stderr, estimator=found.estimator, reason=reason, **facts), found.interval
