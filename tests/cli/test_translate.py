"""Messages of the library, in the words of the command line."""

from __future__ import annotations

import pytest

from tightbound.cli.translate import translate

OPTIONS = ("lr", "batch_size", "resize", "gray", "kinds", "prior", "features", "observation", "run", "data", "keep")
COMMANDS = ("train", "evaluate", "fit-sampler")
MESSAGES = {
    "lower lr= (now 0.01), or see evaluate().": "lower --lr (now 0.01), or see `tightbound evaluate`.",
    "set lr=0.001.": "set --lr 0.001.",
    "use batch_size= of at least 3": "use --batch-size of at least 3",
    "leave out keep=, or give labels": "leave out --keep, or give labels",
    "use gray=True, or gray=False": "use --gray, or --no-gray",
    "use resize=(HEIGHT, WIDTH)": "use --resize HEIGHT WIDTH",
    "(lr= can be lower)": "(--lr can be lower)",
    "use features='classifier', or 'pca'": "use --features classifier, or 'pca'",
    "use prior='vamp(components=50)'": 'use --prior "vamp(components=50)"',
    "use observation=\"binarized(mode='dynamic')\"": "use --observation \"binarized(mode='dynamic')\"",
    "pass kinds={'my column': 'categories'}": "pass --kinds \"{'my column': 'categories'}\"",
    "the model's run is lost; use run='x'": "the model's run is lost; use --run x",
    "'lr=3' and \"run=1\" are quoted": "'lr=3' and \"run=1\" are quoted",
    "use DataLoader(dataset, batch_size=128)": "use DataLoader(dataset, batch_size=128)",
    "write mixture(of=laplace(), lr=2)": "write mixture(of=laplace(), lr=2)",
    "train it with fit(), or fit_sampler()": "train it with `tightbound train`, or `tightbound fit-sampler`",
    "call refit(), or name= something": "call refit(), or name= something",
    "pass data=, or data='x.csv'": "pass DATA, or x.csv",
    "lr = 0; needed: a number above 0": "--lr 0; needed: a number above 0",
    "batch_size = 0; needed: 1": "batch_size = 0; needed: 1",
}


@pytest.mark.parametrize(("message", "expected"), MESSAGES.items())
def test_translate(message: str, expected: str) -> None:
    assert translate(message, OPTIONS, COMMANDS, positional=("data",), given={"lr": "--lr"}) == expected
