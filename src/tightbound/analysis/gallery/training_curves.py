"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.figures import Figure, Lines
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError

if TYPE_CHECKING:
    from tightbound.trained import Trained

TITLES = {"loss": "loss", "reconstruction": "-E log p(x|z)", "kl": "KL(q || p)"}
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TrainingCurves(Analysis[Result]):
    """Show loss, reconstruction term and KL divergence by epoch, for training and validation data."""

    name = "training-curves"
    question = "How did training go?"
    group = "look"
    fast = True

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Make one figure for each stage of training."""
        if not trained.metrics:
            raise InputError("this model has no training metrics; train it with fit()")
        stages = dict.fromkeys(row.get("stage") or "" for row in trained.metrics)
        figures = [
            _figure(stage, [row for row in trained.metrics if (row.get("stage") or "") == stage]) for stage in stages
        ]
        last = {row.get("stage") or "": row for row in trained.metrics}
        lengths = [f"{name or 'model'}: {row['epoch']} epochs, {row['step']:,} steps" for name, row in last.items()]
        return Result({}, figures=figures, caption="; ".join(lengths))


def _figure(stage: str, rows: Rows) -> Figure:
    shown = ["loss", "reconstruction", "kl"] if "train_kl" in rows[-1] and not stage else ["loss"]
    rates = [row[name] for row in rows for name in ("train_kl", "validation_kl") if name in row]
    constant = bool(rates) and max(rates) - min(rates) <= 1e-6 * max(rates)
    if constant:  # code indices that are all equally probable
        shown = [key for key in shown if key != "kl"]
    explained = "A widening gap between training and validation data is overfitting."
    if "kl" in shown:
        explained += " A KL divergence near zero is posterior collapse."
    if constant and not stage:
        explained += " In this stage, all code indices are equally probable."
    if "uniform_loss" in rows[-1]:
        explained += " The dashed line is the loss if all code indices were equally probable."
    name, title = ("training", "Training") if not stage else (f"training-{stage}", f"Training of the {stage}")
    return Figure(name, title, explained, [_panel(key, rows) for key in shown])


def _panel(key: str, rows: Rows) -> Lines:
    series = {
        split: [row.get(f"{split}_{key}") for row in rows]
        for split in ("train", "validation")
        if f"{split}_{key}" in rows[-1]
    }
    values = sorted(value for each in series.values() for value in each if value is not None)
    low = high = None
    if key != "kl" and len(rows) > 5:  # the first epochs may be far off the scale of the others
        low, top = values[0], values[int(0.9 * (len(values) - 1))]
        low, high = low - 0.08 * (top - low), top + 0.5 * (top - low) + 1e-9
    # what a model without knowledge would reach, such as "uniform_loss"
    floor = {
        name.removesuffix(f"_{key}"): [rows[-1][name]] * len(rows)
        for name in rows[-1]
        if name.endswith(f"_{key}") and name not in (f"train_{key}", f"validation_{key}")
    }
    return Lines(
        x=[row["epoch"] for row in rows], series=series | floor, dashed=tuple(floor), markers=len(rows) == 1,
        low=low, high=high, title=TITLES[key], x_label="epoch", y_label="nats per example",
    )  # fmt: skip
