"""The arguments of the commands that judge a run. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tightbound.cli.arguments import Command, Flag, OnData, Options


@dataclass(frozen=True)
class Diagnose(OnData):
    """What is wrong with a model, if anything: collapse, holes, overfitting, ... each with evidence and a remedy."""

    action = "tightbound.cli.diagnose:diagnose"

    most: int = 1000
    """Test data that are looked at, and as many training data, picked at random."""
    samples: int = 20
    """Of q(z|x) a datum."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Quality(OnData):
    """How like the data samples are: distances between features, precision and recall, diversity."""

    action = "tightbound.cli.quality:quality"

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5000
    """How many samples, against as many data."""
    features: Annotated[str, tyro.conf.arg(metavar="PART")] = "auto"
    """What is compared: pca, classifier (trained on the data's labels), or your own module; auto: the best there is."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Probe(OnData):
    """What codes are worth downstream: classification, clustering, few labels, uncertainty."""

    action = "tightbound.cli.probe:probe"

    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Score(OnData):
    """How unlike the training data each datum is, by several scores."""

    action = "tightbound.cli.score:score"

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the scores of each datum, .csv or .npz."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Compare(Options, Command):
    """Paired differences between runs on the same data, with their standard errors."""

    action = "tightbound.cli.compare:compare"

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")] = ()
    """Runs' folders, two or more."""
    json: Flag[bool] = False
    """One JSON object on standard output."""
