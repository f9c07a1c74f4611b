"""Features for a data set: fitted once and stored, so that all runs on it are compared by the same features."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
from torch import nn

from tightbound.analysis.samples.features.base import Features, Given
from tightbound.components import Spec, describe, make, name_of, parse, rebuild, signature, untrusted
from tightbound.core.errors import InputError
from tightbound.core.files import to_json
from tightbound.core.noise import seeded
from tightbound.data import Data
from tightbound.data.builtin.cache import cache_folder
from tightbound.data.splits.base import Split
from tightbound.training import checkpoint

VERSION = 2  # version of `fit`: features that another version fitted are fitted again
PER_CLASS = 10  # examples per class, on average, for labels to count as classes


def fit_features(
    data: Data,
    features: str | Spec | nn.Module = "auto",
    *,
    seed: int = 0,
    trust: bool = False,
    progress: bool = False,
) -> Features:
    """Return a map from these data to feature vectors, fitted to their training split.

    Fitted features are stored in the cache folder by the fingerprint of the data, the component with its arguments and
    the seed, and loaded from there the next time.

    Args:
        data: The data.
        features: "pca(components=64)", "classifier(...)", "identity", an import path "module:Class(...)", or any
            module (B, *shape) -> (B, F), which is used as it is; "auto": classifier if the training data have class
            labels, else pca.
        seed: Random seed.
        trust: Import features from outside tightbound.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: If the features are unknown, or a classifier is asked for without class labels.
    """
    if isinstance(features, nn.Module):
        return _fit(features if isinstance(features, Features) else Given(features), data, seed, progress)
    classes = class_count(data.train)
    if features == "auto":
        features = "classifier" if classes > 1 else "pca"
    spec = parse(features) if isinstance(features, str) else features
    kinds = tuple(column.literal for column in data.domain.columns)
    with seeded(seed):
        part = make("features", spec, trust=trust, shape=tuple(data.shape), kinds=kinds, classes=classes)
    if not isinstance(part, nn.Module):
        raise InputError(f"{spec.name!r} is not an nn.Module; features are modules (B, *shape) -> (B, F)")
    return _fit(part if isinstance(part, Features) else Given(part), data, seed, progress)


def named(features: Features, data: Data, seed: int) -> str:
    """Return the name of features in captions, such as "classifier(mnist, seed 0)"."""
    if isinstance(features, Given):
        return f"{type(features.module).__name__}, as given"
    return f"{name_of(type(features)).rpartition('/')[2]}({data.name}, seed {seed})"


def class_count(train: Split) -> int:
    """Return the number of classes K if each example has a whole number 0 .. K - 1, with 10 examples per class on
    average; else 0."""
    labels = train.labels
    if labels is None:
        first = next(iter(train.epoch(1)), None)
        if first is None or first.label is None or first.label.dim() != 1:
            return 0
        labels = torch.cat([batch.label for batch in train.epoch(4096) if batch.label is not None])
    if labels.dim() != 1 or labels.is_floating_point() or not len(labels) or int(labels.min()) < 0:
        return 0
    count = int(labels.max()) + 1
    return count if count >= 2 and count * PER_CLASS <= len(labels) else 0


def _fit(features: Features, data: Data, seed: int, progress: bool) -> Features:
    file = _file(features, data, seed)
    if file is not None and file.is_file():
        try:
            tensors, scalars = checkpoint.load(file)
            kept: Features = rebuild(scalars["features"])
            checkpoint.into(kept, tensors, file)
        except InputError as error:
            raise InputError(
                f"the features stored in {str(file)!r} cannot be read; delete the file, and they are fitted again"
            ) from error
        return kept.eval()
    features.fit(data.train, seed, progress)
    if file is not None:
        scalars = {"features": describe(features), "data": data.name, "fingerprint": data.fingerprint, "seed": seed}
        try:
            checkpoint.save(file, features.state_dict(), scalars)
        except InputError as error:
            warnings.warn(
                f"the fitted features could not be stored and will be fitted again the next time: {error}", stacklevel=3
            )
    return features.eval()


def _file(features: Features, data: Data, seed: int) -> Path | None:
    """Return the file of fitted features; None: the data have no fingerprint, or rebuilding needs code of the user."""
    description = describe(features)
    if not features.fitted or not data.fingerprint.startswith("sha256:") or untrusted(description):
        return None
    args, kwargs = features._given
    bound = signature(type(features)).bind(*args, **kwargs)
    bound.apply_defaults()  # features with a changed default are other features
    whole = {k: describe(v) for k, v in bound.arguments.items()}
    key = [VERSION, description["part"], whole, data.fingerprint, len(data.train), seed]
    digest = hashlib.sha256(to_json(key).encode()).hexdigest()
    name = name_of(type(features)).rpartition("/")[2]
    return cache_folder() / "features" / f"{name}-{digest[:24]}.safetensors"
