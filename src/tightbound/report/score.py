"""What the page shows of scores: their histograms, how well they detect other data, the most unusual images."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from tightbound.report.figures import GRAY, ORANGE, STYLE, svg
from tightbound.report.section import Section

FAILS = (
    "The likelihood fails here: it finds the other data more usual than the model's own, since what is simple costs "
    "few nats whatever it shows."
)


def sections(found: Mapping[str, Any]) -> list[Section]:
    """Of what `tightbound score` recorded."""
    own = found.get("own", found)
    description = "Mean of each score over test data; the higher, the more unusual."
    made = [Section("Unusual data", description, "scores.svg", histograms(found), numbers=own["numbers"])]
    if "other" in found:
        made.append(Section("Told from other data", _says(found), body=detection(found)))
    if found.get("picture"):
        description = "Test data with the highest value of each score, the highest at the left."
        made.append(
            Section("The most unusual test data", description, "unusual.png", base64.b64decode(found["picture"]))
        )
    return made


def likelihood_fails(found: Mapping[str, Any]) -> bool:
    """Whether the other data are more likely than the model's own, beyond the interval."""
    interval = (found["numbers"].get("nll_auroc") or {}).get("interval")
    return interval is not None and interval[1] < 0.5


def _says(found: Mapping[str, Any]) -> str:
    description = (
        f"AUROC: the probability that an example of {found['data']['other']} scores higher than one of "
        f"{found['data']['own']}; 0.5 is chance, and below it the score is misled. AUPR: average precision for finding "
        f"the former, of which chance has their share. In brackets, 95% intervals."
    )
    return f"{description} {FAILS}" if likelihood_fails(found) else description


def detection_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of each score that there is: its name, AUROC and AUPR with their intervals."""
    numbers = found["numbers"]
    return [
        (name, _cell(numbers[f"{name}_auroc"]), _cell(numbers[f"{name}_aupr"]))
        for name in found["own"]["numbers"]
        if numbers[f"{name}_auroc"]["value"] is not None
    ]


def _cell(number: Mapping[str, Any]) -> str:
    low, high = number["interval"]
    return f"{number['value']:.3f} [{low:.3f}, {high:.3f}]"


def detection(found: Mapping[str, Any]) -> str:
    """The table of the page."""
    head = "<tr><th></th><th scope=col>AUROC</th><th scope=col>AUPR</th></tr>"
    cells = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td class=value>{auroc}</td><td class=value>{aupr}</td></tr>"
        for name, auroc, aupr in detection_rows(found)
    )
    return f"<table><thead>{head}</thead><tbody>{cells}</tbody></table>"


def histograms(found: Mapping[str, Any]) -> bytes:
    """SVG: a panel for each score, the model's own data filled, other data as a line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown, numbers = found["histograms"], found.get("own", found)["numbers"]
    across = min(4, len(shown))
    down = -(-len(shown) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.8 * across, 2.3 * down + 0.35), layout="constrained")
        axes = np.atleast_1d(figure.subplots(down, across)).ravel()
        handles: list[Any] = []
        for axis, (name, each) in zip(axes, shown.items(), strict=False):
            own = axis.stairs(each["own"], each["edges"], fill=True, color=GRAY, alpha=0.6, label=found["data"]["own"])
            handles = [own]
            title = name
            if "other" in each:
                line = axis.stairs(each["other"], each["edges"], color=ORANGE, lw=1.6, label=found["data"]["other"])
                handles.append(line)
                title += f", AUROC {found['numbers'][f'{name}_auroc']['value']:.3f}"
            axis.set(title=title, yticks=[], xlabel=numbers[name]["unit"].partition(",")[0])
            axis.title.set_fontsize(10)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
        return svg(figure)
