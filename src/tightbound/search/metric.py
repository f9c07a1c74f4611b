"""What runs are chosen by: a number of their validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tightbound.training.folder import CODE_PRIOR, RunFolder


@dataclass(frozen=True)
class Metric:
    """A number of the metrics, larger is better.

    Arguments:
        description: What it is.
        key: Its column of the metrics.
        sign: -1 where the column is better the less it is.
        second: Whether a second stage, of a prior over codes, changes it.
    """

    description: str
    key: str
    sign: int
    second: bool = False

    def of_epoch(self, row: Mapping[str, Any]) -> float | None:
        """Its value after an epoch of the first stage; None after others, and where there is no finite one."""
        return self._signed(row.get(self.key) if row["stage"] == "" else None)

    def of_run(self, folder: RunFolder) -> float | None:
        """Its value at the weights that are evaluated; None where the run has no validation data, or no such finite
        number.

        Of codes with a learned prior, the bound is that of both stages: the distortion of the first, and the code
        length of the second.
        """
        stages: dict[str, list[dict[str, Any]]] = {}
        for row in folder.metrics():
            stages.setdefault(row["stage"], []).append(row)
        ends = {stage: _evaluated(folder, stage, rows) for stage, rows in stages.items()}
        first = ends.get("", {})
        if self.second and CODE_PRIOR in ends and self.key in first:
            length = ends[CODE_PRIOR].get("validation_loss")
            return None if length is None else _finite(-first["validation_reconstruction"] - length)
        return self._signed(first.get(self.key))

    def _signed(self, value: float | None) -> float | None:
        return None if value is None else _finite(self.sign * value)


METRICS = {
    "elbo": Metric("ELBO", "validation_elbo", 1, second=True),
    "objective": Metric("objective", "validation_loss", -1),
    "distortion": Metric("-distortion", "validation_reconstruction", -1),
}


def _evaluated(folder: RunFolder, stage: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch whose weights are evaluated: the first of the best by the validation objective, if such were kept."""
    if folder.checkpoint("best", stage).is_file():
        return min((row for row in rows if not math.isnan(row["validation_loss"])), key=lambda r: r["validation_loss"])
    return rows[-1]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
