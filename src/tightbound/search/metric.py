"""Validation metrics by which the runs of a sweep are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tightbound.training.folder import SECOND_STAGE, RunFolder


@dataclass(frozen=True)
class Metric:
    """Column of the metrics of a run, as a score of which larger values are better.

    Args:
        description: Name in messages and tables.
        key: Name of the column.
        sign: -1 if smaller values of the column are better.
        second: Whether the second stage of training (the code prior) changes the metric.
    """

    description: str
    key: str
    sign: int
    second: bool = False

    def at_epoch(self, row: Mapping[str, Any]) -> float | None:
        """Return the score after an epoch of the first stage; None in later stages, or if it is not finite."""
        return self._score(row.get(self.key) if row["stage"] == "" else None)

    def of_run(self, folder: RunFolder) -> float | None:
        """Return the score of the weights to evaluate, or None if it is missing or not finite.

        The bound of a model with a learned code prior combines the distortion of the first stage and the code length of
        the second.
        """
        stages: dict[str, list[dict[str, Any]]] = {}
        for row in folder.metrics():
            stages.setdefault(row["stage"], []).append(row)
        ends = {stage: _evaluated(folder, stage, rows) for stage, rows in stages.items()}
        first = ends.get("", {})
        if self.second and SECOND_STAGE in ends and self.key in first:
            length = ends[SECOND_STAGE].get("validation_loss")
            return None if length is None else _finite(-first["validation_reconstruction"] - length)
        return self._score(first.get(self.key))

    def _score(self, value: float | None) -> float | None:
        return None if value is None else _finite(self.sign * value)


METRICS = {
    "elbo": Metric("ELBO", "validation_elbo", 1, second=True),
    "objective": Metric("objective", "validation_loss", -1),
    "distortion": Metric("-distortion", "validation_reconstruction", -1),
}


def _evaluated(folder: RunFolder, stage: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of the evaluated weights: the best by the validation objective if saved, else the last."""
    if folder.checkpoint("best", stage).is_file():
        return min((row for row in rows if not math.isnan(row["validation_loss"])), key=lambda r: r["validation_loss"])
    return rows[-1]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
