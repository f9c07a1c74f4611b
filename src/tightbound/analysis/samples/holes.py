"""Holes: places where the prior draws latent codes and the data have none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.estimate import scalar
from tightbound.analysis.figures import Figure, Lines
from tightbound.analysis.result import Result

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Holes(Analysis[Result]):
    """Compare where the prior draws latent codes with where the latent codes of the data lie.

    Samples that are decoded from places without codes of the data ("holes") are often unlike the data. The analysis
    also measures how well the encoder recovers a latent code from what it was decoded to, and how far that is from the
    training data.
    """

    name = "holes"
    question = "Does the prior draw latent codes where the data have none?"
    splits = True
    reported = False

    n_samples: int = option(2000, least=100, most=10**7, short="-n", variant=True)
    """Number of draws from the prior; at least as many latent codes of test examples are compared with them."""
    level: float = option(0.01, variant=True)
    """Definition of a hole: the least covered places, which hold this share of the latent codes of test examples."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Order all places by log q(z) - log p(z), and count prior draws in the least covered ones."""
        from tightbound.analysis.samples.coverage import holes

        found = holes(
            trained.model, subject.train, subject.examples, n_samples=self.n_samples, level=self.level, seed=self.seed
        )
        uncovered = found.estimates["uncovered"]
        share, shares = scalar(uncovered), found.details["curve"]
        verdict = "the prior matches the codes" if share < 2 * self.level else (
            "the prior is wider than the codes in some places" if share < 0.5 else "most samples come from holes"
        )  # fmt: skip
        sentence = (
            f"{share:.0%} of the prior's draws lie where only {self.level:.0%} of the latent codes of test examples "
            f"do: {verdict}."
        )
        curve = Lines(
            x=shares["codes"],
            series={"prior draws": shares["prior"], "prior = codes": shares["codes"]},
            dashed=("prior = codes",),
            x_label="share of test codes, least covered places first", y_label="share of prior draws",
        )  # fmt: skip
        explained = (
            "Places in latent space, ordered by how well the data cover them. The farther the curve lies above the "
            "dashed "
            "line, the more prior draws fall where few latent codes do."
        )
        return replace(
            found,
            sentences=(sentence,),
            caption=f"{self.n_samples:,} prior draws against the latent codes of {uncovered.n:,} examples "
            f"({subject.name})",
            figures=(Figure("holes", "Prior draws and latent codes", explained, (curve,)),),
        )
