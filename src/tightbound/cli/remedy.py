"""The command that trains a run again with the remedies of a diagnosis."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightbound.training.folder import RunFolder, unused


def remedy_command(run: Path, remedy: Mapping[str, Any]) -> str | None:
    """Return the command that trains a run again with other options; None: it was not trained by a command."""
    folder = RunFolder(run)
    words = folder.read(folder.run_file).get("command", [])
    if not remedy or words[1:2] != ["train"]:
        return None
    return command_line(
        ["tightbound", "train", *remedied(words[2:], remedy, unused(run.with_name(f"{run.name}-remedied")))]
    )


def remedied(words: Sequence[str], remedy: Mapping[str, Any], run: Path) -> list[str]:
    """Return the arguments of a training command with other options and another run."""
    flags = {f"--{name.replace('_', '-')}": str(value) for name, value in remedy.items()} | {"--run": str(run)}
    kept: list[str] = []
    is_value = False  # of a flag that is replaced
    for word in words:
        if is_value or word in ("--overwrite", "--resume"):
            is_value = False
        elif word.partition("=")[0] in flags:
            is_value = "=" not in word
        else:
            kept.append(word)
    return [*kept, *(word for flag in flags.items() for word in flag)]


def command_line(words: Sequence[str]) -> str:
    """Quote words for a shell; words with single quotes get double quotes."""
    return " ".join(f'"{w}"' if "'" in w and not set(w) & set('"$`\\!') else shlex.quote(w) for w in words)
