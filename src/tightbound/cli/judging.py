"""The arguments of the commands that judge a run. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from tightbound.cli.arguments import Flag, OnRun, Options, SplitName


@dataclass(frozen=True)
class Quality(Options, OnRun):
    """How like the data samples are: distances between features, precision and recall, diversity, sharpness.

    Samples are compared with test data. Each number stands beside its floor: the same number of training data.
    """

    action = "tightbound.cli.quality:quality"
    split: ClassVar[SplitName] = "auto"  # samples are compared with test data, whatever the data

    data: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """Other data than the run's: a built-in name, a file or a folder."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5000
    """How many samples, against as many data; fewer where there are fewer."""
    features: Annotated[str, tyro.conf.arg(metavar="PART")] = "auto"
    """What is compared: pca, classifier (trained on the data's labels), identity (pixels), or your own
    "module:Class(...)"; auto: classifier where there are class labels, else pca."""
    draw: Flag[bool] = False
    """Draw x from p(x | z), in place of its mean, which is smoother than data are."""
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Draw codes from a sampler that was fitted for the run, in place of the prior (see fit-sampler)."""
    json: Flag[bool] = False
    """One JSON object on standard output."""
