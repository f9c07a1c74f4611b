"""Annealed importance sampling on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightbound.report.section import Section
from tightbound.report.table import with_error

Numbers = Mapping[str, Mapping[str, Any]]


def sections(found: Mapping[str, Any]) -> list[Section]:
    """A table, and what it says."""
    numbers = found["numbers"]
    description = "AIS starts from the prior and has no use for q(z|x), so that it finds what q misses."
    description = " ".join([*verdict(numbers), description])
    return [Section("The bound against annealed importance sampling", description, numbers=numbers)]


def verdict(numbers: Numbers) -> tuple[str, str]:
    """In plain words: how loose the IWAE bound is; how far off AIS itself can be."""
    return _bound(numbers), _gap(numbers)


def _bound(numbers: Numbers) -> str:
    ais, iwae, difference = (numbers[name] for name in ("ais", "iwae_same_data", "ais_minus_iwae"))
    said = f"On {ais['n']:,} data AIS says {_shown(ais)} nats"
    if difference["value"] is None:
        return f"{said}, and there is no IWAE bound to hold it against: {iwae['reason']}."
    said = f"On the same {said.removeprefix('On ')}, IWAE-{iwae['samples']} {_shown(iwae)}: "
    value, stderr = difference["value"], difference["stderr"]
    by = with_error(abs(value), stderr)
    if stderr is None:
        return f"{said}they differ by {value:.2f}, which one example cannot tell from chance."
    if value > 2 * stderr:
        return f"{said}the bound is loose by {by}."
    if value < -2 * stderr:
        return f"{said}both are lower bounds, and here AIS is the looser, by {by}; give it more temperatures."
    return f"{said}they agree, with a paired difference of {with_error(value, stderr)}."


def _gap(numbers: Numbers) -> str:
    gap = numbers["bdmc_gap"]
    said = f"On {gap['n']:,} data drawn from the model, where log p(x) is bounded from above too, the two bounds "
    if gap["stderr"] is None:
        return f"{said}are {_shown(gap)} nats apart, which one example cannot tell from chance."
    if gap["value"] <= 2 * gap["stderr"]:
        return f"{said}cannot be told apart ({_shown(gap)} nats): no error of AIS is seen there."
    return f"{said}are {_shown(gap)} nats apart: on average, AIS is off by no more there."


def _shown(number: Mapping[str, Any]) -> str:
    if number["value"] is None:
        return f"nothing ({number['reason']})"
    return with_error(number["value"], number["stderr"])
