"""Parses, dispatches, and turns errors into one line and an exit status. Free of torch until a command runs."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from tightbound.cli.arguments import COMMANDS, Command, Train
from tightbound.config import Config, read_yaml
from tightbound.core.errors import InputError, TightboundError, suggestion
from tightbound.recipes import RECIPES, recipe

_DESCRIPTION = (
    "Variational autoencoders with honest numbers.\n\n"
    "Begin with: tightbound train    (8x8 digits, about a minute, ends with a report)"
)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `tightbound`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        parse(argv)()
        sys.stdout.flush()
    except TightboundError as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str, status: int) -> None:
    print(f"tightbound: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def parse(argv: Sequence[str]) -> Command:
    """The command that these words say.

    Raises:
        TightboundError: a number out of range, an unknown recipe or part, an unreadable config.
        SystemExit: with status 2 for words that cannot be parsed, 0 for --help.
    """
    word = argv[0] if argv else ""
    if word and not word.startswith("-") and word not in COMMANDS:
        raise InputError(f"there is no command {word!r}; {suggestion(word, COMMANDS)}")
    if list(argv) in (["--version"], ["-V"]):
        from importlib.metadata import version

        print(f"tightbound {version('tightbound')}")
        sys.exit(0)
    if word != "train":
        return _cli(argv, {})
    chosen, base = _train_defaults(argv[1:])
    command = _cli(argv, {"train": base})
    if not chosen and isinstance(command, Train) and command.data in RECIPES:
        command = _cli(argv, {"train": _defaults({}, command.data)})  # data with a recipe of their own
    return command


def _cli(argv: Sequence[str], defaults: Mapping[str, Command]) -> Command:
    commands: list[Any] = []
    for name, command in COMMANDS.items():
        default: dict[str, Any] = {"default": defaults[name]} if name in defaults else {}
        commands.append(Annotated[command, tyro.conf.subcommand(name, **default)])
    return tyro.cli(
        functools.reduce(operator.or_, commands),
        prog="tightbound",
        description=_DESCRIPTION,
        args=list(argv),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
    )


def _train_defaults(argv: Sequence[str]) -> tuple[bool, Train]:
    """Whether a recipe or a config was named, and what `train` then starts from: the recipe, then the config
    file (or the run's own, on --resume)."""
    given = {word: _value_of(argv, f"--{word}") for word in ("recipe", "config", "run")}
    stored = read_yaml(given["config"]) if given["config"] else {}
    if "--resume" in argv:
        if given["run"] is None:
            raise InputError("--resume needs the run to go on with; add --run FOLDER")
        stored = {**read_yaml(os.path.join(given["run"], "config.yaml")), **stored}
    name = given["recipe"] or stored.get("recipe")
    return bool(name or stored), _defaults(stored, name)


def _defaults(stored: Mapping[str, Any], name: Any) -> Train:
    base = recipe(str(name)) if name else Config()
    values = {str(k): tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    merged = base.replace(**values, **({} if "recipe" in values else {"recipe": name}))
    return Train(**{f.name: getattr(merged, f.name) for f in dataclasses.fields(merged)})


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag, written `--flag value` or `--flag=value`."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
