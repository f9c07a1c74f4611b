"""The commands, by name. Free of torch."""

from __future__ import annotations

from tightbound.cli import analyses
from tightbound.cli.arguments import (
    Cite,
    Command,
    Complete,
    Embed,
    FitCodePrior,
    FitSampler,
    Interpolate,
    List,
    Reconstruct,
    Report,
    Sample,
)
from tightbound.cli.options import shown
from tightbound.cli.sweep_arguments import Sweep
from tightbound.cli.training import Train

_COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "sweep": Sweep,
    "fit-sampler": FitSampler,
    "fit-code-prior": FitCodePrior,
    "sample": Sample,
    "reconstruct": Reconstruct,
    "interpolate": Interpolate,
    "complete": Complete,
    "embed": Embed,
    **analyses.commands(),
    "report": Report,
    "list": List,
    "cite": Cite,
}
COMMANDS = {name: shown(command) for name, command in _COMMANDS.items()}
