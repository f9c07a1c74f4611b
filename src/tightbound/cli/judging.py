"""The arguments of the commands that judge a run. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tightbound.cli.arguments import Command, Flag, OnData, OnSplits, Options, SplitName


@dataclass(frozen=True)
class Probe(OnSplits):
    """What codes are worth downstream: classification, clustering, few labels, uncertainty.

    Codes of the training split fit, those of the test split judge.
    """

    action = "tightbound.cli.probe:probe"

    most: int = 10_000
    """Data of each split that are looked at, at most, picked at random."""
    task: Literal["auto", "classes", "numbers"] = "auto"
    """What labels are; auto: whole ones of at most 200 values are classes."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Score(OnData):
    """How unusual data are under the model, by several scores; how well each tells DATA from the run's own test data.

    Without DATA: the run's own test data alone, and which of them are the most unusual.
    """

    action = "tightbound.cli.score:score"
    distributed = True

    scores: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART ...")] = ()
    """Which (`tightbound list scores`), such as "regret(steps=200)"; default: all."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1000
    """Data of each set, at most, picked at random."""
    samples: int = 100
    """Importance samples k of the IWAE bound that stands for log p(x)."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the scores of each example, .csv or .npz."""
    picture: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also draw: .svg, histograms of the scores; .png, the most unusual images by each score."""
    json: Flag[bool] = False
    """One JSON object on standard output."""


@dataclass(frozen=True)
class Compare(Options, Command):
    """Paired differences between runs on the same data, with their standard errors: is one better than another?"""

    action = "tightbound.cli.compare:compare"

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")] = ()
    """Runs' folders, two or more."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA")] = None
    """Other data than the runs': a built-in name, a file or a folder."""
    split: SplitName = "auto"
    """Which data; auto: the test split of the runs' data and of built-in ones, all of other data."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 2000
    """How many data, at most, picked at random."""
    samples: int = 500
    """Importance samples k of the IWAE bound."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.svg")] = None
    """Also draw the differences with their intervals."""
    json: Flag[bool] = False
    """One JSON object on standard output."""
