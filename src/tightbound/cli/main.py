"""Parses, dispatches, and turns errors into one line and an exit status. Free of torch until a command runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import operator
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import tyro

from tightbound.cli.arguments import Command
from tightbound.cli.commands import COMMANDS
from tightbound.cli.sweep_arguments import Sweep, Swept, varying
from tightbound.cli.training import Training
from tightbound.config import Config, read_yaml
from tightbound.core import launch
from tightbound.core.errors import InputError, OtherFailed, ReaderLost, TightboundError, suggestion
from tightbound.recipes import OWN_RECIPE, recipe
from tightbound.training.folder import RunFolder

_DESCRIPTION = (
    "Variational autoencoders with honest numbers.\n\n"
    "Begin with: tightbound train    (8x8 digits, about a minute, ends with a report)"
)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `tightbound`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _note
    try:
        with launch.first_alone_speaks():
            _carry_out(parse(argv))
            sys.stdout.flush()
    except OtherFailed as error:
        _end_with_others(error)
    except TightboundError as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and (lost := ReaderLost.of(error)):
            _fail(str(lost), lost.exit_status)
        if launch.started() and "gloo" in str(error):
            _end_with_others(OtherFailed())
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        _fail("out of memory; use a smaller --latent, --network, --batch-size or smaller data", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _note(message: Warning | str, *_: object) -> None:
    """A warning as one line."""
    print(f"note: {message}", file=sys.stderr)


def _fail(message: str, status: int) -> None:
    if launch.first_to_report(message):
        print(f"tightbound: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(status)


def _end_with_others(error: OtherFailed) -> None:
    """Says so where no other process says what ended it."""
    if launch.reported():
        sys.exit(error.exit_status)
    _fail(str(error), error.exit_status)


def _carry_out(command: Command) -> None:
    """In this process; of several, in all that share the work, or in the first alone."""
    if not launch.started():
        command()
        return
    if not command.distributed:
        if launch.first():  # the others have nothing to do, and end
            launch.go_alone()
            command()
        return
    from tightbound.core.world import connected

    with connected():
        command()


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
    if not word:
        argv = ["--help"]
    if word == "sweep" and not {"--help", "-h"} & set(argv):
        return _sweep(argv)
    return _training(argv) if word in ("train", "sweep") else _cli(argv, {})


def _training(argv: Sequence[str]) -> Command:
    """A command that trains, from its recipe, config and flags."""
    kind = COMMANDS[argv[0]]
    chosen, base = _train_defaults(argv[1:])
    command = _cli(argv, {argv[0]: _as(kind, base)})
    told = isinstance(command, Training) and (command.domain, command.levels) != (None, None)
    if not chosen and not told and isinstance(command, Training) and command.data in OWN_RECIPE:
        command = _cli(argv, {argv[0]: _as(kind, _defaults({}, OWN_RECIPE[command.data]))})
    return command


def _as(kind: type[Command], config: Config) -> Command:
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Config)})


def _sweep(argv: Sequence[str]) -> Swept:
    """Separate the options that vary from the rest of the command."""
    values, rest = varying(argv)
    command = cast(Sweep, _training(rest))
    command.check(values)
    return Swept(command, values)


def _cli(argv: Sequence[str], defaults: Mapping[str, Command]) -> Command:
    commands: list[Any] = []
    for name, command in COMMANDS.items():
        default: dict[str, Any] = {"default": defaults[name]} if name in defaults else {}
        commands.append(Annotated[command, tyro.conf.subcommand(name, **default)])
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                functools.reduce(operator.or_, commands),
                prog="tightbound",
                description=_DESCRIPTION,
                args=list(argv),
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(said.getvalue(), argv)) from None


def _one_line(box: str, argv: Sequence[str]) -> str:
    """The first paragraph of tyro's framed message, with the nearest flag where one is unknown."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()]
    text = " ".join(" ".join(lines[1 : lines.index("", 1)] if "" in lines[1:] else lines[1:]).split())
    command: Any = COMMANDS.get(argv[0]) if argv else None
    flags = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(command)] if command else []
    unknown = next((w.partition("=")[0] for w in argv if w in text and w.startswith("--")), None)
    if text.startswith("Unrecognized") and unknown is not None:
        near = suggestion(unknown, flags)
        text += f"; {near}" if near.startswith("did you mean") else ""
    return f"{text}; see: {' '.join(['tightbound', *argv[:1]] if command else ['tightbound'])} --help"


def _train_defaults(argv: Sequence[str]) -> tuple[bool, Config]:
    """Whether a recipe or a config was named, and what `train` then starts from: the recipe, then the config
    file (or the run's own, on --resume)."""
    given = {word: _value_of(argv, f"--{word}") for word in ("recipe", "config", "run")}
    stored = read_yaml(given["config"]) if given["config"] else {}
    if "--resume" in argv:
        if given["run"] is None:
            raise InputError("--resume needs the run to go on with; add --run FOLDER")
        file = os.path.join(given["run"], "config.yaml")
        if not os.path.isfile(file):
            raise InputError(f"there is no run {given['run']!r} to go on with; leave out --resume to begin it")
        RunFolder(given["run"]).settle()
        stored = {**read_yaml(file), **stored}
    name = given["recipe"] or stored.get("recipe")
    base = _defaults(stored, name)
    if _value_of(argv, "--epochs") is not None and _value_of(argv, "--steps") is None:
        base = dataclasses.replace(base, steps=None)  # epochs that are asked for count, whatever the recipe says
    elif _value_of(argv, "--epochs") is not None:
        raise InputError("--epochs and --steps were both given; give one of them")
    return bool(name or stored), base


def _defaults(stored: Mapping[str, Any], name: Any) -> Config:
    base = recipe(str(name)) if name else Config()
    values = {str(k): tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    for field in dataclasses.fields(Config):  # YAML 1.1 reads 2e-3 as a word
        value = values.get(field.name)
        if "float" in str(field.type) and isinstance(value, str):
            with contextlib.suppress(ValueError):
                values[field.name] = float(value)
        elif field.name == "beta" and isinstance(value, int | float):
            values["beta"] = str(value)
    return base.replace(**values, **({} if "recipe" in values else {"recipe": name}))


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag, written `--flag value` or `--flag=value`."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
