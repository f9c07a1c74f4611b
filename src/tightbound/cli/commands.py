"""The commands, by name. Free of torch."""

from __future__ import annotations

from tightbound.cli.analyses import commands
from tightbound.cli.arguments import (
    Attribute,
    Cite,
    Command,
    Complete,
    Embed,
    FitPrior,
    FitSampler,
    Interpolate,
    List,
    Reconstruct,
    Report,
    Sample,
)
from tightbound.cli.judging import Compare, Probe, Quality, Score
from tightbound.cli.sweep_arguments import Sweep
from tightbound.cli.training import Train

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "sweep": Sweep,
    **commands(),
    "sample": Sample,
    "fit-sampler": FitSampler,
    "fit-prior": FitPrior,
    "complete": Complete,
    "reconstruct": Reconstruct,
    "interpolate": Interpolate,
    "attribute": Attribute,
    "embed": Embed,
    "quality": Quality,
    "probe": Probe,
    "score": Score,
    "compare": Compare,
    "report": Report,
    "list": List,
    "cite": Cite,
}
