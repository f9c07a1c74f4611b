"""The table of analyses: one line each. From it follow methods, commands, records and sections of the report."""

from __future__ import annotations

from tightbound.analysis.base import Analysis, question
from tightbound.analysis.bounds.ais import Ais
from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.bounds.inference_gap import InferenceGap
from tightbound.analysis.bounds.rate_decomposition import RateDecomposition
from tightbound.analysis.comparison.compare import Compare
from tightbound.analysis.detection.classify import Classify
from tightbound.analysis.detection.detect import Detect
from tightbound.analysis.detection.score import ScoreExamples
from tightbound.analysis.diagnosis.diagnose import Diagnose
from tightbound.analysis.gallery.code_usage import CodeUsage
from tightbound.analysis.gallery.gallery import Gallery
from tightbound.analysis.gallery.latent_space import LatentSpace
from tightbound.analysis.gallery.training_curves import TrainingCurves
from tightbound.analysis.geometry.paths import Paths
from tightbound.analysis.representation.attribute import Attribute
from tightbound.analysis.representation.probe import Probe
from tightbound.analysis.samples.holes import Holes
from tightbound.analysis.samples.memorization import Memorization
from tightbound.analysis.samples.quality import Quality


class Analyses:
    """The analyses, as methods of `tightbound.Trained`, in the order of the report page."""

    gallery = question(Gallery)
    evaluate = question(Evaluate)
    rate_decomposition = question(RateDecomposition)
    ais = question(Ais)
    inference_gap = question(InferenceGap)
    diagnose = question(Diagnose)
    quality = question(Quality)
    memorization = question(Memorization)
    holes = question(Holes)
    latent_space = question(LatentSpace)
    code_usage = question(CodeUsage)
    paths = question(Paths)
    training_curves = question(TrainingCurves)
    probe = question(Probe)
    attribute = question(Attribute)
    score = question(ScoreExamples)
    detect = question(Detect)
    classify = question(Classify)
    compare = question(Compare)


def analyses() -> dict[str, type[Analysis]]:
    """Return the analyses by name, in the order of the table."""
    found = (each.analysis for each in vars(Analyses).values() if isinstance(each, question))
    return {each.name: each for each in found if isinstance(each, type)}
