"""The table of analyses: one line each. From it follow methods, commands, records and sections of the report."""

from __future__ import annotations

from tightbound.analysis.base import Analysis, question
from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.comparison.compare import Compare
from tightbound.analysis.detection.detect import Detect
from tightbound.analysis.detection.score import ScoreExamples
from tightbound.analysis.diagnosis.diagnose import Diagnose
from tightbound.analysis.representation.attribute import Attribute
from tightbound.analysis.representation.probe import Probe


class Analyses:
    """The analyses, as methods of `tightbound.Trained`, in the order of the report page."""

    evaluate = question(Evaluate)
    diagnose = question(Diagnose)
    probe = question(Probe)
    attribute = question(Attribute)
    score = question(ScoreExamples)
    detect = question(Detect)
    compare = question(Compare)


def analyses() -> dict[str, type[Analysis]]:
    """Return the analyses by name, in the order of the table."""
    found = (each.analysis for each in vars(Analyses).values() if isinstance(each, question))
    return {each.name: each for each in found if isinstance(each, type)}
