"""The fastest way to compute steps on this machine, found by measuring at the start of a run."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from tightbound.config import Settings
from tightbound.core.errors import InputError, OtherFailed
from tightbound.core.world import agreed
from tightbound.training.step import Stepper, Way, networks

PAYS = 60.0  # seconds of training left from which a search for a compiled step begins: it may take a minute
LESS = 0.97  # of a plainer way's time: what a less plain one must need, or it is not worth its noise
_SECONDS, _LEAST, _MOST = 0.8, 3, 80  # of measuring a way; passes

Pass = Callable[[], object]  # forward and backward of one batch


def choose(stepper: Stepper, settings: Settings, run: Pass, rest: int) -> dict[str, float]:
    """Leaves the stepper in the way that the settings ask for, or that is the fastest of those that they leave open.

    Arguments:
        stepper: Has planned a step, where one loss trains all: if its draws are known, it can be one graph.
        run: What is measured.
        rest: Steps to come.

    Returns:
        Milliseconds of a pass, by the words of each way that was measured, the way taken first.

    Raises:
        InputError: compile="on" where nothing can be compiled.
    """
    model = stepper.step.model
    plain = Way(precision="fp32" if settings.precision == "auto" else settings.precision)
    stepper.take(plain)
    if settings.compile == "on":
        kinds = (kind for kind in _kinds(stepper) if _works(stepper, replace(plain, compile=kind), run))
        if (kind := next(kinds, None)) is None:
            raise InputError("nothing of this model can be compiled here; leave out compile, or use compile 'auto'")
        plain = replace(plain, compile=kind)
    ways = [plain]
    if settings.compile == "auto" and any(p.dim() == 4 for p in model.parameters()):
        ways.append(replace(plain, channels_last=True))
    if settings.precision == "auto":
        ways += [replace(way, precision="bf16") for way in ways]
    if len(ways) == 1 and settings.compile != "auto":
        return {}
    found = _milliseconds(stepper, ways, run)
    best = _best(found)
    if settings.compile == "auto" and found[best] * rest / 1000 > PAYS:
        for kind in _kinds(stepper):
            way = replace(best, compile=kind)
            if _works(stepper, way, run):
                found |= _milliseconds(stepper, [best, way], run)
                break
    best = _best(found)
    if stepper.way != best:
        stepper.take(best)
    return {way.words: found[way] for way in sorted(found, key=lambda way: way != best)}


def go_on(stepper: Stepper, settings: Settings, way: Way, run: Pass) -> None:
    """Leaves the stepper in the way of a run that was interrupted.

    Raises:
        InputError: compile="on" where that cannot be compiled; "auto" goes on without, which is said.
    """
    if way.compile == "no":
        stepper.take(way)
    elif not _works(stepper, way, run):
        reason = "the steps of this run were compiled, and here they cannot be (no C++ compiler, perhaps)"
        if settings.compile == "on":
            raise InputError(f"{reason}; go on where they can, or train a new run without compile")
        warnings.warn(f"{reason}; it goes on without, to other last bits", stacklevel=2)


def _kinds(stepper: Stepper) -> list[str]:
    """The kinds of compilation that could work, the best first."""
    return [*["step"] * stepper.plannable, *["networks"] * bool(networks(stepper.step.model))]


def _works(stepper: Stepper, way: Way, run: Pass) -> bool:
    """Takes the way, if it can be compiled; by all processes or none."""
    from torch._dynamo.exc import TorchDynamoException

    stepper.take(way)
    try:
        run()
    except (TorchDynamoException, OtherFailed):  # what cannot be traced, or the compiler is missing
        stepper.take(replace(way, compile="no"))
        return False
    return True


def _best(found: dict[Way, float]) -> Way:
    """The fastest; a less plain way only where it gains."""
    best, *others = found
    for way in others:
        if found[way] < LESS * found[best]:
            best = way
    return best


def _milliseconds(stepper: Stepper, ways: Sequence[Way], run: Pass) -> dict[Way, float]:
    """The median of a pass in each way. They take turns, so that a machine whose speed drifts slows all."""
    times: dict[Way, list[float]] = {way: [] for way in ways}
    while any(len(own) < _LEAST or (sum(own) < _SECONDS and len(own) < _MOST) for own in times.values()):
        for way, own in times.items():
            own += _turn(stepper, way, run)
    return {way: 1000 * statistics.median(own) for way, own in times.items()}


def _turn(stepper: Stepper, way: Way, run: Pass) -> list[float]:
    """Seconds of some passes, after one that does not count."""
    if stepper.way != way:
        stepper.take(way)
    run()
    times: list[float] = []
    while sum(times) < _SECONDS / 4 and len(times) < _MOST / 4:
        began = time.perf_counter()
        run()
        times.append(agreed(time.perf_counter() - began))  # all processes measure as often
    return times
