"""What a person sees while a model trains, and how they stop it."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tightbound.core.errors import TightboundError
from tightbound.core.world import together
from tightbound.training.tally import perplexities

if TYPE_CHECKING:
    from tqdm import tqdm

    from tightbound.training.folder import RunFolder


class Interrupted(TightboundError, KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM; a checkpoint has been written."""

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.by = by
        self.exit_status = 128 + by


class StopFlag:
    """Set by the first SIGINT or SIGTERM; a SIGINT after it acts at once, a SIGTERM does nothing more: where a group of
    processes is ended, those that started others pass on what these had already."""

    raised: signal.Signals | None = None

    def agreed(self, due: bool = False) -> tuple[signal.Signals | None, bool]:
        """What any process was told, and whether something is due in any (one collective)."""
        interrupt, end, due_somewhere = together([self.raised == signal.SIGINT, self.raised == signal.SIGTERM, due])
        return signal.SIGINT if interrupt else signal.SIGTERM if end else None, bool(due_somewhere)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turns the first SIGINT or SIGTERM into a flag that the loop looks at (in the main thread only)."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    previous = {s: handler for s, handler in previous.items() if handler != signal.SIG_IGN}  # nohup and the like

    def handle(number: int, frame: object) -> None:
        flag.raised = flag.raised or signal.Signals(number)
        if signal.SIGINT in previous:
            signal.signal(signal.SIGINT, previous[signal.SIGINT])

    for s in previous:
        signal.signal(s, handle)
    try:
        yield flag
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def _live() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _bar(total: int, start: int, quiet: bool) -> tqdm[Any]:
    from tqdm.auto import tqdm

    form = "{percentage:3.0f}%|{bar:12}| {remaining} left{desc}"
    return tqdm(total=total, initial=start, disable=quiet or not _live(), bar_format=form, dynamic_ncols=True)


@contextmanager
def counting(total: int, what: str, quiet: bool) -> Iterator[Callable[[int], object]]:
    """Shows how much is left of work on so many data; gives what is to be called with the number of those done."""
    if not quiet and not _live():
        print(what, file=sys.stderr, flush=True)
    bar = _bar(total, 0, quiet)
    bar.set_description_str(f", {what}", refresh=False)
    try:
        yield bar.update
    finally:
        bar.close()


class Monitor:
    """A progress bar with time left in a terminal or a notebook; plain lines, about twenty, elsewhere.

    Arguments:
        total: Steps of the stage.
        start: Steps taken already.
        epochs: Of the stage.
        quiet: Show nothing.
        stage: Its name; "" is the first.
    """

    def __init__(self, total: int, start: int, epochs: int, quiet: bool, stage: str = "") -> None:
        self._quiet, self._epochs, self._stage = quiet, epochs, f"{stage}: " if stage else ""
        self._live = _live()
        self._bar = _bar(total, start, quiet)
        self._bar.set_description_str(f", {stage}" if stage else "", refresh=False)

    def tell(self, milliseconds: Mapping[str, float]) -> None:
        """How steps are computed was measured: of each way, the way taken first, the time of a pass."""
        if milliseconds and not self._quiet:
            (way, best), *others = milliseconds.items()
            rest = "; ".join(f"{name}: {ms:.3g} ms" for name, ms in others)
            line = f"{self._stage}a step: {way}, {best:.3g} ms forward and backward" + (f" ({rest})" if rest else "")
            self._bar.write(line, file=sys.stderr)

    def step(self) -> None:
        """One step was taken."""
        self._bar.update()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is over."""
        named = {name.removesuffix("_loss"): loss for name, loss in row.items() if name.endswith("_loss")}
        epoch = f"{self._stage}epoch {row['epoch']}/{self._epochs}"
        codes = "|".join(f"{p:.0f}" for p in perplexities(row))
        if self._live:
            losses = ", ".join(f"{name} {loss:.2f}" for name, loss in named.items())
            end = f", perplexity: {codes}" if codes else ""
            self._bar.set_description_str(f", {epoch}, loss: {losses}{end}", refresh=False)
        elif not self._quiet and (row["epoch"] % max(1, self._epochs // 20) == 0 or row["epoch"] == self._epochs):
            words = [epoch]
            for name, loss in named.items():
                start = f"{name}_bits_per_"
                bits = [f" ({v:.4f} bits/{k.removeprefix(start)})" for k, v in row.items() if k.startswith(start) and v]
                words.append(f"{name} loss {loss:.2f}{''.join(bits)}")
            words += [f"perplexity {codes}"] if codes else []
            print(", ".join(words), f"[{row['seconds']:.1f} s]", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


def stopped(by: signal.Signals, where: str, folder: RunFolder) -> Interrupted:
    """What is raised after a signal, with how to go on."""
    return Interrupted(
        f"stopped by {by.name} {where}; go on with resume, from the command line: "
        f"tightbound train --run {shlex.quote(str(folder.path))} --resume",
        by,
    )
