"""A small part of the campaign of damaged inputs; `benchmarks/mutations.py` runs all of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

SOURCES = ("csv", "parquet", "npy", "npz", "png", "jpeg", "gif", "tar", "weights", "model", "config", "words")


def test_all_sources_are_tried() -> None:
    import mutations

    assert tuple(mutations.SOURCES) == SOURCES


@pytest.mark.parametrize("name", SOURCES)
def test_damaged_inputs_work_or_are_refused_in_one_line(name: str) -> None:
    import mutations

    found = mutations.campaign(name, 4 if name in ("config", "words") else 12, seed=0)
    assert set(found) <= {"works", "refused"}, found


FOUND = [("npy", 93), ("npz", 734), ("npz", 755), ("parquet", 450)]  # these were exceptions of other packages


@pytest.mark.parametrize(("name", "seed"), FOUND)
def test_damage_that_was_found_is_refused(name: str, seed: int) -> None:
    import mutations

    assert mutations.campaign(name, 1, seed) == {"refused": [seed]}


def test_faults_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exceptions of others, several lines, processes that die and numbers that are not finite are no clean outcomes."""
    import mutations

    import tightbound as tb

    def fail(path: Path) -> None:
        kind = len(path.read_bytes()) % 3
        if kind == 0:
            raise KeyError("what")
        raise tb.TightboundError("two\nlines" if kind == 1 else "one line")

    def written(folder: Path) -> Path:
        (folder / "x").write_bytes(bytes(50))
        return folder / "x"

    monkeypatch.setitem(mutations.SOURCES, "csv", (written, fail))
    found = mutations.campaign("csv", 40, seed=0)
    assert set(found) == {"refused", "2 lines", "KeyError: 'what'"}
    monkeypatch.setitem(mutations.SOURCES, "csv", (written, lambda path: os.kill(os.getpid(), 9)))
    assert mutations.campaign("csv", 3, seed=0) == {"the process died: -9": [0, 1, 2]}


def test_a_trial_repeats() -> None:
    import mutations

    once, again = (mutations.mutated(b"one,two\n1,2\n", random.Random("csv 3")) for _ in range(2))
    assert once == again != b"one,two\n1,2\n"
