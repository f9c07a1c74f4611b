"""Sentences, tables and figures of a probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tightbound.analysis.estimate import Estimate, percent, scalar, scalar_error, value_text, with_error
from tightbound.analysis.figures import Figure, Lines
from tightbound.analysis.representation.supervised import Supervised
from tightbound.analysis.result import Result, Table

METHODS = ("linear", "knn")
SIZES = (1, 10, 100)  # labels per class in the table
MEASURES = {
    "entropy": "entropy of q(z|x)",
    "variance": "variance of E[x|z] over z",
    "probe": "variance of the probe over z",
    "confidence": "the probe's own uncertainty",
}


@dataclass
class Probed:
    """Estimates of a probe, and what its tables and figures show.

    Attributes:
        about: Task, numbers of examples, classes, factors, neighbors, ...
        reason: Why there is no task; None: there is one.
        estimates: Estimates by name.
        curve: Accuracy by the number of labels per class.
        risk: Share of errors by coverage, for each measure of uncertainty.
        methods: Fitted methods by kind of features.
    """

    about: dict[str, Any]
    reason: str | None = None
    estimates: dict[str, Estimate] = field(default_factory=dict)
    curve: dict[str, Any] | None = None
    risk: dict[str, Any] | None = None
    methods: dict[str, Supervised] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]


def result_of(found: Probed, name: str) -> Result:
    """Return the result of a probe that was judged by examples of this name."""
    about = found.about
    return Result(
        found.estimates,
        tabulated=True,
        caption=f"Fitted to {about['train']:,} training examples, judged by {about['test']:,} ({name})",
        sentences=sentences(found),
        tables=tables(found),
        figures=figures(found),
        details={"about": about, "curve": found.curve, "risk": found.risk, "reason": found.reason},
    )


def sentences(found: Probed) -> list[str]:
    """Return what the estimates say."""
    if found.reason:
        return [f"Prediction, clustering and label efficiency were left out: {found.reason}."]
    estimates, about = found.estimates, found.about
    if about["task"] != "classes":
        return ["A factor with R^2 near 1 can be read off the latent codes; one near 0 cannot, by these methods."]
    if "knn_gain" not in estimates:
        return []
    gain, knn = estimates["knn_gain"], f"{about['neighbors']}-NN"
    than = f"{about['pca']} principal components of the input"
    if abs(scalar(gain)) <= 2 * scalar_error(gain):
        compared = f"{knn} does as well on posterior means as on {than}, within two standard errors"
    else:
        compared = f"{knn} does {'better' if scalar(gain) > 0 else 'worse'} on posterior means than on {than}"
    said = [
        f"{compared}: {percent(gain)} points.",
        f"Drawing z costs it {percent(estimates['knn_noise_cost'])} points.",
    ]
    area = estimates.get("variance_wrong")
    if area is not None and area.value is not None:
        error = scalar_error(area) if area.stderr is not None else 0.0
        verb = "says little about" if abs(scalar(area) - 0.5) < 2 * error else "ranks"
        said.append(f"The variance of E[x|z] {verb} the linear probe's errors: AUROC {_cell(area)}.")
    return said


def tables(found: Probed) -> list[Table]:
    """Return the tables that there are."""
    made = [_uncertainty(found)] if "variance_poor" in found.estimates else []
    if found.methods:
        made = [_prediction(found), *_clusters(found), *_few_labels(found), *made]
    return made


def figures(found: Probed) -> list[Figure]:
    """Return accuracy by labels per class, and errors by coverage, if they exist."""
    made = []
    if found.curve is not None:
        caption = (
            "Accuracy on test data with few labels, mean over draws of the labeled examples with 95% intervals. "
            "Dashed: the most common class is predicted for all."
        )
        made.append(Figure("few-labels", "Few labels", caption, [_label_panel(found, found.curve)]))
    if found.risk is not None:
        risk = found.risk
        panel = Lines(
            x=risk["coverage"], series={MEASURES[name]: risk[name] for name in MEASURES if name in risk},
            x_label="share of examples kept, the most certain first", y_label="share of errors among them",
        )  # fmt: skip
        caption = "Errors of the linear probe. A curve that starts low shows that the uncertainty ranks the errors."
        made.append(Figure("errors-by-coverage", "Does uncertainty say where errors are?", caption, [panel]))
    return made


def _label_panel(found: Probed, curve: Mapping[str, Any]) -> Lines:
    about, sizes = found.about, curve["labels_per_class"]
    series: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for method, name in (("linear", "linear"), ("knn", f"{about['neighbors']}-NN")):
        for kind, words in (("", "posterior means"), ("_pca", f"PCA-{about['pca']}")):
            own = curve.get(method + kind)
            if own is not None:
                label = f"{name}, {words}"
                series[label], errors[label] = own["mean"], [sd / curve["draws"] ** 0.5 for sd in own["sd"]]
    majority = "most common class"
    series[majority] = [scalar(found.estimates["majority"])] * len(sizes)
    return Lines(
        x=sizes, series=series, errors=errors, dashed=[majority], log_x=True, markers=True,
        x_label="labels per class", y_label="accuracy on test data",
    )  # fmt: skip


def _prediction(found: Probed) -> Table:
    estimates, about = found.estimates, found.about
    classes = about["task"] == "classes"
    kinds = {"": "means", "_draws": "draws", "_noise_cost": "loss from drawing", "_pca": f"PCA-{about['pca']}"}
    kinds = {kind: head for kind, head in {**kinds, "_gain": "gain over PCA"}.items() if f"linear{kind}" in estimates}
    names = {"linear": "linear" if classes else "ridge", "knn": f"{about['neighbors']}-NN"}
    first = estimates["linear"].value
    factors = range(len(first)) if isinstance(first, list) else [None]
    rows = [
        [
            words if factor is None else f"{words}, factor {factor}",
            *(percent(each) if classes else _cell(each, factor) for each in (estimates[m + k] for k in kinds)),
        ]
        for m, words in names.items()
        for factor in factors
    ]
    if classes:
        rows.append(["majority", percent(estimates["majority"]), *[""] * (len(kinds) - 1)])
    unit = f"{about['classes']} classes: % right" if classes else "R^2: 1 is perfect, 0 the mean"
    return Table("Predicting the labels", ("method", *kinds.values()), rows, f"{unit}.")


def _clusters(found: Probed) -> list[Table]:
    estimates, about = found.estimates, found.about
    if "kmeans_ari" not in estimates:
        return []
    kinds = {"": "means", "_draws": "draws", "_pca": f"PCA-{about['pca']}"}
    kinds = {kind: head for kind, head in kinds.items() if f"kmeans_nmi{kind}" in estimates}
    rows = [
        [f"{words}, {short}", *(_short(estimates[f"{method}_{score}{kind}"]) for kind in kinds)]
        for method, words in (("kmeans", "k-means"), ("mixture", "Gaussian mixture"))
        for score, short in (("nmi", "NMI"), ("ari", "ARI"), ("chance", "NMI by chance"))
    ]
    caption = f"{about['classes']} clusters found without labels, against the classes; 1 is perfect, chance ARI is 0."
    return [Table("Clustering", ("method, score", *kinds.values()), rows, caption)]


def _few_labels(found: Probed) -> list[Table]:
    curve, about = found.curve, found.about
    if curve is None:
        return []
    places = [i for i, size in enumerate(curve["labels_per_class"]) if size in SIZES]
    rows = []
    for method, name in zip(METHODS, ("linear", f"{about['neighbors']}-NN"), strict=True):
        for kind, words in (("", "means"), ("_pca", f"PCA-{about['pca']}")):
            own = curve.get(method + kind)
            if own is not None:
                cells = [f"{100 * own['mean'][i]:.1f} ± {100 * own['sd'][i]:.1f}" for i in places]
                rows.append([f"{name}, {words}", *cells, percent(found.estimates[method + kind])])
    head = [f"{curve['labels_per_class'][i]} per class" for i in places]
    caption = f"% right; mean and standard deviation over {curve['draws']} draws of the labeled examples."
    return [Table("Few labels", ("method", *head, f"all {curve['all']:,}"), rows, caption)]


def _uncertainty(found: Probed) -> Table:
    estimates, about = found.estimates, found.about
    kinds = {
        "_wrong": "AUROC: probe errs", "_risk": "mean risk", "_poor": "AUROC: poor reconstruction",
    }  # fmt: skip
    kinds = {kind: head for kind, head in kinds.items() if any(f"{name}{kind}" in estimates for name in MEASURES)}
    rows = [
        [words, *(_cell(estimates[name + kind]) if name + kind in estimates else "" for kind in kinds)]
        for name, words in MEASURES.items()
        if any(name + kind in estimates for kind in kinds)
    ]
    chance = {"_wrong": "0.5", "_poor": "0.5"}
    if found.methods and about["task"] == "classes":
        chance["_risk"] = f"{1 - scalar(estimates['linear']):.3g}"
    rows.append(["chance", *(chance.get(kind, "") for kind in kinds)])
    caption = "Poor reconstruction: error in the highest tenth."
    if "samples" in about:
        caption = f"From {about['samples']} latent samples per test example. {caption}"
    if "_risk" in kinds:
        caption += " Mean risk: share of errors among the most certain examples, averaged over all coverages."
    missing = [e for e in estimates.values() if e.value is None and e.unit in ("AUROC", "share wrong")]
    notes = [f"-: {reason}." for reason in sorted({str(each.reason) for each in missing})]
    return Table("Does uncertainty say where errors are?", ("uncertainty", *kinds.values()), rows, caption, notes)


def _short(estimate: Estimate) -> str:
    error = 0.0 if estimate.stderr is None else scalar_error(estimate)
    return f"{scalar(estimate):.3f} ± {error:.3f}"


def _cell(estimate: Estimate, factor: int | None = None) -> str:
    value, stderr = estimate.value, estimate.stderr
    if factor is None or not isinstance(value, list):
        return value_text(estimate)
    return with_error(value[factor], stderr[factor] if isinstance(stderr, list) else None)
