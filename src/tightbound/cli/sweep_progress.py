"""What a person sees while the runs of a sweep are trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tightbound.cli.show import say
from tightbound.search.ledger import Ledger
from tightbound.search.metric import Metric
from tightbound.search.space import title
from tightbound.search.work import Event, Tell


@contextmanager
def progress(ledger: Ledger, metric: Metric, *, several: bool) -> Iterator[Tell]:
    """Gives what is to be called with each event.

    Arguments:
        several: Runs are trained at once, by other processes: on a terminal each has a line, which says how far it is.
            One alone shows its own progress.
    """
    began: dict[str, float] = {}
    lines: dict[str, str] = {}
    console = Console()

    def said(value: float | None) -> str:
        return "" if value is None else f", validation {metric.description} {value:.2f}"

    def tell(event: Event) -> None:
        name, values = event.trial.name, title(event.trial.values)
        if event.began:
            began[name] = time.monotonic()
            lines[name] = f"{values}: begun"
            if not (several and console.is_terminal):
                say(f"{values}: {ledger.run(name)}")
        elif event.epoch is not None:
            lines[name] = f"{values}: epoch {event.epoch}{said(event.value)}"
        else:
            lines.pop(name, None)
            seconds = time.monotonic() - began.get(name, time.monotonic())
            end = f"failed: {event.trial.reason}" if event.trial.state == "failed" else event.trial.reason or "done"
            say(f"{values}: {end}{said(event.value)} [{seconds:.1f} s]")

    if not (several and console.is_terminal):
        yield tell
        return

    from rich.live import Live
    from rich.text import Text

    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def show(event: Event) -> None:
            tell(event)
            live.update(Text("\n".join(lines.values()), no_wrap=True, overflow="ellipsis"))

        yield show
