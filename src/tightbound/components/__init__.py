"""Components by name: their table, the text form `"name(argument=value)"`, and JSON. Does not import torch."""

from tightbound.components.registry import find, make, name_of
from tightbound.components.saving import describe, foreign, rebuild, untrusted
from tightbound.components.syntax import Spec, parse
from tightbound.components.table import TABLE
from tightbound.core.component import Component, signature

__all__ = [
    "TABLE",
    "Component",
    "Spec",
    "describe",
    "find",
    "foreign",
    "make",
    "name_of",
    "parse",
    "rebuild",
    "signature",
    "untrusted",
]
