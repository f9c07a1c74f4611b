"""The ceilings of a race: rates, and what a step is made of."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.race import Contestant
from harness.report import show
from harness.worker import Answer

NAME = "ceilings"


def ceilings(net: str, batch_size: int, *, channels_last: bool = False) -> Contestant:
    """Return the contestant that computes a step's products alone, its optimizer alone, a copy of as many bytes, and a
    product of square matrices, which shows the machine's best rate."""
    options = {"net": net, "batch_size": batch_size, "channels_last": channels_last}
    return Contestant(NAME, "contestants/ceilings.py", options)


def request(quick: bool) -> dict[str, Any]:
    """Return its request for each turn."""
    return {"what": "limits", "steps": 2 if quick else 100, "size": 256 if quick else 2048}


def rates(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Return the median seconds per step of each ceiling, and its GFLOP/s or GB/s."""
    found: dict[str, dict[str, float]] = {}
    for same in zip(*(answer["limits"] for answer in answers), strict=True):
        seconds = statistics.median(row["seconds"] for row in same)
        row = found[same[0]["name"]] = {"seconds": seconds}
        for of, unit in (("flops", "gflops"), ("bytes", "gbytes")):
            if of in same[0]:
                row[unit] = same[0][of] / seconds / 1e9
    return found


def show_rates(found: Mapping[str, Mapping[str, float]]) -> None:
    """Show the table of the ceilings."""
    rows = []
    for name, row in found.items():
        rate = f"{row['gflops']:.0f} GFLOP/s" if "gflops" in row else f"{row['gbytes']:.1f} GB/s"
        rows.append([name, f"{row['seconds'] * 1e3:.3f}", rate])
    show("Ceilings: what of a step is computed alone", ["what", "ms", "rate"], rows)


def parts(
    found: Mapping[str, Mapping[str, Any]], ceiling: Mapping[str, Mapping[str, float]], precisions: Mapping[str, str],
    steps: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return what a step of each contestant is made of: products in its precision, Adam, and the rest, in seconds.

    Of several layouts the fastest counts: what a contestant loses by another is part of its rest.
    """
    made_of = []
    for name, row in found.items():
        mine = [of["seconds"] for what, of in ceiling.items() if what.startswith(f"products, {precisions[name]}")]
        step, products, adam = row["median"] / steps, min(mine), ceiling["Adam"]["seconds"]
        made_of.append({"name": name, "step": step, "products": products, "adam": adam,
                        "rest": step - products - adam})  # fmt: skip
    return made_of


def show_parts(made_of: Sequence[Mapping[str, Any]]) -> None:
    """Show what a step is made of."""
    rows = []
    for row in made_of:
        shares = [f"{row[of] * 1e3:.3f} ({row[of] / row['step']:.0%})" for of in ("products", "adam", "rest")]
        rows.append([row["name"], f"{row['step'] * 1e3:.3f}", *shares])
    note = "products and Adam: as long as they take alone, in one process; the rest is what is left"
    show("What a step is made of", ["contestant", "ms a step", "products, ms", "Adam, ms", "rest, ms"], rows, note)
