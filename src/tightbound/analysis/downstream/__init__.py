"""What codes are worth to those who use them: classes, groups, numbers, doubt."""

from tightbound.analysis.downstream.probe import Probe, probe, probe_codes
from tightbound.analysis.downstream.steering import Steering, called, steer

__all__ = ["Probe", "Steering", "called", "probe", "probe_codes", "steer"]
