"""Kill the command line at random moments and count what survives.

    python benchmarks/robustness.py --trials 1000 --json robustness.json

Each trial forks this process, runs a command of tightbound, and ends it by SIGKILL after a random time. Then a person's
next step follows: the same command is resumed (training), given again (sweeps), or repeated (results), until it ends by
itself. The trial is clean if the weights and numbers equal, bit for bit, those of a run that nothing interrupted, no
file is half-written, and no step ends otherwise than by status 0 or one line. Trials are seeded.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from tightbound.cli.main import main as tightbound

TINY = ("--latent", "2", "--batch-size", "128", "--evaluate-samples", "0")
TRAIN = ("train", "digits", *TINY, "--network", "mlp(hidden=(16,))", "--epochs", "4")
CODES = (
    "train", "digits", *TINY, "--network", "resnet(halvings=(1,), hidden=4, blocks=0)", "--epochs", "2",
    "--latents", "quantized(quantizer=vq(codebook_size=6))", "--prior", "pixelcnn(hidden=4, layers=1, attention=0)",
    "--prior-epochs", "2", "--prior-max-examples", "200",
)  # fmt: skip
SWEEP = ("sweep", "digits", *TINY[:-1], "2", "--network", "mlp(hidden=(16,))", "--epochs", "2", "--seed", "0", "1")
Words = tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A command that is killed, and what a person does next.

    Args:
        command: The command, which writes to the folder that is appended to it.
        again: What is run after a kill, given the folder.
        start: What is run once, before any kill, given the folder.
    """

    command: Callable[[Path], Words]
    again: Callable[[Path], Words]
    start: Callable[[Path], Words] | None = None


def _same(words: Callable[[Path], Words], start: Callable[[Path], Words] | None = None) -> Case:
    return Case(words, words, start)


def _trained(run: Path) -> Words:
    return (*TRAIN, "--run", str(run))


def _resumed(run: Path) -> Words:
    return ("train", "--run", str(run), "--resume")


CASES = {
    "training": Case(_trained, _resumed),
    "code prior": Case(lambda run: (*CODES, "--run", str(run)), _resumed),
    "sweep": _same(lambda run: (*SWEEP, "--run", str(run))),
    "evaluation": _same(lambda run: ("evaluate", str(run), "--samples", "50"), _trained),
    "report": _same(lambda run: ("report", str(run), "--quick"), _trained),
    "sampler": _same(lambda run: ("fit-sampler", str(run), "--sampler", "gaussian-mixture(components=2)"), _trained),
    "export": _same(lambda run: ("embed", str(run), "--out", str(run / "codes.npz")), _trained),
}


def invoke(words: Sequence[str], log: Path, kill_after: float | None = None) -> tuple[int, float]:
    """Run a command in a fork of this process; return its exit status (negative: the signal) and its seconds."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(words, log))
    began = time.perf_counter()
    process.start()
    process.join(kill_after)
    if process.exitcode is None and kill_after is not None:
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, time.perf_counter() - began


def _child(words: Sequence[str], log: Path) -> None:
    os.setsid()
    torch.set_num_threads(1)  # a fork has none of the threads that OpenMP believes it has
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file  # a test runner has its own
        tightbound(list(words))


def contents(run: Path) -> dict[str, str]:
    """Return a digest of the weights and numbers of each file of a run; times and machine facts are left out.

    Raises:
        ValueError: If a file is half-written.
    """
    found = {}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(run).parts):
            continue
        try:
            if file.suffix == ".safetensors" and "state" not in file.name:
                tensors = load_file(file)
                data = b"".join(key.encode() + tensors[key].numpy().tobytes() for key in sorted(tensors))
            elif file.suffix == ".json":
                data = json.dumps(_numbers(json.loads(file.read_text()))).encode()
            elif file.suffix == ".npz":
                with np.load(io.BytesIO(file.read_bytes())) as arrays:
                    data = b"".join(key.encode() + arrays[key].tobytes() for key in sorted(arrays))
            else:
                if file.suffix in (".yaml", ".yml"):
                    yaml.safe_load(file.read_text())
                continue
        except Exception as error:
            raise ValueError(f"{name} is half-written: {error}") from error
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _numbers(value: object) -> object:
    """Keep the numbers of estimates; leave out times, paths and the machine."""
    if not isinstance(value, dict):
        return value
    kept = ("estimates", "value", "stderr", "n")
    return {key: _numbers(each) for key, each in value.items() if key in kept or isinstance(each, dict)}


def trial(case: Case, seed: int, seconds: float, reference: dict[str, str], folder: Path) -> str:
    """Kill a command up to three times; return "clean" or what is wrong."""
    random_ = random.Random(seed)
    run, log = folder / "run", folder / "log"
    if case.start is not None:
        shutil.copytree(folder.parent / "start", run)
    words = case.command(run)
    for _ in range(random_.choice((1, 1, 2, 3))):
        status, _ = invoke(words, log, random_.uniform(0, seconds))
        if status == 0:
            break
        if status != -signal.SIGKILL and not _one_line(status, log):
            return f"{words[0]} ended with status {status}: {log.read_text()[-300:]}"
        words = case.again(run) if (run / "config.yaml").exists() or case.again is case.command else case.command(run)
    status, _ = invoke(words, log)
    if _one_line(status, log):  # such as: nothing was saved yet that could be resumed
        words = (*case.command(run), "--overwrite")
        status, _ = invoke(words, log)
    if status != 0:
        return f"{' '.join(words)} ended with status {status}: {log.read_text()[-300:]}"
    try:
        found = contents(run)
    except ValueError as error:
        return str(error)
    different = [name for name in reference if found.get(name) != reference[name]]
    return f"differs: {', '.join(different)}" if different else "clean"


def _one_line(status: int, log: Path) -> bool:
    """Whether a command was refused in one line."""
    said = [line for line in log.read_text().splitlines() if line.startswith("tightbound: ")]
    return status == 2 and len(said) == 1 and "Traceback" not in log.read_text()


def campaign(names: Sequence[str], trials: int, seed: int, folder: Path) -> dict[str, Counter[str]]:
    """Run trials of each case in turn; return the counts of what came out."""
    counts = {}
    for name in names:
        case, home = CASES[name], folder / name.replace(" ", "-")
        home.mkdir()
        if case.start is not None:
            assert invoke(case.start(home / "start"), home / "log")[0] == 0, (home / "log").read_text()
            shutil.copytree(home / "start", home / "whole")
        status, seconds = invoke(case.command(home / "whole"), home / "log")
        assert status == 0, (home / "log").read_text()
        reference, counts[name] = contents(home / "whole"), Counter()
        for number in range(trials):
            (place := home / f"{number}").mkdir()
            outcome = trial(case, seed + number, seconds, reference, place)
            counts[name][outcome] += 1
            if outcome == "clean":
                shutil.rmtree(place)
        print(f"{name}: {seconds:.1f} s, {len(reference)} files compared; {dict(counts[name])}", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=150, help="trials of each case")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="cases to run")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--keep", type=Path, help="folder in which trials that were not clean stay")
    parser.add_argument("--json", type=Path, help="file for the counts")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        counts = campaign(arguments.only, arguments.trials, arguments.seed, folder)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
