"""Train, interrupt, resume and use a run in one process for hours, and look for memory and files that stay.

    python benchmarks/soak.py --minutes 120

Each round trains a run, interrupts it (SIGINT), resumes it, evaluates it, reconstructs and samples, through Python and
then through the command line, and checks that the numbers are those of the first round. After it, memory (resident,
after a garbage collection), open files, threads and child processes are counted. The verdict compares the slope of the
memory after a warm-up with its standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import math
import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tightbound as tb
from tightbound.analysis.estimate import scalar
from tightbound.cli.main import main as tightbound
from tightbound.training import Callback, TrainingState

NETWORK = "mlp(hidden=(16,))"
GROWTH = 1.0  # MB per hour that counts as flat


class Usage(NamedTuple):
    """Resources of a process after a round."""

    seconds: float
    memory: float  # MB
    files: int
    threads: int
    children: int


class Interrupt(Callback):
    """Send this process SIGINT after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def on_step(self, state: TrainingState) -> None:
        """Count a step."""
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)


def by_python(run: Path) -> list[float]:
    """Train, interrupt, resume, evaluate, reconstruct and sample; return some of the numbers."""
    data = tb.data.open("digits")

    def train(*callbacks: Callback, resume: bool = False) -> tb.Trained:
        model = tb.VAE.for_data(data, latent=2, network=NETWORK)
        return tb.fit(
            model, data, run=run, resume=resume, epochs=3, batch_size=128, seed=0, quiet=True, callbacks=callbacks
        )

    with contextlib.suppress(KeyboardInterrupt):
        train(Interrupt(20))
        raise RuntimeError("training was not interrupted")
    trained = train(resume=True)
    found = trained.evaluate(data, samples=20)
    images = next(data.require_test().epoch(64)).x
    again = tb.load(run)
    return [
        scalar(found["elbo"]), scalar(found["iwae"]), float(trained.reconstruct(images).sum()),
        float(again.sample(16, seed=0).sum()), float(again.encode(images).sum()),
    ]  # fmt: skip


def by_words(run: Path) -> list[float]:
    """Do the like through the command line; return an estimate."""
    train = ("train", "digits", "--latent", "2", "--network", NETWORK, "--batch-size", "128", "--evaluate-samples", "0")
    for words in (
        (*train, "--epochs", "1", "--run", str(run)),
        ("train", "--run", str(run), "--resume", "--epochs", "2"),
        ("evaluate", str(run), "--samples", "20"),
        ("reconstruct", str(run)),
        ("sample", str(run)),
    ):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                tightbound(words)
            except SystemExit as ended:
                if ended.code not in (0, None):
                    raise RuntimeError(f"{' '.join(words)}: {said.getvalue()[-300:]}") from None
    return [json.loads((run / "analysis" / "evaluate.json").read_text())["estimates"]["elbo"]["value"]]


def usage(began: float) -> Usage:
    """Return what this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return Usage(
        time.monotonic() - began,
        pages * resource.getpagesize() / 2**20,
        len(os.listdir("/proc/self/fd")) - 1,  # without the one that lists them
        threading.active_count(),
        len(task.read_text().split()) if task.exists() else 0,
    )


def verdict(rounds: Sequence[Usage]) -> tuple[bool, str]:
    """Judge the rounds after a warm-up (the first quarter): whether nothing grows, and a sentence.

    Memory is flat if its slope, with a standard error from the means of 8 equal stretches of time (which are nearly
    independent), is less than `GROWTH` above 0, or not significantly more than 0.
    """
    later = rounds[len(rounds) // 4 :]
    parts = [part for part in np.array_split(np.array(later, float), 8) if len(part)]
    hours, memory = np.array([part.mean(0)[:2] for part in parts]).T / np.array([[3600], [1]])
    centered = hours - hours.mean()
    slope = float(centered @ memory / (centered @ centered))
    rest = memory - memory.mean() - slope * centered
    stderr = math.sqrt(float(rest @ rest) / (len(parts) - 2) / float(centered @ centered))
    flat = slope < GROWTH or slope < 2.45 * stderr  # Student's t, 6 degrees of freedom
    grown = [name for name in ("files", "threads", "children") if getattr(later[-1], name) > getattr(later[0], name)]
    said = f"{len(rounds)} rounds; memory {slope:+.2f} ± {stderr:.2f} MB per hour ({'flat' if flat else 'grows'})"
    return flat and not grown, f"{said}; {', '.join(grown) or 'files, threads, children'} {'grew' if grown else 'flat'}"


def soak(minutes: float, folder: Path) -> list[Usage]:
    """Run rounds for so many minutes; return what the process held after each.

    Raises:
        RuntimeError: If a round has other numbers than the first.
    """
    began, spoke, first = time.monotonic(), -math.inf, None
    rounds: list[Usage] = []
    while not rounds or time.monotonic() - began < 60 * minutes:
        run = folder / "run"
        numbers = by_python(run / "python") + by_words(run / "words")
        first = first or numbers
        if numbers != first:
            raise RuntimeError(f"round {len(rounds) + 1} gave {numbers}; the first gave {first}")
        shutil.rmtree(run)
        rounds.append(usage(began))
        if (now := time.monotonic()) - spoke >= 60:
            spoke, last = now, rounds[-1]
            print(
                f"{last.seconds / 60:.1f} min, {len(rounds)} rounds: {last.memory:.1f} MB, {last.files} files, "
                f"{last.threads} threads, {last.children} children"
                + (f"; {verdict(rounds)[1]}" if len(rounds) >= 40 else ""),
                flush=True,
            )
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="how long")
    parser.add_argument("--json", type=Path, help="file for the counts of each round")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        rounds = soak(arguments.minutes, Path(folder))
    clean, said = verdict(rounds)
    print(said, flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([each._asdict() for each in rounds]) + "\n")
    raise SystemExit(not clean)


if __name__ == "__main__":
    main()
