"""Sentences, tables and figures about bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tightbound.analysis.estimate import Array, Estimate, value_text, with_error
from tightbound.analysis.figures import Bars, Figure, Intervals, Lines
from tightbound.analysis.result import Table
from tightbound.core.schema import listed
from tightbound.data import Split

Estimates = Mapping[str, Estimate]
PARTS = {
    "mutual_information": "mutual information",
    "total_correlation": "total correlation",
    "dimension_wise_kl": "dimension-wise KL",
}
WHOLE = {"mutual_information": "mutual information", "aggregate_kl": "KL(q(z) || p(z))"}


MOVED = 0.3  # acceptance rate below which the chains of AIS count as still


def left_out(values: Mapping[str, Array], examples: Split, most: int = 8) -> list[str]:
    """Return a sentence that lists the examples left out of the means because their values are not finite."""
    bounds = [values[name] for name in ("distortion", "elbo", "iwae") if name in values]
    index = torch.from_numpy(values["index"][~np.isfinite(bounds).all(0)])
    if not len(index):
        return []
    count = f"{len(index):,} example{'s' * (len(index) > 1)}"
    return [f"The means leave out {count} whose values are not finite: {listed(examples.titles(index), most)}."]


def _value(estimates: Estimates, name: str) -> float | None:
    found = estimates[name].value if name in estimates else None
    return found if isinstance(found, float) else None


def _listed(estimates: Estimates, name: str) -> list[float]:
    found = estimates[name].value if name in estimates else None
    return found if isinstance(found, list) else []


def _errors(estimate: Estimate) -> list[float]:
    n = len(estimate.value) if isinstance(estimate.value, list) else 0
    return estimate.stderr if isinstance(estimate.stderr, list) else [0.0] * n


def _text(estimate: Estimate) -> str:
    return f"{value_text(estimate)} {estimate.unit}" if estimate.value is not None else f"nothing ({estimate.reason})"


def ladder_table(estimates: Estimates) -> Sequence[Table]:
    """Return the IWAE bound by number of samples, if there are several."""
    bounds, gains = _listed(estimates, "iwae_ladder"), _listed(estimates, "iwae_gain")
    if not bounds or not gains:
        return ()
    ladder, gain = estimates["iwae_ladder"], estimates["iwae_gain"]
    added = ["", *(with_error(*pair) for pair in zip(gains, _errors(gain), strict=True))]
    rows = [
        [f"{int(k):,}", with_error(bound, error), more]
        for k, bound, error, more in zip(ladder.at or [], bounds, _errors(ladder), added, strict=True)
    ]
    caption = "All k use the same draws; the gains are paired over examples."
    columns = ("k", "IWAE bound, nats", "gain over the previous k")
    return (Table("The bound by number of importance samples k", columns, rows, caption),)


def evaluation_sentences(estimates: Estimates) -> list[str]:
    """Return what the latent code carries, in a sentence."""
    rate = _value(estimates, "rate")
    if rate is None:
        return []
    if _value(estimates, "uniform_rate") is not None:
        cost, share = f"{_value(estimates, 'uniform_rate'):.1f} nats", _value(estimates, "prior_gain_share") or 0.0
        learned = f"with equal probabilities, and the code prior saves {share:.0%} of it"
        unlearned = "with equal probabilities, because no code prior has been trained"
        return [
            f"The code indices cost {cost} per example {learned if _value(estimates, 'prior_gain') else unlearned}."
        ]
    text = f"The latent code carries {rate:.1f} nats about x"
    information, active = _value(estimates, "mutual_information"), _value(estimates, "active_units")
    if information is not None:  # with a reason if it is near log N, its maximum
        at_least = "at least " if estimates["mutual_information"].reason else ""
        part = min(max(information, 0.0), max(rate, 0.0))  # it lies between these, and its estimate need not
        text += f", of which {at_least}{part:.1f} tell the examples apart"
    if active is not None:
        kl = _listed(estimates, "kl_per_dimension") or _listed(estimates, "latent_mean")
        text += f"; {active:.0f} of {len(kl)} latent dimensions are in use"
    return [f"{text}."]


def evaluation_figures(estimates: Estimates) -> list[Figure]:
    """Return the KL by latent dimension, the bound by number of samples and the parts of the rate, if they exist."""
    found: list[Figure] = []
    if values := _listed(estimates, "kl_per_dimension"):
        errors = _errors(estimates["kl_per_dimension"])
        order = sorted(range(len(values)), key=lambda i: -values[i])
        bars = Bars(
            labels=[str(i) for i in order], series={"KL": [values[i] for i in order]},
            errors={"KL": [errors[i] for i in order]}, x_label="latent dimension, largest first", y_label="KL, nats",
        )  # fmt: skip
        caption = "A dimension without a bar carries nothing about x: the decoder ignores it."
        found.append(Figure("kl-by-dimension", "Use of the latent dimensions", caption, (bars,)))
    bounds, gains = _listed(estimates, "iwae_ladder"), _listed(estimates, "iwae_gain")
    if bounds and gains:
        ladder, gain = estimates["iwae_ladder"], estimates["iwae_gain"]
        line = Lines(
            x=ladder.at or [], series={"IWAE bound": bounds}, errors={"IWAE bound": _errors(ladder)}, log_x=True,
            markers=True, title="bound on log p(x)", x_label="importance samples k", y_label="nats",
        )  # fmt: skip
        steps = Bars(
            labels=[f"{int(k):,}" for k in gain.at or []], series={"gain": gains}, errors={"gain": _errors(gain)},
            title="gain over the previous k", x_label="importance samples k", y_label="nats",
        )  # fmt: skip
        caption = (
            "The bound rises with k towards log p(x); if the last gain is not small, more samples are needed. All k "
            "use the same samples; the gains are paired over examples."
        )
        found.append(Figure("bound-by-samples", "The bound by number of importance samples", caption, (line, steps)))
    return found + rate_figures(estimates)


def rate_figures(estimates: Estimates) -> list[Figure]:
    """Return the parts of the rate as a stacked bar, if they exist."""
    information = estimates.get("mutual_information")
    if information is None or information.value is None:
        return []
    by_dimension = estimates["marginal_kl"].value is not None  # else the parts are no divergences
    shown = PARTS if by_dimension else WHOLE
    parts = {label: estimates[name] for name, label in shown.items()}
    bars = Bars(
        labels=["rate"], stacked=True, x_label="nats per example",
        series={f"{label}: {value_text(part)}": [max(part.value, 0.0)] for label, part in parts.items()
                if isinstance(part.value, float)},  # Monte Carlo error may make a part negative
    )  # fmt: skip
    caption = (
        "Mutual information tells examples apart. The rest is KL(q(z) || p(z)): how far the latent codes of all "
        "examples "
        "together are from the prior, from which samples suffer."
    )
    if by_dimension:
        caption += " Total correlation is the part of the rest that comes from dependence between dimensions."
    if information.reason:
        caption += f" Mutual information is {information.reason}: for more examples it may be far higher."
    return [Figure("rate-parts", "What the rate is made of", caption, (bars,))]


def rate_sentences(estimates: Estimates) -> list[str]:
    """Return how much of the rate tells examples apart."""
    information, rest = estimates["mutual_information"], estimates["aggregate_kl"]
    if information.value is None:
        return [f"The rate cannot be decomposed: {information.reason}."]
    caveat = f" ({information.reason})" if information.reason else ""
    return [
        f"{_text(information)} of the rate tell the examples apart{caveat}; {_text(rest)} are the distance of the "
        "latent codes of all examples together from the prior."
    ]


def annealed_sentences(estimates: Estimates) -> list[str]:
    """Return how loose the IWAE bound is, how far off AIS itself can be, and whether its chains moved."""
    return [_looseness(estimates), _error_of_ais(estimates["bdmc_gap"]), *_still(estimates)]


def _looseness(estimates: Estimates) -> str:
    ais, iwae, difference = (estimates[name] for name in ("ais", "iwae", "ais_minus_iwae"))
    text = f"Over {ais.n:,} examples, AIS estimates log p(x) as {_text(ais)}"
    if difference.value is None:
        return f"{text}; there is no IWAE bound to compare it with: {iwae.reason}."
    value = difference.value if isinstance(difference.value, float) else 0.0
    text += f" and IWAE-{iwae.samples} as {_text(iwae)}: "
    if not isinstance(difference.stderr, float):
        return f"{text}they differ by {value:.2f} nats, which a single example cannot tell from chance."
    by = with_error(abs(value), difference.stderr)
    if value > 2 * difference.stderr:
        return f"{text}the IWAE bound is loose by {by} nats, even if it has converged: q(z|x) misses part of p(z|x)."
    if value < -2 * difference.stderr:
        return f"{text}both are lower bounds, and AIS is the looser one by {by} nats; use more temperatures."
    return f"{text}they agree, with a paired difference of {with_error(value, difference.stderr)} nats."


def _error_of_ais(gap: Estimate) -> str:
    text = f"For {gap.n:,} examples drawn from the model, log p(x) is also bounded from above; the two bounds "
    if not isinstance(gap.value, float) or not isinstance(gap.stderr, float):
        return f"{text}are {_text(gap)} apart, which a single example cannot tell from chance."
    if gap.value <= 2 * gap.stderr:
        return f"{text}cannot be told apart ({_text(gap)}): no error of AIS is visible there."
    return f"{text}are {_text(gap)} apart: the mean error of AIS is at most this there."


def _still(estimates: Estimates) -> list[str]:
    moved = _value(estimates, "acceptance")
    if moved is None or moved >= MOVED:
        return []
    return [
        f"The chains of AIS hardly moved: {moved:.0%} of their moves were accepted, where about 65% is best. AIS then "
        "says little about p(x); use more temperatures, or a decoder with more noise."
    ]


def annealed_figures(estimates: Estimates) -> list[Figure]:
    """Return the paired differences of the bounds."""
    names = {"ais_minus_iwae": "AIS - IWAE, these examples", "bdmc_gap": "upper - lower bound, drawn examples"}
    shown = {label: estimates[name] for name, label in names.items() if _value(estimates, name) is not None}
    caption = (
        "Above: if it is to the right of 0, the IWAE bound loses at least this much. Below: on examples drawn from the "
        "model, the error of AIS is at most this. Intervals are 1.96 standard errors wide on each side."
    )
    return [Figure("annealed", "The bound without the encoder", caption, (Intervals.of(shown, x_label="nats"),))]


def gap_sentences(estimates: Estimates) -> list[str]:
    """Return how much the encoder and the posterior's family lose."""
    whole, encoder, family = (estimates[f"{name}_gap"] for name in ("inference", "amortization", "approximation"))
    return [
        f"The ELBO loses {_text(whole)}: {value_text(encoder)} because the encoder's posterior is not the best one for "
        f"each example, {value_text(family)} because the family of the posterior does not contain p(z|x)."
    ]


def gap_figures(estimates: Estimates) -> list[Figure]:
    """Return the two parts of the gap as a stacked bar."""
    parts = {"amortization (encoder)": "amortization_gap", "approximation (family)": "approximation_gap"}
    series = {
        f"{label}: {value_text(estimates[name])}": [max(_value(estimates, name) or 0.0, 0.0)]
        for label, name in parts.items()
    }
    bars = Bars(labels=["inference gap"], series=series, stacked=True, x_label="nats per example")
    caption = "A larger encoder reduces the first part, a more flexible posterior the second."
    return [Figure("inference-gap", "What the bound loses", caption, (bars,))]
