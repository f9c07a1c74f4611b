"""Every package has one list of public names, all of which exist; packages of components take theirs from the table."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tightbound
from tightbound.components import TABLE

PACKAGES = ["tightbound"] + [
    info.name for info in pkgutil.walk_packages(tightbound.__path__, "tightbound.") if info.ispkg
]
FAMILIES = {
    "tightbound.likelihoods": ("likelihood", "observation"),
    "tightbound.objectives": ("objective",),
    "tightbound.quantizers": ("quantizer",),
    "tightbound.nn": ("network",),
    "tightbound.priors": ("prior",),
    "tightbound.posteriors": ("posterior",),
    "tightbound.latents": ("latents",),
    "tightbound.contexts": ("context",),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_assigns_its_public_names_once_and_all_of_them_exist(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    lists = [name for name in assigned if name.id == "__all__"]
    names = getattr(module, "__all__", [])
    assert len(lists) == (1 if names else 0)
    assert len(names) == len(set(names))
    for name in names:
        getattr(module, name)


@pytest.mark.parametrize("package", FAMILIES)
def test_every_component_of_the_table_is_public(package: str) -> None:
    module = importlib.import_module(package)
    paths = [path.partition(":") for kind in FAMILIES[package] for path in TABLE[kind].values()]
    assert {name for _, _, name in paths} <= set(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = module.Nothing


@pytest.mark.slow
def test_a_line_in_the_table_makes_a_class_public() -> None:
    """In a fresh process, and without importing torch before a name is used."""
    program = """
import sys
from tightbound.components import TABLE
TABLE["likelihood"]["own"] = "tightbound.likelihoods.counts:ZeroInflated"
import tightbound.likelihoods as likelihoods
assert "torch" not in sys.modules
assert "ZeroInflated" in likelihoods.__all__ and "ZeroInflated" in dir(likelihoods)
print(likelihoods.ZeroInflated.__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ZeroInflated"), done.stderr


def test_no_public_name_is_shadowed_by_a_package_of_that_name() -> None:
    """Python binds a subpackage to its name when it is imported, also over a function that the package exports."""
    folder = Path(str(tightbound.__file__)).parent
    packages = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    shared = packages & set(tightbound.__all__)
    assert shared >= {"data", "priors"}
    for name in shared:
        assert isinstance(getattr(tightbound, name), ModuleType), name
