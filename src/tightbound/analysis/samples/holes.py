"""Holes: places where the prior draws latent codes and the data have none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.estimate import scalar
from tightbound.analysis.figures import Figure, Lines
from tightbound.analysis.result import Result
from tightbound.core.errors import number, whole

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Holes(Analysis[Result]):
    """Compare where the prior draws latent codes with where the codes of the data lie.

    Samples that are decoded from places without codes of data ("holes") are often unlike the data. Also measured is
    how well the encoder recovers a code from what it was decoded to, and how far that is from the training data.
    """

    name = "holes"
    question = "Does the prior draw latent codes where the data have none?"
    splits = True
    reported = False

    n_samples: int = field(default=2000, metadata={"variant": True, "flag": {"aliases": ["-n"], "metavar": "INT"}})
    """Number of prior draws; at least as many latent codes of test examples are compared with them."""
    level: float = field(default=0.01, metadata={"variant": True})
    """Share of the test codes that lie in holes, by definition: the worst covered places that hold this share."""

    def check(self) -> None:
        """Raise InputError for options out of range."""
        super().check()
        whole("n_samples", self.n_samples, least=100)
        number("level", self.level, above=0, below=0.5)

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Order all places by log q(z) - log p(z), and count prior draws in the worst covered ones."""
        from tightbound.analysis.samples.coverage import holes

        found = holes(
            trained.model, subject.train, subject.examples, n_samples=self.n_samples, level=self.level, seed=self.seed
        )
        uncovered = found.estimates["uncovered"]
        share = scalar(uncovered)
        verdict = "the prior matches the codes" if share < 2 * self.level else (
            "the prior is wider than the codes in some places" if share < 0.5 else "most samples come from holes"
        )  # fmt: skip
        sentence = (
            f"{share:.0%} of the prior's draws lie where only {self.level:.0%} of the latent codes of test examples "
            f"do: {verdict}."
        )
        curve = Lines(
            x=found.curve["codes"].tolist(),
            series={"prior draws": found.curve["prior"].tolist(), "prior = codes": found.curve["codes"].tolist()},
            dashed=("prior = codes",),
            x_label="share of test codes, worst covered places first", y_label="share of prior draws",
        )  # fmt: skip
        explained = (
            "Places of latent space in the order of how well the data cover them. The farther the curve lies above the "
            "dashed line, the more prior draws fall where few latent codes do."
        )
        return Result(
            found.estimates,
            sentences=(sentence,),
            caption=f"{self.n_samples:,} prior draws against the latent codes of {uncovered.n:,} examples "
            f"({subject.name})",
            figures=(Figure("holes", "Prior draws and latent codes", explained, (curve,)),),
            details={"curve": {name: values.tolist() for name, values in found.curve.items()}},
        )
