"""`tightbound diagnose`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tightbound.analysis import Diagnosis
from tightbound.cli.judging import Diagnose
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next
from tightbound.cli.show import record, say, say_json
from tightbound.core.errors import whole
from tightbound.report.table import command_line, rows
from tightbound.training.folder import RunFolder, unused


def diagnose(command: Diagnose) -> None:
    """Prints what is wrong, then what was looked at; records it in the run where the data are its own."""
    whole("most", command.most, least=2)
    whole("samples", command.samples, least=1)
    trained = load_run(command)
    data, split = open_data(command, trained)
    found = trained.diagnose(data, test=split, most=command.most, samples=command.samples, seed=command.seed)
    result = diagnosis_json(found, command.run)
    if of_the_run(command):
        record(RunFolder(command.run).analysis_file("diagnosis"), result)
    if command.json:
        say_json(result)
        return
    say(f"weights: {trained.weights}")
    show_verdict(found)
    _show_evidence(found)
    if result["command"] is not None:
        say(f"next: {result['command']}")
    else:
        say_next(command, "evaluate {run}")


def show_verdict(found: Diagnosis) -> None:
    """The verdict, then each finding with its remedy."""
    say(found.verdict)
    for finding in found.findings:
        say(f"  {finding.name}, {finding.severity}: {finding.description}")
        if finding.remedy:
            say(f"    remedy: {command_line(finding.remedy)}")


def diagnosis_json(found: Diagnosis, run: Path) -> dict[str, Any]:
    """As JSON, with the command that applies the remedies."""
    words = RunFolder(run).read(RunFolder(run).run_file).get("command", [])
    trained = words[2:] if words[1:2] == ["train"] else None  # else it was trained from Python
    command = None
    if found.remedy and trained is not None:
        again = remedied(trained, found.remedy, unused(run.with_name(f"{run.name}-remedied")))
        command = command_line(["tightbound", "train", *again])
    return found.to_json() | {"command": command}


def remedied(words: Sequence[str], remedy: Sequence[str], run: Path) -> list[str]:
    """The arguments of `train` with these flags in place of what they say, into another run."""
    replaced = {"--run", *remedy[::2]}
    kept: list[str] = []
    value = False  # of a flag that is replaced
    for word in words:
        if value or word in ("--overwrite", "--resume"):
            value = False
        elif word.partition("=")[0] in replaced:
            value = "=" not in word
        else:
            kept.append(word)
    return [*kept, *remedy, "--run", str(run)]


def _show_evidence(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("evidence")
    severe = {finding.name: finding.severity for finding in found.findings}
    for check in found.asked:
        if check in found.skipped:
            table.add_row(check, "skipped", Text(found.skipped[check], style="dim"))
            continue
        plain = {name: asdict(number) for name, number in found.evidence[check].items()}
        single = {name: number for name, number in plain.items() if isinstance(number["value"], float)}
        facts = "; ".join(f"{row.name.replace('_', ' ')} {row.value} {row.unit}".strip() for row in rows(single))
        table.add_row(check, severe.get(check, "ok"), Text(facts))
    Console().print(table)
