"""The verdict, at the head of the page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from tightbound.report.section import Section
from tightbound.report.table import command_line, rows


def sections(found: Mapping[str, Any]) -> list[Section]:
    """Of `Diagnosis.to_json()`."""
    body = [f"<p class=verdict><strong>{html.escape(_sentence(found['verdict']))}</strong></p>"]
    for finding in found["findings"]:
        name = html.escape(f"{finding['name']}, {finding['severity']}")
        body.append(f"<p><strong>{name}.</strong> {html.escape(finding['description'])}</p>")
        if finding["remedy"]:
            body.append(
                f"<p>Remedy, added to the command: <code>{html.escape(command_line(finding['remedy']))}</code></p>"
            )
    if found.get("command"):
        body.append(f"<p>With all remedies: <code>{html.escape(found['command'])}</code></p>")
    severity = {finding["name"]: finding["severity"] for finding in found["findings"]}
    lines = "".join(
        _row(check, question, found, severity.get(check, "ok")) for check, question in found["asked"].items()
    )
    body.append(f"<details><summary>What was checked</summary><table><tbody>{lines}</tbody></table></details>")
    description = "Each check has a question and the numbers that answer it; thresholds are in nats or standard errors."
    return [Section("Diagnosis", description, body="".join(body))]


def _sentence(verdict: str) -> str:
    return verdict[0].upper() + verdict[1:] + "."


def _row(check: str, question: str, found: Mapping[str, Any], state: str) -> str:
    if check in found["skipped"]:
        state, facts = "skipped", found["skipped"][check]
    else:
        single = {name: n for name, n in found["evidence"][check].items() if isinstance(n["value"], float)}
        facts = ", ".join(f"{row.name.replace('_', ' ')} {row.value} {row.unit}".strip() for row in rows(single))
    return (
        f"<tr><th scope=row>{html.escape(check)}</th><td class=unit>{html.escape(state)}</td>"
        f"<td>{html.escape(question)}<br>{html.escape(facts)}</td></tr>"
    )
