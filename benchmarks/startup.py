"""Start-up: imports, help, and the time to the first training step.

    python benchmarks/startup.py --json startup.json

Each command is a process of its own, from start to end; the commands take turns. Training is of the built-in digits:
one step, and a hundred. `import torch` is what the product cannot go below; `python -c pass` is the interpreter alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from harness.race import order
from harness.report import options, seconds_table, summary, write

BASE = "import torch"
PYTHON = [sys.executable, "-c"]
TIGHTBOUND = [sys.executable, "-m", "tightbound"]
TRAIN = [*TIGHTBOUND, "train", "digits", "--evaluate-samples", "0"]
COMMANDS = {
    "python -c pass": [*PYTHON, "pass"],
    BASE: [*PYTHON, "import torch"],
    "import tightbound": [*PYTHON, "import tightbound"],
    "tightbound.fit, imported": [*PYTHON, "from tightbound import fit"],
    "tightbound --help": [*TIGHTBOUND, "--help"],
    "tightbound train --help": [*TIGHTBOUND, "train", "--help"],
    "train digits, 1 step": [*TRAIN, "--steps", "1"],
    "train digits, 100 steps": [*TRAIN, "--steps", "100"],
}


def seconds(command: list[str], threads: int) -> float:
    """Return the seconds of a process from start to end, in a working folder of its own.

    Raises:
        SystemExit: it failed; with what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        taken = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return taken


def main() -> None:
    parser = options(__doc__, repeats=9, peers=False)
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(-1, repeats):  # the first fills the caches of the disk and of Python
        for name in order(list(COMMANDS), repeat):
            taken = seconds(COMMANDS[name], arguments.threads)
            if repeat >= 0:
                times[name].append(taken)
    found = summary(times, BASE)
    seconds_table("From start to end", found, BASE)
    write(arguments, {"commands": found})


if __name__ == "__main__":
    main()
