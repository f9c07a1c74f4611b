"""Flags that remedy a finding, in view of how the run was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightbound.analysis.diagnosis.engine import Case
from tightbound.components import TABLE, Spec, find, make, parse, signature
from tightbound.config import Composition, Settings
from tightbound.core.schedules import Knobs
from tightbound.objectives.base import Objective

Options = Mapping[str, Any]
WARMED = "linear(share=0.25)"  # up to 1 in the first quarter
BITS = 0.5  # nats that each latent dimension may carry for nothing: the default of free-bits


def written(config: Mapping[str, Any]) -> Spec:
    """What was maximized; the ELBO, where the run does not say."""
    known = {name: config[name] for name in ("objective", "beta") if config.get(name) is not None}
    return Composition(**known).objective_spec()


def objective(config: Mapping[str, Any]) -> Objective | None:
    """What was maximized; None: a part from outside tightbound, which is not imported to be looked at."""
    spec = written(config)
    return None if ":" in spec.name else make("objective", spec)


def knobs(config: Mapping[str, Any]) -> Knobs:
    """The objective's numbers at the end of their schedules."""
    made = objective(config)
    return Knobs() if made is None else Knobs.final(made.schedules)


def longer(config: Mapping[str, Any]) -> Options:
    """Twice the training."""
    name = "steps" if config.get("steps") else "epochs"
    return {name: 2 * int(config.get(name) or 20)}


def learning(config: Mapping[str, Any]) -> Options:
    """The usual learning rate, where it was ten times that or a tenth; else twice the training."""
    usual = Settings().lr
    now = float(config.get("lr") or usual)
    return longer(config) if usual / 10 < now < 10 * usual else {"lr": usual}


def full_rate(config: Mapping[str, Any]) -> Options | None:
    """The weight of the bound, where the rate had another at the end; warmed up, so that z comes into use."""
    weight = knobs(config).get("beta")
    if weight is None or float(weight) == 1.0:
        return None
    if "beta" not in written(config).kwargs:  # it is written by position, where --beta would give it twice
        return {"objective": f"{written(config).name}(beta={WARMED})"}
    return {"beta": WARMED}


def weighs_more(config: Mapping[str, Any]) -> bool:
    """Whether the rate weighed more at the end than in the bound."""
    return float(knobs(config).get("beta", 1.0)) > 1


def use_of_z(case: Case) -> Options:
    """The bound's own weight, where the rate's was above it; a decoder that needs z, where it did not; else free
    bits."""
    heavier = full_rate(case.config) if weighs_more(case.config) else None
    if case.model.latents.deterministic:  # the rate is what codes cost, whatever they carry
        return other_codes(case.config)
    narrower, text = case.model.likelihood.narrower, case.config.get("likelihood")
    if heavier is None and narrower and text:
        return {"likelihood": str(parse(str(text)).replace(**narrower))}
    return heavier or free_bits(case)


def other_codes(config: Mapping[str, Any]) -> Options:
    """Codes that cannot fall out of use, which finite scalar quantization has; longer training where they are these."""
    spec = parse(str(config.get("latents") or "quantized"))
    now = spec.kwargs.get("quantizer", "vq")
    names = {parse(str(part)).name for part in (now if isinstance(now, list | tuple) else [now])}
    return longer(config) if names == {"fsq"} else {"latents": str(spec.replace(quantizer="fsq"))}


def other_prior_training(config: Mapping[str, Any], by_heart: bool) -> Options:
    """Of a prior over codes: half as long where it has learnt data by heart, else twice as long."""
    now = int(config.get("prior_epochs") or config.get("epochs") or Settings().epochs)
    return {"prior_epochs": max(1, now // 2) if by_heart else 2 * now}


def free_bits(case: Case) -> Options:
    """A rate below which the latents cost nothing: per dimension where the KL is known by dimension, else in all;
    twice as many nats as there were already."""
    spec = written(case.config)
    now = knobs(case.config).get("free_bits")
    if now is not None:
        if spec.args:  # it comes first
            return {"objective": str(Spec(spec.name, (2 * float(now), *spec.args[1:]), spec.kwargs))}
        return {"objective": str(spec.replace(free_bits=2 * float(now)))}
    warmed = {"beta": spec.kwargs["beta"]} if "beta" in spec.kwargs else {}
    if case.evaluation["kl_per_dimension"].value is not None:
        chosen = Spec("free-bits", (BITS,), warmed)
    else:
        chosen = Spec("free-bits", (BITS * case.model.latents.latent,), {"over": "total", **warmed})
    return {"objective": str(chosen)}


def dropout(config: Mapping[str, Any]) -> Options:
    """Drops hidden units, more than before; where the network takes no dropout, decays the weights."""
    spec = parse(str(config.get("network") or "auto"))
    if spec.name in TABLE["network"] and "dropout" in signature(find("network", spec.name)).parameters:
        now = float(spec.kwargs.get("dropout", 0.0))
        return {"network": str(spec.replace(dropout=min(0.5, round(now + 0.2, 3))))}
    return weight_decay(config)


def weight_decay(config: Mapping[str, Any]) -> Options:
    """Return AdamW with ten times the weight decay."""
    return {"optimizer": "adamw", "weight_decay": max(0.1, 10 * float(config.get("weight_decay") or 0))}


def fitted_prior(case: Case) -> Options:
    """A prior that goes where the codes are: of posteriors at pseudo-inputs where their density is known at any code,
    else a flow; longer training where it is such a one already, or latents have a prior of their own. For a plain
    autoencoder, a posterior with a rate."""
    if not case.has_bound:
        return {"posterior": "normal", "objective": "elbo"}
    if parse(str(case.config.get("latents") or "flat")).name != "flat":
        return longer(case.config)
    components = max(10, min(500, (case.train.size or 5000) // 10))
    better = f"vamp(components={components})" if case.model.latents.evaluable else "flow(kind='nsf')"
    now = parse(str(case.config.get("prior") or "auto")).name
    return longer(case.config) if now == parse(better).name else {"prior": better}
