"""What codes are worth downstream, on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tightbound.analysis.estimate import with_error
from tightbound.report.figures import BLUE, GRAY, INK, ORANGE, STYLE, figure_of, svg
from tightbound.report.section import Section
from tightbound.report.table import Grid

SHOWN = (1, 10, 100)  # labels a class, in the table
DOUBTS = {
    "entropy": "entropy of q(z|x)",
    "variance": "variance of E[x|z] over z",
    "probe": "variance of the probe over z",
    "confidence": "the probe's own doubt",
}


def sections(found: Mapping[str, Any]) -> list[Section]:
    """One, of `Probe.to_json()`."""
    picture = curves(found)
    return [
        Section(
            "What the codes are worth", sentence(found), "probe.svg" if picture else "", picture,
            body="".join(grid.html() for grid in grids(found)),
        )
    ]  # fmt: skip


def grids(found: Mapping[str, Any]) -> list[Grid]:
    """The tables, of what there is."""
    numbers, about = found["numbers"], found["about"]
    made = [_doubts(numbers, about)]
    if "linear" in numbers and numbers["linear"]["value"] is not None:
        made = [_predicted(numbers, about), *_grouped(numbers, about), *_few(found), *made]
    return made


def sentence(found: Mapping[str, Any]) -> str:
    """What the numbers say, in plain words."""
    numbers, about = found["numbers"], found["about"]
    if found["reason"]:
        return f"Classification, clustering and label efficiency are left out: {found['reason']}."
    if about["task"] != "classes":
        return "A factor of R^2 near 1 can be read off the codes; one near 0 cannot, by these means."
    gain, who = numbers["knn_gain"], f"{about['neighbors']}-NN"
    against = f"as on {about['pca']} principal components of the input"
    if abs(gain["value"]) <= 2 * gain["stderr"]:
        compared = f"{who} does as well on posterior means {against}, within two standard errors"
    else:
        compared = f"{who} does {'better' if gain['value'] > 0 else 'worse'} on posterior means than {against[3:]}"
    description = [
        f"{compared}: {_percent(gain)} points.",
        f"Drawing z costs it {_percent(numbers['knn_noise_cost'])} points.",
    ]
    doubt = numbers["variance_wrong"]
    if doubt["value"] is not None:
        way = "says little about" if abs(doubt["value"] - 0.5) < 2 * (doubt["stderr"] or 0) else "ranks"
        description.append(f"The variance of E[x|z] {way} the linear probe's errors: AUROC {_cell(doubt)}.")
    return " ".join(description)


def curves(found: Mapping[str, Any]) -> bytes | None:
    """Accuracy by labels a class, and errors by coverage; None where there are neither."""
    import matplotlib as mpl

    curve, risk = found["curve"], found["risk"]
    panels = [p for p, there in ((_label_panel, curve), (_risk_panel, risk)) if there is not None]
    if not panels:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(len(panels), 5.3 * len(panels), 3.2)
        for panel, axis in zip(panels, axes, strict=True):
            panel(axis, found)
        return svg(figure)


def _label_panel(axis: Any, found: Mapping[str, Any]) -> None:
    curve, about = found["curve"], found["about"]
    sizes = curve["labels_a_class"]
    kinds = (("", "posterior means", BLUE), ("_pca", f"PCA-{about['pca']}", ORANGE))
    for method, style in (("linear", "-"), ("knn", "--")):
        for kind, words, color in kinds:
            own = curve.get(method + kind)
            if own is None:
                continue
            mean, sd = np.asarray(own["mean"]), np.asarray(own["sd"])
            name = "linear" if method == "linear" else f"{about['neighbors']}-NN"
            axis.plot(sizes, mean, style, color=color, lw=1.6, marker="o", ms=3, label=f"{name}, {words}")
            axis.fill_between(sizes, mean - sd, mean + sd, color=color, alpha=0.12, lw=0)
    axis.axhline(found["numbers"]["majority"]["value"], color=GRAY, lw=1, ls=":", label="most common class")
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set(title="Few labels", xlabel="labels a class", ylabel="accuracy on test data")
    axis.legend(fontsize=8, loc="lower right")


def _risk_panel(axis: Any, found: Mapping[str, Any]) -> None:
    risk = found["risk"]
    looks = {"entropy": (GRAY, "-"), "variance": (BLUE, "-"), "probe": (ORANGE, "-"), "confidence": (INK, "--")}
    for name, (color, style) in looks.items():
        if name in risk:
            axis.plot(risk["coverage"], risk[name], style, color=color, lw=1.6, label=DOUBTS[name])
    axis.set(title="Errors of the linear probe", xlabel="share of data kept, least doubtful first")
    axis.set(ylabel="share wrong among them", xlim=(0, 1), ylim=(0, None))
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _predicted(numbers: Mapping[str, Any], about: Mapping[str, Any]) -> Grid:
    classes = about["task"] == "classes"
    kinds = [("", "means"), ("_draws", "draws"), ("_noise_cost", "lost by\ndrawing"), ("_pca", f"PCA-{about['pca']}")]
    kinds = [(kind, head) for kind, head in [*kinds, ("_gain", "means\nover PCA")] if f"linear{kind}" in numbers]
    names = {"linear": "linear" if classes else "ridge", "knn": f"{about['neighbors']}-NN"}
    first = numbers["linear"]["value"]
    cell = _cell if not classes else lambda number, factor: _percent(number)
    factors = range(len(first)) if isinstance(first, list) else [None]
    rows = [
        [
            f"{words}{'' if factor is None else f', factor {factor}'}",
            *(cell(numbers[name + kind], factor) for kind, _ in kinds),
        ]
        for name, words in names.items()
        for factor in factors
    ]
    if classes:
        rows.append(["majority", _percent(numbers["majority"]), *[""] * (len(kinds) - 1)])
    what = f"{about['classes']} classes: % right" if classes else "R^2: 1 is perfect, 0 the mean"
    description = f"{what}. {about['train']:,} training data fit, {about['test']:,} test data judge."
    return Grid("Predicting the labels", description, [head for _, head in kinds], rows)


def _grouped(numbers: Mapping[str, Any], about: Mapping[str, Any]) -> list[Grid]:
    if "kmeans_ari" not in numbers:
        return []
    kinds = [("", "means"), ("_draws", "draws"), ("_pca", f"PCA-{about['pca']}")]
    kinds = [(kind, head) for kind, head in kinds if f"kmeans_nmi{kind}" in numbers]
    rows = []
    for method, words in (("kmeans", "k-means"), ("mixture", "Gaussian mixture")):
        for score, short in (("nmi", "NMI"), ("ari", "ARI"), ("chance", "NMI by chance")):
            rows.append([f"{words}, {short}", *(_short(numbers[f"{method}_{score}{kind}"]) for kind, _ in kinds)])
    description = (
        f"{about['classes']} groups found without labels, compared with the classes: 1 is perfect, ARI 0 by chance."
    )
    return [Grid("Groups", description, [head for _, head in kinds], rows)]


def _few(found: Mapping[str, Any]) -> list[Grid]:
    curve, about = found["curve"], found["about"]
    if curve is None:
        return []
    places = [i for i, size in enumerate(curve["labels_a_class"]) if size in SHOWN]
    rows = []
    for method, name in (("linear", "linear"), ("knn", f"{about['neighbors']}-NN")):
        for kind, words in (("", "means"), ("_pca", f"PCA-{about['pca']}")):
            own = curve.get(method + kind)
            if own is not None:
                cells = [f"{100 * own['mean'][i]:.1f} ± {100 * own['sd'][i]:.1f}" for i in places]
                rows.append([f"{name}, {words}", *cells, _percent(found["numbers"][method + kind])])
    head = [f"{curve['labels_a_class'][i]} a class" for i in places]
    description = f"% right; mean and standard deviation over {curve['draws']} draws of which data are labeled."
    return [Grid("Few labels", description, [*head, f"all {curve['all']:,}"], rows)]


def _doubts(numbers: Mapping[str, Any], about: Mapping[str, Any]) -> Grid:
    columns = [
        ("_wrong", "AUROC:\nprobe errs"),
        ("_risk", "mean\nrisk"),
        ("_poor", "AUROC: poor\nreconstruction"),
    ]
    columns = [(kind, head) for kind, head in columns if any(f"{name}{kind}" in numbers for name in DOUBTS)]
    rows = [
        [words, *(_cell(numbers[name + kind]) if name + kind in numbers else "" for kind, _ in columns)]
        for name, words in DOUBTS.items()
        if any(name + kind in numbers for kind, _ in columns)
    ]
    chance = {"_wrong": "0.5", "_poor": "0.5"}
    if "linear" in numbers and numbers["linear"]["value"] is not None and about["task"] == "classes":
        chance["_risk"] = f"{1 - numbers['linear']['value']:.3g}"
    rows.append(["no order", *(chance.get(kind, "") for kind, _ in columns)])
    description = [f"Does doubt say where errors are? From {about['draws']} draws of q(z|x) a test example."]
    if "_risk" in dict(columns):
        description.append("Mean risk: share of errors among the least doubtful, over all coverages.")
    description.append("Poor: error in the highest tenth.")
    missing = [n for n in numbers.values() if n["value"] is None and n["unit"] in ("AUROC", "share wrong")]
    description += [f"None: {reason}." for reason in sorted({n["reason"] for n in missing})]
    return Grid("Doubt", " ".join(description), [head for _, head in columns], rows)


def _short(number: Mapping[str, Any]) -> str:
    """To three places."""
    return f"{number['value']:.3f} ± {number['stderr'] or 0:.3f}"


def _cell(number: Mapping[str, Any], factor: int | None = None) -> str:
    value, stderr = number["value"], number["stderr"]
    if value is None:
        return "-"
    if factor is not None:
        value, stderr = value[factor], None if stderr is None else stderr[factor]
    return with_error(value, stderr)


def _percent(number: Mapping[str, Any]) -> str:
    if number["value"] is None:
        return "-"
    return with_error(100 * number["value"], None if number["stderr"] is None else 100 * number["stderr"])
