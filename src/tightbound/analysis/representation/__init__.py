"""What codes are worth to those who use them: classes, groups, numbers, doubt."""

from tightbound.analysis.representation.probe import Probe, probe, probe_codes
from tightbound.analysis.representation.steering import Steering, called, steer

__all__ = ["Probe", "Steering", "called", "probe", "probe_codes", "steer"]
