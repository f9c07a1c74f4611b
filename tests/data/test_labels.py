"""Labels in all usual forms."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.core.terms import class_numbers
from tightbound.data import open
from tightbound.data.given import training_data

X = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
CLASSES = [0, 2, 1, 1, 0, 2]
FORMS = {
    "integers": np.array(CLASSES),
    "bytes": np.array(CLASSES, np.uint8),
    "column": np.array(CLASSES)[:, None],
    "floats": np.array(CLASSES, float),
    "float column": np.array(CLASSES, np.float32)[:, None],
    "objects": np.array(CLASSES, object),
    "one-hot": np.eye(3)[CLASSES],
    "one-hot integers": np.eye(3, dtype=int)[CLASSES],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_of_labels_conditions_a_model(tmp_path, form):
    if form == "objects":
        data = open(X, labels=FORMS[form])
    else:
        np.savez(tmp_path / "x.npz", x=X, y=FORMS[form])
        data = open(tmp_path / "x.npz")
    labels = data.whole.labels
    assert class_numbers(labels).tolist() == CLASSES
    model = tb.VAE.for_data(data, latent=1, network="mlp(hidden=(4,))", context="labels")
    assert model.context.classes == 3
    assert model.context.encode(labels).argmax(1).tolist() == CLASSES
    assert model.context.encode(labels).sum(1).tolist() == [1] * 6


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        (["b", None, "a", "b", "-1", np.nan], [1, -1, 0, 1, -1, -1], ("a", "b")),
        ([2, None, 0, 2, -1, np.nan], [2, -1, 0, 2, -1, -1], ()),
        (pd.Categorical(["b", None, "a", "b", None, "b"]), [1, -1, 0, 1, -1, 1], ("a", "b")),
    ],
)
def test_missing_labels_are_unknown_where_the_model_infers_them(labels, numbers, classes):
    frame = pd.DataFrame(X, columns=["x", "y"]).assign(kind=labels)
    for source, given in ((X, np.array(labels, object)), (frame, "kind")):
        data = training_data(source, labels=given, partial=True)
        assert data.train.labels.tolist() == numbers
        assert data.classes == classes
        assert any("have no label: their class is unknown" in note for note in data.notes) or None not in labels
    with pytest.raises(InputError, match="the examples have no labels"):
        training_data(X, labels=np.array([None] * 6), partial=True)
    with pytest.raises(InputError, match=r"column kind: .* no label"):
        open(frame, labels="kind")


@pytest.mark.parametrize("labels", [np.array([[1, 1], [0, 1]]), np.array([0.5, 1]), np.zeros((2, 2, 2))])
def test_other_labels_are_no_classes(labels):
    assert class_numbers(torch.from_numpy(labels)) is None


class Pictures(Dataset):
    """A data set of torch that knows the names of its classes, as a folder of torchvision does."""

    def __init__(self, words):
        self.words, self.classes = words, sorted({*words})

    def __len__(self):
        return len(self.words)

    def __getitem__(self, i):
        return torch.full((2,), float(i)), self.classes.index(self.words[i])


def test_a_data_set_of_torch_has_named_classes():
    model = tb.VAE.for_data(Pictures("abcabc"), latent=1, network="mlp(hidden=(4,))", context="labels")
    assert model.schema.classes == ("a", "b", "c")
    assert tb.Trained(model)._examples(Pictures("cbbc")).labels.tolist() == [2, 1, 1, 2]


def test_words_of_a_column_are_named_classes(tmp_path):
    pd.DataFrame({"a": X[:, 0], "kind": list("yzzyzx"), "b": X[:, 1]}).to_csv(tmp_path / "t.csv", index=False)
    data = open(tmp_path / "t.csv", labels="kind")
    assert data.header == ("a", "b")
    assert data.classes == ("x", "y", "z")
    assert data.whole.labels.tolist() == [1, 2, 2, 1, 2, 0]
    assert data.test.classes == data.classes
    assert data.schema.label == "kind"


def test_columns_are_left_out_and_name_the_examples(tmp_path):
    columns = {"code": ["007", "008", "9"], "day": ["x", "y", "1"], "a": [1.5, 2, 3], "b": [1.0, 2, 4]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    data = open(tmp_path / "t.csv", ignore=["day"], id="code", test=0.4)
    assert data.header == ("a", "b")
    assert data.whole.names == ["007", "008", "9"]
    known = data.test.identity(torch.arange(1))
    row = int(known["row"][0])
    assert known["code"].tolist() == [columns["code"][row - 1]]
    assert data.test.batch(torch.arange(1)).x[0, 0] == columns["a"][row - 1]
    with pytest.raises(InputError, match=r"ignore='dya': .* has no column 'dya'; did you mean 'day'"):
        open(tmp_path / "t.csv", ignore="dya")
    with pytest.raises(InputError, match="id=, ignore= and covariates= name columns of a table"):
        open(X, id="code")
