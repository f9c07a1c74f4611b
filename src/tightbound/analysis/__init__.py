"""Questions asked of a trained model, and the estimates that answer them.

Names are imported when they are first used, so that the options of analyses stay free of torch.
"""

from typing import TYPE_CHECKING

from tightbound.core.exports import lazy_names

if TYPE_CHECKING:
    from tightbound.analysis.base import Analysis as Analysis
    from tightbound.analysis.base import Subject as Subject
    from tightbound.analysis.bounds.annealed import ais as ais
    from tightbound.analysis.bounds.annealed import bdmc as bdmc
    from tightbound.analysis.bounds.estimator import evaluate as evaluate
    from tightbound.analysis.bounds.gap import encoder_overfitting as encoder_overfitting
    from tightbound.analysis.bounds.gap import inference_gap as inference_gap
    from tightbound.analysis.bounds.rate import rate_decomposition as rate_decomposition
    from tightbound.analysis.comparison.compare import Comparison as Comparison
    from tightbound.analysis.comparison.engine import compare as compare
    from tightbound.analysis.detection.engine import detect as detect
    from tightbound.analysis.detection.engine import score as score
    from tightbound.analysis.detection.score import Scores as Scores
    from tightbound.analysis.diagnosis.engine import Case as Case
    from tightbound.analysis.diagnosis.engine import Check as Check
    from tightbound.analysis.diagnosis.engine import diagnose as diagnose
    from tightbound.analysis.diagnosis.findings import Diagnosis as Diagnosis
    from tightbound.analysis.diagnosis.findings import Finding as Finding
    from tightbound.analysis.estimate import Estimate as Estimate
    from tightbound.analysis.figures import Figure as Figure
    from tightbound.analysis.geometry.measures import compare_paths as compare_paths
    from tightbound.analysis.geometry.measures import paths as paths
    from tightbound.analysis.geometry.measures import traversal as traversal
    from tightbound.analysis.representation.engine import probe as probe
    from tightbound.analysis.representation.probe import probe_codes as probe_codes
    from tightbound.analysis.representation.steering import classified_as as classified_as
    from tightbound.analysis.representation.steering import steer as steer
    from tightbound.analysis.result import Evaluation as Evaluation
    from tightbound.analysis.result import Result as Result
    from tightbound.analysis.result import Table as Table
    from tightbound.analysis.samples.copies import memorization as memorization
    from tightbound.analysis.samples.coverage import holes as holes
    from tightbound.analysis.samples.features import fit_features as fit_features
    from tightbound.analysis.samples.sample_quality import SampleQuality as SampleQuality
    from tightbound.analysis.samples.sample_quality import compare_samples as compare_samples
    from tightbound.analysis.samples.sample_quality import sample_quality as sample_quality

__getattr__, __dir__, __all__ = lazy_names(__name__)
