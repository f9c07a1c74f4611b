"""Labels are known by name wherever they come from, so that one word has one number everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.data.labels import coded
from tightbound.data.options import Options

NETWORK = "mlp(hidden=(8,))"
GROUP = np.random.default_rng(0).integers(0, 3, 120)
X = (np.random.default_rng(1).normal(size=(120, 3)) * 0.1 + 5 * np.eye(3)[GROUP]).astype(np.float32)
WORDS = np.array(list("abc"))[GROUP]
BC = WORDS != "a"  # data that lack the first class


class Named(Dataset[Any]):
    """A data set of torch with numbers as labels, and their names."""

    def __init__(self, x: np.ndarray, words: np.ndarray) -> None:
        self.x, self.words, self.classes = x, words, sorted({*words.tolist()})

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return self.x[i], self.classes.index(self.words[i])


class Worded(Named):
    """The same with words as labels."""

    def __getitem__(self, i: int) -> Any:
        return self.x[i], str(self.words[i])


class Streamed(IterableDataset[Any]):
    """The same without random access."""

    def __init__(self, x: np.ndarray, words: np.ndarray) -> None:
        self.x, self.words = x, words

    def __iter__(self) -> Any:
        return iter(zip(self.x, map(str, self.words), strict=True))


FORMS = {
    "pair": lambda x, words: (x, words),
    "data set": Named,
    "part of a data set": lambda x, words: Subset(Named(x, words), range(len(x))),
    "loader": lambda x, words: DataLoader(Named(x, words), batch_size=17),
    "loader of a part": lambda x, words: DataLoader(Subset(Named(x, words), range(len(x))), batch_size=17),
    "words": Worded,
    "loader of words": lambda x, words: DataLoader(Worded(x, words), batch_size=17),
    "stream of words": lambda x, words: DataLoader(Streamed(x, words), batch_size=17),
}


@pytest.fixture(scope="module")
def conditional() -> tb.Trained:
    return tb.Trained(tb.VAE.for_data((X, WORDS), latent=1, network=NETWORK, context="labels"))


@pytest.mark.parametrize("form", FORMS)
def test_new_data_without_the_first_class_keep_the_classes_of_a_conditional_model(
    form: str, conditional: tb.Trained
) -> None:
    right, wrong = (conditional.reconstruct((X[BC], numbers)) for numbers in (GROUP[BC], GROUP[BC] - 1))
    assert not torch.allclose(right, wrong, atol=0.01)
    assert torch.allclose(conditional.reconstruct(FORMS[form](X[BC], WORDS[BC])), right, atol=1e-5)
    unknown = np.where(WORDS == "c", "d", WORDS)
    with pytest.raises(InputError, match="the labels hold 'd', which the model was not trained on"):
        conditional.reconstruct(FORMS[form](X[BC], unknown[BC]))


@pytest.mark.parametrize("form", FORMS)
def test_a_model_learns_the_names_of_each_form(form: str) -> None:
    model = tb.VAE.for_data(FORMS[form](X, WORDS), latent=1, network=NETWORK, context="labels")
    assert model.schema.classes == ("a", "b", "c")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", [None, "cz"])
def test_training_and_test_labels_of_a_probe_are_one_set_of_names(form: str, known: str | None) -> None:
    """The model has no classes, or others; the test data lack the first class of the training data."""
    first = X if known is None else (X, np.array(list(known))[GROUP % 2])
    trained = tb.Trained(tb.VAE.for_data(first, latent=2, network=NETWORK))
    train, test = FORMS[form](X, WORDS), FORMS[form](X[BC], WORDS[BC])
    subject = trained.subject(test, train)
    names = [*subject.examples.classes]
    found = np.concatenate([np.asarray(batch.label) for batch in subject.examples.epoch(50)])
    assert [names[i] for i in found] == WORDS[BC].tolist()
    own = np.concatenate([np.asarray(batch.label) for batch in subject.train.epoch(50)])
    assert [names[i] for i in own] == WORDS.tolist()
    if form == "pair":  # three clusters far apart: the principal components tell them
        assert trained.probe(test, train=train, samples=2)["linear_pca"].value == 1


def test_opened_data_are_renumbered_as_a_whole(tmp_path: Path, conditional: tb.Trained) -> None:
    frame = pd.DataFrame(X[BC], columns=["u", "v", "w"]).assign(kind=WORDS[BC])
    frame.to_csv(tmp_path / "bc.csv", index=False)
    data = tb.data.open(tmp_path / "bc.csv", labels="kind")
    subject = conditional.subject(data)
    assert subject.data is not None
    assert subject.data.classes == ("a", "b", "c")
    for split in (subject.examples, subject.train, subject.data.whole):
        assert {*np.asarray(split.labels).tolist()} == {1, 2}
    again = tb.Trained(conditional.model, data).data
    assert again is not None
    assert {*np.asarray(again.train.labels).tolist()} == {1, 2}


def test_streams_of_tables_number_words_as_they_come() -> None:
    words = np.sort(np.repeat(WORDS, 10))
    rows = {"x": np.repeat(X, 10, 0).tolist(), "label": words.tolist()}
    stream = datasets.Dataset.from_dict(rows).to_iterable_dataset()
    data = tb.data.open(stream, limits=tb.data.Limits(set_aside=10))
    assert data.classes == ("a",)  # the first rows hold no other
    found = [
        data.train.class_name(float(n)) for batch in data.train.epoch(8) if batch.label is not None for n in batch.label
    ]
    assert found == words[10:].tolist()


def test_data_sets_too_large_for_memory_have_named_classes() -> None:
    limits = tb.data.Limits(memory=1)
    data = tb.data.open(Subset(Named(X, WORDS), range(120)), limits=limits)
    assert data.classes == ("a", "b", "c")
    numbers = torch.cat([torch.as_tensor(batch.label) for batch in data.whole.epoch(50)])
    assert numbers.tolist() == GROUP.tolist()
    with pytest.raises(
        InputError, match=r"labels are words, such as '[abc]', in a data set too large for memory; give"
    ):
        tb.data.open(Worded(X, WORDS), limits=limits)
    with pytest.raises(InputError, match=r"labels are numbers from -1 to 1, and 2 classes have names: a, b; give"):
        coded(np.array([-1, 1]), 2, Options(), ["a", "b"])


def test_words_are_not_compared_with_numbers() -> None:
    trained = tb.Trained(tb.VAE.for_data((X, GROUP), latent=1, network=NETWORK), (X, GROUP))
    with pytest.raises(
        InputError, match=r"the test labels are words \(b, c\) and the training labels are numbers; give both"
    ):
        trained.probe((X[BC], WORDS[BC]), samples=2)
