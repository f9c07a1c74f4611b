"""Paths between latent codes: interpolation, measured in data space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.estimate import Estimate, scalar
from tightbound.analysis.figures import Bars, Figure, Lines, Panel
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError, InputError

if TYPE_CHECKING:
    from tightbound.trained import Trained

MOVED = 100  # examples that the response to each dimension is averaged over, at most


@dataclass(frozen=True, kw_only=True)
class Paths(Analysis[Result]):
    """Measure linear and spherical paths between the latent codes of pairs of examples, decoded to data space.

    The analysis measures the length and evenness of the paths, and how far from the data they lead: a path that is
    better than a cross-fade of the two examples stays nearer to the training data in its middle. It also measures how
    far x moves with each latent dimension.
    """

    name = "paths"
    question = "What lies between the latent codes of two examples?"

    pairs: int = option(200, least=2)
    """Number of pairs of examples, picked at random; fewer if there are fewer examples."""
    steps: int = option(16, least=4, variant=True)
    """Number of steps of each path, a multiple of 4."""
    against: Trained | None = option(None, metavar="RUN", variant=True, runs=True)
    """Another run on the same data, to compare with: the differences between both, on the same pairs, are reported as
    estimates difference_..."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Measure the paths and the response to each dimension."""
        import numpy as np
        import torch

        from tightbound.analysis.geometry.measures import compare_paths, paths, traversal
        from tightbound.data.feed import pick
        from tightbound.latents.codes import code_latents

        if code_latents(trained.model.latents):
            raise CompositionError("between code indices there is no path to measure; see code_usage()")
        chosen = pick(trained.model, subject.examples, 2 * self.pairs, self.seed)
        chosen = chosen[torch.from_numpy(np.random.default_rng(self.seed).permutation(len(chosen)))]
        options = {"steps": self.steps, "seed": self.seed}
        found = paths(trained.model, chosen, subject.train, **options)
        estimates = {**found.estimates, "response": traversal(trained.model, chosen[:MOVED], seed=self.seed)}
        n, difference = len(found.per_pair["index"]), {}
        if self.against is not None:
            theirs = self.against.data
            if theirs is None or theirs.fingerprint != subject.training_data.fingerprint:
                raise InputError("the two models were trained on different data; compare models on the same data")
            other = paths(self.against.model, chosen, subject.train, **options)
            difference = compare_paths(found, other)
        profile = found.plain_profile()
        return Result(
            {**estimates, **{f"difference_{name}": each for name, each in difference.items()}},
            sentences=_sentences(estimates),
            caption=f"{n} pairs of examples ({subject.name}), linear and spherical paths between their posterior means",
            figures=_figures(profile, estimates),
            details={"profile": profile},
        )


def _sentences(estimates: Mapping[str, Estimate]) -> Sequence[str]:
    fade = scalar(estimates["crossfade_distance"])
    best = {path: scalar(estimates[f"midpoint_distance_{path}"]) for path in ("linear", "spherical")}
    known = {path: value for path, value in best.items() if value == value}
    if not known or fade != fade:
        return ()
    path = min(known, key=lambda each: known[each])
    verdict = "stays nearer to the data than" if known[path] < fade else "does no better than"
    return (
        f"Halfway between two examples, the {path} path {verdict} a cross-fade: {known[path]:.2f} against {fade:.2f} "
        "times the distance of the ends to the nearest training example.",
    )


def _figures(profile: Mapping[str, Sequence[float | None]], estimates: Mapping[str, Estimate]) -> Sequence[Figure]:
    steps, stops = len(profile["step_linear"]), len(profile["distance_linear"])
    shown = ("linear", "spherical")
    speed = Lines(
        x=[(i + 0.5) / steps for i in range(steps)],
        series={**{path: profile[f"step_{path}"] for path in shown}, "cross-fade": [1.0] * steps},
        dashed=("cross-fade",), low=0.0,
        title="speed", x_label="place on the path", y_label="speed, cross-fade = 1",
    )  # fmt: skip
    middle: list[float | None] = [1.0, *[None] * (stops - 2), 1.0]
    middle[stops // 2] = scalar(estimates["crossfade_distance"])
    fade = {"cross-fade": middle} if estimates["crossfade_distance"].value is not None else {}
    distance = Lines(
        x=[i / (stops - 1) for i in range(stops)],
        series={**{path: profile[f"distance_{path}"] for path in shown}, **fade},
        dashed=("cross-fade",), markers=True,
        title="distance from the data", x_label="place on the path", y_label="distance, ends = 1",
    )  # fmt: skip
    panels: list[Panel] = [speed, distance]
    explained = (
        "Left: how fast x moves along the path; a peak is a place where a small step of z changes x a lot. Next: the "
        "distance to the nearest training example; a path above the cross-fade leads away from the data."
    )
    response = estimates["response"].value
    if isinstance(response, list):
        order = sorted(range(len(response)), key=lambda i: -response[i])
        labels, values = [str(i) for i in order], [response[i] for i in order]
        panels.append(Bars(labels=labels, series={"response": values}, title="response to each dimension",
                           x_label="latent dimension, largest first", y_label="distance in x"))  # fmt: skip
        explained += " Right: how far x moves with each latent dimension; the decoder ignores dimensions without a bar."
    return (Figure("paths", "Paths between latent codes", explained, panels),)
