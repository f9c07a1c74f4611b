"""Table of recipes and their references. Does not import torch."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from tightbound.config import Config
from tightbound.core.errors import InputError, suggestion

MODULES = (
    "lessons", "bounds", "priors", "posteriors", "disentangling", "divergences", "discrete", "diffusion",
    "semi_supervised",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Published composition.

    Args:
        make: Function that returns the config; its docstring describes the recipe.
        cites: Keys of the papers in references.bib.
    """

    make: Callable[[], Config]
    cites: tuple[str, ...]

    def __call__(self) -> Config:
        """Return the config."""
        return self.make()

    @property
    def description(self) -> str:
        """First paragraph of the function's docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n\n")[0].replace("\n", " ")


_FOUND: dict[str, Recipe] = {}


def published(*cites: str) -> Callable[[Callable[[], Config]], Callable[[], Config]]:
    """Register a function that returns a config as the recipe of this name, with the papers that it follows."""

    def register(function: Callable[[], Config]) -> Callable[[], Config]:
        _FOUND[function.__name__.replace("_", "-")] = Recipe(function, cites)
        return function

    return register


def all_recipes() -> dict[str, Recipe]:
    """Return every recipe by name."""
    for module in MODULES:
        importlib.import_module(f"tightbound.recipes.{module}")
    return _FOUND


def find_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        InputError: There is no such recipe; the message suggests the nearest name.
    """
    recipes = all_recipes()
    if name not in recipes:
        raise InputError(f"there is no recipe {name!r}; {suggestion(name, recipes)}")
    return recipes[name]


def recipe(name: str) -> Config:
    """Return the config of a recipe.

    Raises:
        InputError: There is no such recipe; the message suggests the nearest name.
    """
    return find_recipe(name)().replace(recipe=name)


def bibliography() -> dict[str, str]:
    """Return BibTeX entries by key."""
    text = files("tightbound.recipes").joinpath("references.bib").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=@)", text.strip())
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry.strip() for entry in entries}


def citation(entry: str) -> str:
    """Return the short citation of a BibTeX entry, such as "Kingma and Welling 2014"."""
    fields = {key: re.search(rf"\b{key}\s*=\s*{{(.*?)}},?\n", entry, re.DOTALL) for key in ("author", "year")}
    found = {key: match[1] for key, match in fields.items() if match is not None}
    for written, letter in (("{\\o}", "ø"), ('{\\"o}', "ö")):
        found["author"] = found["author"].replace(written, letter)
    names = [re.sub(r"[{}\\'\"^~`]", "", name.partition(",")[0]) for name in found["author"].split(" and ")]
    listed = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{listed} {found['year']}"
