"""Failures of a model and their remedies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option

if TYPE_CHECKING:
    from tightbound.analysis.diagnosis.findings import Diagnosis
    from tightbound.data import Split
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Diagnose(Analysis["Diagnosis"]):
    """Look for posterior collapse, holes, overfitting and other failures, each with evidence and a remedy.

    Test examples are compared with as many training examples. Validation examples are not used.
    """

    name = "diagnose"
    question = "What is wrong with the model, if anything?"

    max_examples: int = option(1000, least=2)
    """Maximum number of test examples, and of training examples, picked at random."""
    samples: int = option(20, least=1, passes=True)
    """Latent samples per example."""
    quick: bool = option(False, variant=True)
    """Leave out the checks that take more than about a second."""

    def run(self, trained: Trained, subject: Subject) -> Diagnosis:
        """Make each check that applies."""
        from tightbound.analysis.diagnosis.engine import Case, diagnose
        from tightbound.inference.fitting import chosen_sampler

        case = Case(
            trained.model, _fitted_examples(trained, subject), subject.examples, trained.config, trained.metrics,
            seed=self.seed, max_examples=self.max_examples, samples=self.samples,
            sampler=chosen_sampler(trained.folder),
        )  # fmt: skip
        return diagnose(case, quick=self.quick, name=subject.name, progress=self.progress)


def _fitted_examples(trained: Trained, subject: Subject) -> Split:
    """Return the training examples without those that the run validated on."""
    from tightbound.config import Settings
    from tightbound.data.division import for_training

    data, folder = subject.training_data, trained.folder
    if folder is None:
        return data.train
    known = folder.read(folder.run_file)
    if known["data"]["fingerprint"] != data.fingerprint:
        return data.train
    return for_training(data, Settings.of(known["settings"]), partial=trained.model.infers_context)[0]
