"""Messages about words that cannot be parsed, in one line."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Sequence

from tightbound.core.errors import suggestion

_NUMBERS = {"invalid literal for int()": "a whole number", "could not convert string to float": "a number"}
_PLACEHOLDERS = {"INT": "a whole number", "FLOAT": "a number"}


def one_line(box: str, argv: Sequence[str], flags: Collection[str]) -> str:
    """Return what tyro's framed message says, in one line: what was given, and what is needed.

    Args:
        box: The message.
        argv: The words that were given, the command first.
        flags: Flags of the command.
    """
    lines = [line.strip("│╭╮╰╯─ |+").strip() for line in box.splitlines()]
    said = [line if line.strip("-") else "" for line in lines[1:] if line.strip("-") or line != lines[1]]
    text = " ".join(" ".join(itertools.takewhile(bool, said)).split()).partition(" For full helptext")[0]
    return f"{_reworded(text, ' '.join(said), argv, flags)}; see: tightbound {argv[0]} --help"


def _reworded(text: str, whole: str, argv: Sequence[str], flags: Collection[str]) -> str:
    """Return the first paragraph of a message in the words of tightbound; `whole` is all of it."""
    if found := re.match(r"Missing from tightbound \S+: (\S+) (.*?)(?: \(required\))?$", text):
        return f"{found[1]} is missing ({found[2].rstrip('.')})"
    if found := re.match(r"Missing value for argument '(?:-\w/)?(--[\w-]+)'", text):
        return f"{found[1]} was given without a value"
    if found := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of (\(.*\))", text):
        known = sorted(choice for choice in ast.literal_eval(found[3]) if choice != "None")
        return f"{found[2]} {found[1]!r}; needed: one of {', '.join(known)}"
    if found := re.match(r"Error parsing (?:-\w/)?(--[\w-]+): (.*)", text):
        placeholder = re.search(rf"Argument helptext: (?:-\w \S+, )?{found[1]}((?: [A-Z]+)+) ", whole)
        words = list(itertools.takewhile(lambda word: not word.startswith("--"), argv[_after(argv, found[1]) :]))
        if not words:  # written --flag=value, or by its short name
            words = re.findall(r"'([^']*)'", found[2])[-1:]
        if needed := next((kind for start, kind in _NUMBERS.items() if found[2].startswith(start)), None):
            return f"{found[1]} {' '.join(words[:1])}; needed: {needed}"
        if union := re.match(r"no type matching (\w+)\|\{(\w+)\} could be instantiated", found[2]):
            return f"{found[1]} {' '.join(words)}; needed: {_PLACEHOLDERS[union[1]]}, or {union[2]}"
        if "could be instantiated" in found[2] and placeholder is not None:
            needed = placeholder[1].strip()
            return f"{found[1]} {' '.join(words)}; needed: {_PLACEHOLDERS.get(needed, needed)}"
    if text.startswith("Unrecognized options: "):
        unknown = next((word.partition("=")[0] for word in argv if word in text and word.startswith("--")), None)
        near = "" if unknown is None else suggestion(unknown, [flag for flag in flags if flag != unknown])
        return f"unknown: {text.partition(': ')[2]}" + (f"; {near}" if near.startswith("did you mean") else "")
    return text


def _after(argv: Sequence[str], flag: str) -> int:
    """Return the position of the first word after a flag."""
    return next((i + 1 for i, word in enumerate(argv) if word == flag), len(argv))
