"""Tables and figures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tightbound.analysis.estimate import Estimate, with_error
from tightbound.analysis.figures import Bars, Figure, Lines, Panel
from tightbound.analysis.result import Table


def _listed(estimate: Estimate | None) -> list[float]:
    return estimate.value if estimate is not None and isinstance(estimate.value, list) else []


def _errors(estimate: Estimate, n: int) -> list[float]:
    return estimate.stderr if isinstance(estimate.stderr, list) else [0.0] * n


def ladder_table(estimates: Mapping[str, Estimate]) -> Sequence[Table]:
    """Return the IWAE bound by number of samples, if there are several."""
    bounds, gains = _listed(estimates.get("iwae_ladder")), _listed(estimates.get("iwae_gain"))
    if not bounds or not gains:
        return ()
    ladder, gain = estimates["iwae_ladder"], estimates["iwae_gain"]
    at, errors = ladder.at or [], _errors(ladder, len(bounds))
    added = ["", *(with_error(*pair) for pair in zip(gains, _errors(gain, len(gains)), strict=True))]
    rows = [
        [f"{int(k):,}", with_error(bound, error), more]
        for k, bound, error, more in zip(at, bounds, errors, added, strict=True)
    ]
    caption = "All k use the same draws; the gains are paired over examples."
    columns = ("k", "IWAE bound, nats", "gain over the previous k")
    return (Table("The bound by number of importance samples k", columns, rows, caption),)


def figures(estimates: Mapping[str, Estimate]) -> Sequence[Figure]:
    """Return the KL by latent dimension and the bound by number of samples, where they exist."""
    found: list[Figure] = []
    kl = estimates.get("kl_per_dimension")
    if kl is not None and (values := _listed(kl)):
        order = sorted(range(len(values)), key=lambda i: -values[i])
        errors = _errors(kl, len(values))
        panel: Panel = Bars(
            labels=[str(i + 1) for i in order], series={"KL": [values[i] for i in order]},
            errors={"KL": [errors[i] for i in order]}, x_label="latent dimension, largest first", y_label="KL, nats",
        )  # fmt: skip
        caption = "A dimension without a bar carries nothing about x: the decoder ignores it."
        found.append(Figure("kl-by-dimension", "Use of the latent dimensions", caption, (panel,)))
    ladder = estimates.get("iwae_ladder")
    if ladder is not None and len(bounds := _listed(ladder)) > 1:
        panel = Lines(
            x=ladder.at or [], series={"IWAE bound": bounds}, errors={"IWAE bound": _errors(ladder, len(bounds))},
            log_x=True, markers=True, x_label="importance samples k", y_label="bound on log p(x), nats",
        )  # fmt: skip
        caption = "The bound rises with k towards log p(x); where it still rises at the end, more samples are needed."
        found.append(Figure("bound-by-samples", "The bound by number of importance samples", caption, (panel,)))
    return found
