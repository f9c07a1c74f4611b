"""Training options that remedy a finding, given how the run was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightbound.analysis.diagnosis.engine import Case
from tightbound.components import TABLE, Spec, find, make, parse, signature
from tightbound.config import Composition, Settings
from tightbound.core.schedules import Knobs
from tightbound.objectives.base import Objective
from tightbound.training.budget import Budget

Options = Mapping[str, Any]
WARMED = "linear(share=0.25)"  # up to 1 in the first quarter
BITS = 0.5  # nats that each latent dimension may carry for free: the default of free-bits


def written(config: Options) -> Spec:
    """Return the objective that was maximized; the ELBO if the run does not say."""
    known = {name: config[name] for name in ("objective", "beta") if config.get(name) is not None}
    return Composition(**known).objective_spec()


def objective(config: Options) -> Objective | None:
    """Return the objective that was maximized; None: a component from outside of tightbound, which is not imported."""
    spec = written(config)
    return None if ":" in spec.name else make("objective", spec)


def knobs(config: Options) -> Knobs:
    """Return the weights of the objective at the end of their schedules."""
    made = objective(config)
    return Knobs() if made is None else Knobs.final(made.schedules)


def longer(config: Options) -> Options:
    """Train twice as long."""
    name = "steps" if config.get("steps") else "epochs"
    now = config.get(name) or Settings().epochs
    if now == "auto":
        return {"minutes": 2 * float(config.get("minutes") or Budget.MINUTES)}
    return {name: 2 * int(now)}


def learning(config: Options) -> Options:
    """Use the default learning rate if it was ten times larger or smaller, else train twice as long."""
    now = config.get("lr") or "auto"
    return longer(config) if now == "auto" or 1e-4 < float(now) < 1e-2 else {"lr": "auto"}


def full_rate(config: Options) -> Options | None:
    """Give the rate the weight that it has in the bound, if it had another at the end; warmed up, so that z is used."""
    weight = knobs(config).get("beta")
    if weight is None or float(weight) == 1.0:
        return None
    if "beta" not in written(config).kwargs:  # it is written by position, and the option would give it twice
        return {"objective": f"{written(config).name}(beta={WARMED})"}
    return {"beta": WARMED}


def bound(config: Options) -> Options:
    """Maximize the ELBO, if that was not done, else as `learning`."""
    full = full_rate(config)
    if full is not None:
        return full
    return learning(config) if knobs(config).get("beta") is not None else {"objective": "elbo"}


def learned_scale(config: Options) -> Options:
    """Learn one scale, if a number was given for it, else as `learning`."""
    spec = parse(str(config.get("likelihood") or "auto"))
    given = isinstance(spec.kwargs.get("scale"), int | float)
    return {"likelihood": str(spec.replace(scale="shared"))} if given else learning(config)


def weighs_more(config: Options) -> bool:
    """Return whether the rate weighed more at the end than in the bound."""
    return float(knobs(config).get("beta", 1.0)) > 1


def use_of_z(case: Case) -> Options:
    """Use the weight of the bound if the rate's was above it, else a decoder that needs z, else free bits."""
    heavier = full_rate(case.config) if weighs_more(case.config) else None
    if case.model.deterministic:  # the rate is what code indices cost, whatever they carry
        return other_quantizer(case.config)
    narrower, text = case.model.likelihood.narrower, case.config.get("likelihood")
    if heavier is None and narrower and text:
        return {"likelihood": str(parse(str(text)).replace(**narrower))}
    return heavier or free_bits(case)


def other_quantizer(config: Options) -> Options:
    """Use finite scalar quantization, whose code vectors cannot fall out of use; train longer if it is in use."""
    spec = parse(str(config.get("latents") or "quantized"))
    now = spec.kwargs.get("quantizer", "vq")
    names = {parse(str(part)).name for part in (now if isinstance(now, list | tuple) else [now])}
    return longer(config) if names == {"fsq"} else {"latents": str(spec.replace(quantizer="fsq"))}


def other_prior_training(config: Options, by_heart: bool) -> Options:
    """Train the code prior half as long if it has memorized the training data, else twice as long."""
    now = config.get("prior_epochs") or config.get("epochs") or Settings().epochs
    if now == "auto":
        return weight_decay(config) if by_heart else longer(config)
    return {"prior_epochs": max(1, int(now) // 2) if by_heart else 2 * int(now)}


def free_bits(case: Case) -> Options:
    """Leave some rate free of charge, per dimension if the KL is known by dimension, or double what is free already.

    If the objective also trains the model's context, such as labels to infer, warm up its rate instead.
    """
    spec, made = written(case.config), objective(case.config)
    if made is not None and made.context is not None:
        return longer(case.config) if "beta" in spec.kwargs else {"objective": str(spec.replace(beta=parse(WARMED)))}
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


def dropout(config: Options) -> Options:
    """Drop more hidden units than before, or decay the weights if the network takes no dropout."""
    spec = parse(str(config.get("network") or "auto"))
    if spec.name in TABLE["network"] and "dropout" in signature(find("network", spec.name)).parameters:
        now = float(spec.kwargs.get("dropout", 0.0))
        return {"network": str(spec.replace(dropout=min(0.5, round(now + 0.2, 3))))}
    return weight_decay(config)


def weight_decay(config: Options) -> Options:
    """Use AdamW with ten times the weight decay, at least 0.1."""
    return {"optimizer": "adamw", "weight_decay": max(0.1, 10 * float(config.get("weight_decay") or 0))}


def fitted_prior(case: Case) -> Options:
    """Use a prior that goes where the codes are.

    It is made of posteriors at pseudo-inputs if their density is known at any code, else a flow. If it is such a prior
    already, or the latents have a prior of their own, train longer. A plain autoencoder gets a posterior with a rate.
    """
    if not case.has_bound:
        return {"posterior": "normal", "objective": "elbo"}
    if parse(str(case.config.get("latents") or "flat")).name != "flat":
        return longer(case.config)
    components = max(10, min(500, (case.train.size or 5000) // 10))
    better = f"vamp(components={components})" if case.model.latents.evaluable else "flow(kind='nsf')"
    now = parse(str(case.config.get("prior") or "auto")).name
    return longer(case.config) if now == parse(better).name else {"prior": better}
