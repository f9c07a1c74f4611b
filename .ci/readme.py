"""The README's commands: `command N` prints the N-th block's command, `check` runs all the others on digits.

Blocks marked `bash` are the set-up commands; every line of a `console` block that begins with `tightbound`, and
every `python` block, is run in a temporary folder. Only what would take long is shortened: training gets one epoch
and few samples, sweeps two values or trials, runs without a name no evaluation, and data that must be downloaded become
digits. Commands run in forks of one process, which has imported what they need: the first alone by its script.
`command` needs nothing but Python.
"""

import contextlib
import importlib
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = ("tightbound.trained", "tightbound.cli.train", "tightbound.report.page", "sklearn.linear_model",
             "sklearn.neighbors", "sklearn.mixture", "scipy.stats", "matplotlib.figure", "torch._dynamo")  # fmt: skip
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def shorten(line: str) -> list[str]:
    """The words of a command, made quick."""
    words = shlex.split(line, comments=True)
    words = ["digits" if word in ("mnist", "fashion-mnist") else word for word in words]
    if words[1] in ("train", "sweep"):
        if "--epochs" in words:
            del words[words.index("--epochs") : words.index("--epochs") + 2]
        if {"vq-vae", "vq-vae-2", "fsq", "rq-vae"} & {*words} or any(word.startswith("quantized") for word in words):
            words += ["--prior-epochs", "1"]
        judged = words[1] == "sweep" or "--run" in words  # the others are composed and trained; tests judge them
        words += ["--epochs", "2" if "--resume" in words else "1", "--evaluate-samples", "5" if judged else "0"]
    if words[1] == "sweep":
        first = next(i for i, word in enumerate(words) if word in ("--beta", "--latent")) + 1
        last = next(i for i in range(first, len(words)) if words[i].startswith("--"))
        del words[first + 2 : last]
        if "--trials" in words:
            words[words.index("--trials") + 1] = "2"
    if words[1] == "evaluate":
        words += ["--samples", "20"]
        if "--ais" in words:
            words[words.index("--ais") + 1] = "5"
    return words


def in_a_fork(words: list[str]) -> None:
    """A command, as by its script, without the seconds that importing takes.

    Raises:
        RuntimeError: where its exit status is not 0.
    """
    process = multiprocessing.get_context("fork").Process(target=_silently, args=(words,))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"exit status {process.exitcode}: {shlex.join(words)}")


def _silently(words: list[str]) -> None:
    from tightbound.cli.main import main

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        sys.argv = words  # which a run records
        main(words[1:])


def preload() -> None:
    """Imports what is slow, and computes nothing: threads would not live on in forks."""
    for name in PRELOADED:
        importlib.import_module(name)


def check() -> None:
    """Runs all documented commands, in order, in one folder."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("tightbound")]
    programs = blocks("python")
    assert lines, "the README documents no command"
    assert programs, "the README shows no Python"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for i, line in enumerate(lines):
            words = shorten(line)
            print("+", shlex.join(words), flush=True)
            start = time.monotonic()
            if i == 0:
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                preload()
            else:
                in_a_fork(words)
            print(f"  {time.monotonic() - start:.0f} s", flush=True)
        for i, program in enumerate(programs):
            print(f"+ python block {i + 1}", flush=True)
            subprocess.run([sys.executable, "-c", program], check=True)
    print(f"README: {len(lines)} commands and {len(programs)} programs ran")


if __name__ == "__main__":
    if sys.argv[1] == "command":
        print(blocks("bash")[int(sys.argv[2]) - 1].strip())
    else:
        check()
