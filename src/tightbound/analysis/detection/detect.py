"""How well scores tell other data from the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Subject, option
from tightbound.analysis.detection.score import Scoring
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Detect(Scoring[Result]):
    """Measure how well each score tells other data from the model's own test data.

    AUROC is the probability that an example of the other data scores higher than one of the model's own: 0.5 is
    chance, and below 0.5 the score is misled. AUPR is the average precision for finding the other data: chance is their
    share. Both have 95% intervals.

    References:
        Do deep generative models know what they don't know? (Nalisnick et al. 2019), https://arxiv.org/abs/1810.09136
    """

    name = "detect"
    question = "Can the model tell other data from its own?"
    data = "required"

    max_examples: int = option(1000, least=1, short="-n")
    """Maximum number of examples of each data set, picked at random."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Compare the model's own test data with the examples."""
        import numpy as np

        from tightbound.analysis.detection import shown
        from tightbound.analysis.detection.engine import detect

        known = subject.training_data
        own, own_name = known.require_test(), f"{known.name}, test split"
        if subject.examples is own or subject.name == own_name:
            raise InputError(f"the data to detect are the model's own test data ({own_name}); give other data")
        found = detect(
            trained.model, own, subject.examples, known.train, scores=self.scores, samples=self.samples,
            max_examples=self.max_examples, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        sets, names = (found.own.per_example, found.other.per_example), (own_name, subject.name)
        short = tuple(name.partition(", ")[0] for name in names)
        labels = (short[0], short[1]) if short[0] != short[1] else names
        sizes = [len(each["index"]) for each in sets]
        columns = {name: np.concatenate([each[name] for each in sets]) for name in sets[0] if name in sets[1]}
        means = {
            f"{name}_{which}": estimate
            for which, part in (("own", found.own), ("other", found.other))
            for name, estimate in part.estimates.items()
        }
        intervals = {name: list(interval) for name, interval in found.intervals.items()}
        chance = sizes[1] / sum(sizes)
        return Result(
            {**found.estimates, **means},
            per_example={"is_other": np.repeat([0, 1], sizes), **columns},
            tabulated=True,
            caption=f"{sizes[1]:,} examples ({names[1]}) against {sizes[0]:,} of the model's own ({names[0]})",
            sentences=shown.conclusions(found, labels),
            tables=shown.detection_tables(found, labels, chance),
            figures=shown.histograms(found.own.estimates, dict(zip(labels, sets, strict=True)), found.estimates),
            details={"intervals": intervals, "chance": {"auroc": 0.5, "aupr": chance}},
        )
