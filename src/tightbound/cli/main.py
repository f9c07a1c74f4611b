"""Parse the command line, dispatch, and turn errors into one line and an exit status.

Free of torch until a command runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import tyro

from tightbound.cli.arguments import Command
from tightbound.cli.commands import COMMANDS, in_flags, overview
from tightbound.cli.mistakes import one_line
from tightbound.cli.processes import start
from tightbound.cli.sweep_arguments import Sweep, Swept, varying
from tightbound.cli.training import Training
from tightbound.cli.translate import flag
from tightbound.config import Config
from tightbound.core import launch
from tightbound.core.errors import InputError, OtherFailed, ReaderLost, TightboundError, suggestion
from tightbound.core.files import read_yaml
from tightbound.recipes import OWN_RECIPE, recipe
from tightbound.training.folder import RunFolder


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `tightbound`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    fail, warnings.showwarning = functools.partial(_fail, argv), functools.partial(_note, argv)
    try:
        with launch.first_alone_speaks():
            _carry_out(parse(argv), argv)
            sys.stdout.flush()
    except OtherFailed as error:
        _end_with_others(argv, error)
    except TightboundError as error:
        fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        fail("stopped", 130)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and (lost := ReaderLost.of(error)):
            fail(str(lost), lost.exit_status)
        if launch.started() and "gloo" in str(error):
            _end_with_others(argv, OtherFailed())
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        fail("out of memory; use a larger --accumulate, a smaller --latent, --network, --batch-size or smaller data", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _note(argv: Sequence[str], message: Warning | str, *_: object) -> None:
    """Print a warning as one line."""
    print(f"note: {in_flags(str(message), _command(argv))}", file=sys.stderr)


def _command(argv: Sequence[str]) -> type[Command] | None:
    return COMMANDS.get(argv[0]) if argv else None


def _fail(argv: Sequence[str], message: str, status: int) -> NoReturn:
    message = in_flags(message, _command(argv), argv)
    if launch.first_to_report(message):
        print(f"tightbound: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(status)


def _end_with_others(argv: Sequence[str], error: OtherFailed) -> NoReturn:
    """Exit; print the error unless another process has reported what ended it."""
    if launch.reported():
        sys.exit(error.exit_status)
    _fail(argv, str(error), error.exit_status)


def _carry_out(command: Command, argv: Sequence[str]) -> None:
    """Run a command in this process or start several; of several, in those that share the work or in the first."""
    if not launch.started():
        processes = getattr(command, "processes", 1)
        if processes > 1:
            start(command, argv, processes)
        else:
            command()
        return
    if not command.distributed:
        if launch.first():  # the others have nothing to do and end
            launch.go_alone()
            command()
        return
    from tightbound.core.world import connected

    with connected():
        command()


def parse(argv: Sequence[str]) -> Command:
    """Return the command that the words describe.

    Raises:
        TightboundError: If a number is out of range, a recipe or component is unknown, or a config cannot be read.
        SystemExit: With status 0 for --help and --version.
    """
    word = argv[0] if argv else ""
    if word in ("--version", "-V"):
        from importlib.metadata import version

        print(f"tightbound {version('tightbound')}")
        sys.exit(0)
    if not word or word in ("--help", "-h"):
        print(overview())
        sys.exit(0)
    if word not in COMMANDS:
        raise InputError(f"there is no command {word!r} (see: tightbound --help); {suggestion(word, COMMANDS)}")
    if word == "sweep" and not {"--help", "-h"} & set(argv):
        return _sweep(argv)
    return _training(argv) if word in ("train", "sweep") else _cli(argv)


def _training(argv: Sequence[str]) -> Command:
    """Return a command that trains, from its recipe, config file and flags."""
    kind = COMMANDS[argv[0]]
    chosen, base = _train_defaults(argv[1:])
    command = _cli(argv, _as(kind, base))
    told = isinstance(command, Training) and (command.domain, command.levels) != (None, None)
    if not chosen and not told and isinstance(command, Training) and command.data in OWN_RECIPE:
        command = _cli(argv, _as(kind, _defaults({}, OWN_RECIPE[command.data])))
    return command


def _as(kind: type[Command], config: Config) -> Command:
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Config)})


def _sweep(argv: Sequence[str]) -> Swept:
    """Separate the options that vary from the rest of the command."""
    values, rest = varying(argv)
    command = cast(Sweep, _training(rest))
    command.check(values)
    return Swept(command, values)


def _cli(argv: Sequence[str], default: Command | None = None) -> Command:
    """Return the command that its words describe, with these defaults."""
    said = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                COMMANDS[argv[0]], prog=f"tightbound {argv[0]}", args=list(argv[1:]),
                config=(tyro.conf.OmitArgPrefixes,), **options,
            )  # fmt: skip
    except SystemExit as stop:
        if not stop.code:
            raise
        fields = dataclasses.fields(cast(Any, COMMANDS[argv[0]]))
        raise InputError(one_line(said.getvalue(), argv, [flag(field.name) for field in fields])) from None


def _train_defaults(argv: Sequence[str]) -> tuple[bool, Config]:
    """Return whether a recipe or config was named, and the options that `train` starts from: those of the recipe,
    changed by the config file (by the run's own on --resume)."""
    given = {word: _value_of(argv, f"--{word}") for word in ("recipe", "config", "run")}
    stored = read_yaml(given["config"]) if given["config"] else {}
    if "--resume" in argv:
        if given["run"] is None:
            raise InputError("--resume needs the run to continue; add --run FOLDER")
        file = os.path.join(given["run"], "config.yaml")
        if not os.path.isfile(file):
            raise InputError(f"there is no run {given['run']!r} to continue; leave out --resume to start it")
        RunFolder(given["run"]).settle()
        stored = {**read_yaml(file), **stored}
    name = given["recipe"] or stored.get("recipe")
    base = _defaults(stored, name)
    if _value_of(argv, "--epochs") is not None and _value_of(argv, "--steps") is None:
        base = dataclasses.replace(base, steps=None)  # --epochs overrides the steps of a recipe
    elif _value_of(argv, "--epochs") is not None:
        raise InputError("--epochs and --steps were both given; give one of them")
    return bool(name or stored), base


def _defaults(stored: Mapping[str, Any], name: Any) -> Config:
    base = recipe(str(name)) if name else Config()
    values = {str(k): tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    for field in dataclasses.fields(Config):  # YAML 1.1 reads 2e-3 as text
        value = values.get(field.name)
        if "float" in str(field.type) and isinstance(value, str):
            with contextlib.suppress(ValueError):
                values[field.name] = float(value)
        elif field.name == "beta" and isinstance(value, int | float):
            values["beta"] = str(value)
    return base.replace(**values, **({} if "recipe" in values else {"recipe": name}))


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    """Return the value of a flag, written `--flag value` or `--flag=value`."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
