"""What codes are worth to those who use them: classes, groups, numbers, doubt."""

from tightbound.evaluation.downstream.probe import Probe, probe, probe_codes
from tightbound.evaluation.downstream.steering import Steering, called, steer

__all__ = ["Probe", "Steering", "called", "probe", "probe_codes", "steer"]
