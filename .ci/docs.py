"""The documentation's commands and programs.

`command N` prints the N-th set-up command of the README (blocks marked `bash`; needs nothing but Python). `check` runs,
page by page, each in a temporary folder, every line of a `console` block that begins with `tightbound` and every
`python` block of README.md, CONTRIBUTING.md and docs/, and then the programs in examples/. Only what would take long is
shortened: training gets one epoch and few samples, sweeps two values or trials, and data that must be downloaded become
digits. Two pages run at a time; what they hold runs in forks of a process that has imported what is needed.
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
import types
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PRELOADED = ("tightbound.trained", "tightbound.cli.actions.train", "tightbound.pages.page", "sklearn.linear_model",
             "sklearn.neighbors", "sklearn.mixture", "scipy.stats", "matplotlib.figure", "torch._dynamo")  # fmt: skip
SMALL = {"evaluate": ["--samples", "20"], "quality": ["--n-samples", "100"], "ais": ["--temperatures", "5"],
         "probe": ["--max-examples", "300"], "score": ["--max-examples", "60"], "detect": ["--max-examples", "60"],
         "compare": ["--max-examples", "60", "--samples", "20"], "diagnose": ["--max-examples", "100"]}  # fmt: skip


def blocks(page: Path, kind: str) -> list[str]:
    """Return the contents of the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def shorten(line: str) -> list[str]:
    """Return the words of a command, made quick."""
    words = shlex.split(line, comments=True)
    words = ["digits" if word in ("mnist", "fashion-mnist") else word for word in words]
    words = ["flow-matching(hidden=16, blocks=1, steps=2)" if word == "flow-matching" else word for word in words]
    if words[1] in ("train", "sweep"):
        if "--epochs" in words:
            del words[words.index("--epochs") : words.index("--epochs") + 2]
        later = ("quantized", "flow-matching")
        learned = "--prior" in words and any(word.startswith(later) for word in words)  # in a second stage
        if learned or {"vq-vae", "vq-vae-2", "fsq", "rq-vae"} & {*words}:
            words += ["--prior-epochs", "1", "--prior-max-examples", "100"]
        judged = words[1] == "sweep" or "--run" in words  # the others are composed and trained; tests judge them
        words += ["--epochs", "2" if "--resume" in words else "1", "--evaluate-samples", "5" if judged else "0"]
    if words[1] == "sweep":
        place = [next((k for k in range(i + 1) if words[i - k].startswith("--")), 0) for i in range(len(words))]
        words = [word for word, k in zip(words, place, strict=True) if k <= 2]  # two values for each flag
        words += ["--jobs", "1"]
        if "--trials" in words:
            words[words.index("--trials") + 1] = "2"
    if "--help" not in words:
        given = dict(zip(SMALL.get(words[1], [])[::2], SMALL.get(words[1], [])[1::2], strict=True))
        for flag, value in given.items():
            if flag in words:
                words[words.index(flag) + 1] = value
            else:
                words += [flag, value]
    return words


def in_a_fork(call: Callable[[], object]) -> str:
    """Call a function in a fork, without the seconds that importing takes; return what it prints.

    Raises:
        RuntimeError: If its exit status is not 0.
    """
    with tempfile.TemporaryFile("w+") as out:
        process = multiprocessing.get_context("fork").Process(target=_printing, args=(call, out.fileno()))
        process.start()
        process.join()
        out.seek(0)
        said = out.read()
    if process.exitcode:
        raise RuntimeError(f"exit status {process.exitcode}\n{said}")
    return said


def _printing(call: Callable[[], object], out: int) -> None:
    os.dup2(out, 1)
    os.dup2(out, 2)
    call()


def command(words: list[str]) -> None:
    """Run a command as its script does."""
    from tightbound.cli.main import main

    sys.argv = words  # which a run records
    main(words[1:])


def program(text: str, path: Path | None = None) -> None:
    """Run a program as the main module, from a file or not."""
    main = types.ModuleType("__main__")
    if path is not None:
        main.__file__ = str(path)
    sys.modules["__main__"] = main
    sys.argv = [str(path or "-c")]
    sys.path.insert(0, "" if path is None else str(path.parent))
    exec(compile(text, sys.argv[0], "exec"), main.__dict__)


@dataclass
class Report:
    """Names of what ran and of what failed."""

    commands: int = 0
    programs: int = 0
    failed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def run(self, what: str, call: Callable[[], str]) -> None:
        """Note what runs, what it prints and how long it takes."""
        start = time.monotonic()
        try:
            said = call()
        except RuntimeError as error:
            said = f"  FAILED: {error}\n"
            self.failed.append(what)
        self.lines.append(f"+ {what}\n{said}  {time.monotonic() - start:.0f} s")


def checked(path: Path) -> Report:
    """Run the commands and programs of a page, or an example, in a temporary folder."""
    report = Report(lines=[f"{path.relative_to(ROOT)}:"])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if path.suffix == ".py":
            report.run(path.name, lambda: in_a_fork(lambda: program(path.read_text(encoding="utf-8"), path)))
            report.programs += 1
            return report
        for block in blocks(path, "console"):
            for line in (line for line in block.splitlines() if line.startswith("tightbound")):
                words = shorten(line)
                report.run(shlex.join(words), lambda words=words: in_a_fork(lambda: command(words)) and "")
                report.commands += 1
        for i, text in enumerate(blocks(path, "python")):
            report.run(f"python block {i + 1}", lambda text=text: in_a_fork(lambda: program(text)))
            report.programs += 1
    return report


def check() -> None:
    """Run the documented commands and programs, two pages at a time."""
    lines = [
        line for block in blocks(PAGES[0], "console") for line in block.splitlines() if line.startswith("tightbound")
    ]
    assert lines, "the README documents no command"
    subprocess.run([*shlex.split(lines[0])[:1], "--version"], check=True)  # the installed script
    os.environ["OMP_NUM_THREADS"] = "1"  # of each of the two
    for name in PRELOADED:  # computes nothing: threads would not live on in forks
        importlib.import_module(name)
    reports = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        for report in pool.map(checked, [*PAGES, *sorted((ROOT / "examples").glob("*.py"))]):
            print("\n".join(report.lines), flush=True)
            reports.append(report)
    failed = [what for report in reports for what in report.failed]
    commands, programs = (sum(getattr(report, name) for report in reports) for name in ("commands", "programs"))
    print(f"documentation: {commands} commands and {programs} programs ran, {len(failed)} failed")
    if failed:
        sys.exit("\n".join(["failed:", *failed]))


if __name__ == "__main__":
    if sys.argv[1] == "command":
        print(blocks(PAGES[0], "bash")[int(sys.argv[2]) - 1].strip())
    else:
        check()
