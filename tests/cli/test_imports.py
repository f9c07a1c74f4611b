"""Modules that must not be loaded, checked in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("sklearn", "scipy", "matplotlib", "pandas", "torch._dynamo")


def loaded(code: str, names: tuple[str, ...], before: str = "pass") -> set[str]:
    """Which of these modules the code loads, after what other code has loaded."""
    code = f"import sys; {before}; known = {{*sys.modules}}\n{code}\n"
    code += f"print(*[n for n in {names!r} if n in sys.modules and n not in known])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_little() -> None:
    """Relative to torch alone, should a future torch load one of these itself."""
    code = "import tightbound.trained, tightbound.model, tightbound.data.source"
    assert loaded(code, HEAVY, before="import torch") == set()
    assert loaded("import tightbound", (*HEAVY, "torch", "numpy")) == set()


LINES = [
    ["train"],
    ["train", "digits", "--recipe", "lesson", "--likelihood", "bernoulli", "--objective", "iwae(samples=50)"],
    ["sweep", "digits", "--beta", "0.1", "1", "10", "--recipe", "vae"],
    ["sweep", "digits", "--search", "tpe", "--lr", "log(1e-4, 1e-2)", "--prior", "normal", "vamp(int(2, 9))"],
    ["evaluate", "run", "--samples", "5000", "--json"],
    ["ais", "run", "--temperatures", "500", "--max-examples", "20"],
    ["sample", "run", "-n", "64", "--out", "samples.png"],
    ["reconstruct", "run", "--out", "recon.png"],
    ["interpolate", "run", "--from", "0", "--to", "7", "--steps", "9"],
    ["embed", "run", "digits", "--out", "codes.npz"],
    ["report", "run"],
    ["list", "datasets"],
]


def test_parsing_the_command_line_loads_no_torch() -> None:
    code = f"from tightbound.cli.main import parse; [parse(line) for line in {LINES!r}]"
    assert loaded(code, (*HEAVY, "torch", "numpy", "PIL")) == set()


def test_help_and_lists_of_names_load_no_torch() -> None:
    lines = [["--help"], ["train", "--help"], ["list", "recipes"], ["list", "datasets"]]
    code = f"""
import contextlib, io
from tightbound.cli.main import main
for line in {lines!r}:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(line)
"""
    assert loaded(code, (*HEAVY, "torch", "numpy")) == set()
