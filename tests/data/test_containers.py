"""Values as people hold them in Python: the same ones pass, and the same ones are refused, on every path."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import save_file

from monosemy import LinearProbe, SparseAutoencoder, explain, measure
from monosemy.corruptions.labels import few_labels, symmetric_noise
from monosemy.data.arrays import read_arrays
from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.data.containers import as_array, as_inputs, as_labels, as_texts
from monosemy.data.in_memory import from_arrays
from monosemy.data.load import load_data
from monosemy.data.streams import open_stream
from monosemy.errors import InputError
from monosemy.metrics import decoder_stability

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 60)
NAMES = [f"c{value}" for value in Y]
X = ((RNG.normal(size=(3, 6))[Y] * 3 + RNG.normal(size=(60, 6))) * 8).round().astype(
    np.float32
) / 8  # exact in bfloat16
TEXTS = [f"sentence number {i}" for i in range(60)]


def polars(values: Any) -> Any:
    library = pytest.importorskip("polars")
    return library.DataFrame(values) if np.ndim(values) == 2 else library.Series(values)


def hugging_face(values: Any) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"x": list(values)})["x"]


MATRICES = {
    "array": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "Fortran order": np.asfortranarray,
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x)),
    "list of arrays": list,
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "list of bfloat16": lambda x: list(torch.from_numpy(x).bfloat16()),
    "tensor": torch.from_numpy,
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "float8": lambda x: torch.from_numpy(x),
    "with gradient": lambda x: torch.from_numpy(x.copy()).requires_grad_(),
    "transposed": lambda x: torch.from_numpy(x.T.copy()).T,
    "data frame": pd.DataFrame,
    "nullable": lambda x: pd.DataFrame(x).convert_dtypes(),
    "polars": polars,
    "arrow": lambda x: pa.table({f"d{i}": x[:, i] for i in range(x.shape[1])}),
    "series of lists": lambda x: pd.Series(x.tolist()),
    "objects": lambda x: x.astype(object),
    "masked": np.ma.masked_array,
    "hugging face": lambda x: hugging_face(x.tolist()),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_embeddings_of_every_kind(kind: str) -> None:
    values = MATRICES[kind]
    data = from_arrays(values(X), NAMES, values(X[:20]), NAMES[:20])
    assert data.kind == "embeddings"
    assert data.test.inputs.dtype == np.float32
    np.testing.assert_array_equal(data.test.inputs, X[:20])
    wanted = SparseAutoencoder(8, 2, n_epochs=1, random_state=0).fit(X).transform(X)
    if kind not in ("series of lists",):  # scikit-learn reads it as one column of objects
        found = SparseAutoencoder(8, 2, n_epochs=1, random_state=0).fit(values(X)).transform(values(X))
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        probe = LinearProbe(epochs=2).fit(values(X), NAMES)
        assert (probe.predict(values(X)) == LinearProbe(epochs=2).fit(X, NAMES).predict(X)).all()
    assert measure(values(X), NAMES).metrics == pytest.approx(measure(X, NAMES).metrics, nan_ok=True)
    np.testing.assert_array_equal(explain(values(X), NAMES).classes, explain(X, NAMES).classes)
    if "list" not in kind and kind not in ("tuples", "hugging face", "objects", "nullable"):
        np.testing.assert_array_equal(open_stream(values(X)).open().read(60), X)
    assert decoder_stability(values(X), X).mean == pytest.approx(1)


LABELS = {
    "list": list,
    "array": np.array,
    "objects": lambda y: np.array(y, dtype=object),
    "bytes": lambda y: np.array(y, dtype="S"),
    "series": pd.Series,
    "string series": lambda y: pd.Series(y, dtype="string"),
    "category": lambda y: pd.Series(y, dtype="category"),
    "polars": polars,
    "arrow": pa.array,
    "chunked": lambda y: pa.chunked_array([y[:2], y[2:]]),
    "column": lambda y: np.array(y)[:, None],
    "frame": lambda y: pd.DataFrame({"label": y}),
    "hugging face": hugging_face,
    "generator": iter,
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind: str) -> None:
    values = LABELS[kind]
    data = from_arrays(X, values(NAMES), X[:20], values(NAMES[:20]))
    assert data.class_names == ("c0", "c1", "c2")
    assert data.test.labels.tolist() == Y[:20].tolist()
    assert measure(X, values(NAMES)).class_names == ("c0", "c1", "c2")


NUMBERS = {
    "integers": lambda y: y,
    "floats": lambda y: y.astype(float),
    "tensor": torch.from_numpy,
    "tensors": lambda y: list(torch.from_numpy(y)),
    "bfloat16": lambda y: torch.from_numpy(y).bfloat16(),
    "nullable": lambda y: pd.Series(y, dtype="Int64"),
    "polars": polars,
    "decimals": lambda y: pa.array(y).cast(pa.decimal128(21, 2)),
    "objects": lambda y: y.astype(object),
    "texts": lambda y: y.astype(str),
    "texts of floats": lambda y: y.astype(float).astype(str),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_one_class_whatever_their_type(kind: str) -> None:
    data = from_arrays(X, NUMBERS[kind](Y), X[:20], NUMBERS[kind](Y[:20]))
    assert data.class_names == ("0", "1", "2")
    assert data.test.labels.tolist() == Y[:20].tolist()


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda x: np.array(x, dtype=object),
    "bytes": lambda x: np.array(x, dtype="S"),
    "variable width": lambda x: np.array(x, dtype=np.dtypes.StringDType()),
    "column": lambda x: np.array(x)[:, None],
    "series": pd.Series,
    "string series": lambda x: pd.Series(x, dtype="string"),
    "other row names": lambda x: pd.Series(x, index=range(100, 100 + len(x))),
    "frame": lambda x: pd.DataFrame({"text": x}),
    "frame of more": lambda x: pd.DataFrame({"id": range(len(x)), "Text": x}),
    "polars": polars,
    "arrow": pa.array,
    "hugging face": hugging_face,
    "generator": iter,
    "index": pd.Index,
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_texts_of_every_kind(kind: str) -> None:
    values = COLUMNS[kind]
    data = from_arrays(values(TEXTS), NAMES, values(TEXTS[:20]), NAMES[:20])
    assert (data.kind, data.test.inputs) == ("texts", tuple(TEXTS[:20]))
    assert all(type(text) is str for text in data.test.inputs)
    assert as_texts(values(TEXTS)) == tuple(TEXTS)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, "", "  "])
@pytest.mark.parametrize("kind", ["list", "objects", "series"])
def test_missing_texts_are_reported_with_their_rows(kind: str, missing: object, refuses) -> None:
    texts: list[Any] = TEXTS.copy()
    texts[0] = texts[7] = missing
    with refuses("The train part", "2 of 60 rows", "row 0", "row 7"):
        from_arrays(COLUMNS[kind](texts), NAMES, TEXTS, NAMES)
    data = from_arrays(COLUMNS[kind](texts), NAMES, TEXTS, NAMES, on_bad_row="skip")
    assert len(data.train) + len(data.validation) == 58
    assert any("2 of 60 rows" in message for message in data.notices)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "nan", "None", "<NA>"])
def test_missing_labels_are_reported_with_their_rows(missing: object, refuses) -> None:
    labels: list[Any] = NAMES.copy()
    labels[3] = missing
    for values in (labels, pd.Series(labels, dtype=object)):
        with refuses("1 of 60 rows", "row 3"):
            from_arrays(X, values, X, NAMES)
        with refuses("1 of 60 rows", "row 3"):
            measure(X, values)
    for value in (None, pd.NA, float("nan")):
        labels[3] = value
        with refuses("y", "1 of 60 rows", "row 3"):
            LinearProbe().fit(X, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_missing_numbers_are_reported_on_every_path(value: float | None, refuses) -> None:
    rows = X.astype(object)
    rows[5, 2] = value
    values = rows.tolist()
    for call in (
        lambda: from_arrays(values, NAMES, X, NAMES),
        lambda: SparseAutoencoder(8, 2).fit(values),
        lambda: LinearProbe().fit(values, NAMES),
        lambda: measure(values, NAMES),
        lambda: explain(values, NAMES),
        lambda: open_stream(np.array(values, dtype=np.float32)).open().read(60),
    ):
        with refuses("row 5"):
            call()


def test_a_missing_row_among_lists(refuses) -> None:
    values: list[Any] = X.tolist()
    values[4] = None
    with refuses("1 with NaN", "row 4"):
        from_arrays(values, NAMES, X, NAMES)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([[1.0, 2.0], [3.0]], ["row 0 has 2 values, row 1 has 1"]),
        ([torch.ones(2), torch.ones(3)], ["row 1 has 3"]),
        ([["a", "b"], ["c", "d"]], ["(2, 2)"]),
        (np.ones(5), ["(5,)"]),
        (np.ones((2, 3, 4)), ["(2, 3, 4)"]),
        (np.ones((2, 3), dtype=complex), ["complex128"]),
        (sp.csr_array(np.eye(3)), ["sparse", ".toarray()"]),
        (torch.eye(3).to_sparse(), [".to_dense()"]),
        (torch.ones(2, 3, device="meta"), ["without plain values"]),
        ("a text", ["neither texts"]),
        (pd.DataFrame({"age": [1, 2], "name": ["x", "y"]}), ["'name'"]),
        (np.ones((4, 3, 8, 8), dtype=np.int64), ["int64", "uint8"]),
    ],
)
def test_other_values_are_refused(values: Any, named: list[str], refuses) -> None:
    with refuses(*named):
        from_arrays(values, [0, 1], values, [0, 1])


@pytest.mark.parametrize("values", ["abc", None, 3, {"a": 1}, np.eye(3)])
def test_other_labels_are_refused(values: Any, refuses) -> None:
    with refuses("one label for each row"):
        as_labels(values)


def test_rows_in_another_order_than_their_labels(refuses) -> None:
    inputs = pd.Series(TEXTS)
    labels = pd.Series(NAMES).sample(frac=1, random_state=0)
    with refuses("The train part", "row names", "another order", ".loc[X.index]"):
        from_arrays(inputs, labels, inputs, NAMES)
    data = from_arrays(inputs, labels.loc[inputs.index], inputs, NAMES)
    assert data.test.labels.tolist() == Y.tolist()
    from_arrays(inputs, labels.reset_index(drop=True), inputs, NAMES)  # the same row names: a mistake cannot be seen


def test_values_are_not_changed() -> None:
    inputs = torch.from_numpy(X.copy())
    data = from_arrays(inputs, NAMES, inputs, NAMES)
    data.test.inputs[:] = 0
    np.testing.assert_array_equal(inputs, X)
    frame = pd.DataFrame(X)
    np.asarray(as_inputs(frame))[:] = 0
    np.testing.assert_array_equal(frame, X)


def test_images_as_tensors() -> None:
    images = torch.randint(0, 256, (12, 3, 4, 4), dtype=torch.uint8)
    data = from_arrays(images, [0, 1] * 6, images.float() / 255, [0, 1] * 6)
    assert (data.kind, data.train.inputs.dtype, data.test.inputs.dtype) == ("images", np.uint8, np.float32)
    np.testing.assert_array_equal(as_inputs(images), images)


def test_names_of_columns_reach_scikit_learn() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    assert SparseAutoencoder(8, 2, n_epochs=1).fit(frame).feature_names_in_.tolist() == list("abcdef")
    assert LinearProbe(epochs=1).fit(frame, NAMES).feature_names_in_.tolist() == list("abcdef")


def test_noise_takes_lists_and_refuses_names(refuses) -> None:
    labels = pd.Series(Y, index=RNG.permutation(60))
    wanted = symmetric_noise(Y, 0.3, 3, np.random.default_rng(0))
    for values in (labels, Y.tolist(), torch.from_numpy(Y)):
        np.testing.assert_array_equal(symmetric_noise(values, 0.3, 3, np.random.default_rng(0)), wanted)
    with refuses("positions of classes"):
        symmetric_noise(NAMES, 0.3, 3, np.random.default_rng(0))
    kept = few_labels(Y.tolist(), 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(kept, few_labels(Y, 0.5, np.random.default_rng(0)))
    assert kept.sum() == pytest.approx(30, abs=2)


# Files of types that NumPy lacks


def bfloat16_npy(path: Path, values: np.ndarray) -> None:
    """An array as ml_dtypes saves its bfloat16: values of two bytes without a type."""
    bits = torch.from_numpy(values).bfloat16().view(torch.int16).numpy()
    np.save(path, bits.view("V2"))


FILES = {
    "x.safetensors": lambda path: save_file({"embeddings": torch.from_numpy(X).bfloat16()}, path),
    "x.npy": lambda path: bfloat16_npy(path, X),
    "x.pt": lambda path: torch.save(torch.from_numpy(X).bfloat16(), path),
    "dictionary.pt": lambda path: torch.save({"embeddings": torch.from_numpy(X), "labels": torch.from_numpy(Y)}, path),
    "pair.pt": lambda path: torch.save((torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y)), path),
    "parameter.pt": lambda path: torch.save(torch.nn.Parameter(torch.from_numpy(X)), path),
}


@pytest.mark.parametrize("name", FILES)
def test_tensors_in_files_on_every_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    np.save(tmp_path / "y.npy", Y)
    has_labels = name in ("dictionary.pt", "pair.pt")
    labels = {} if has_labels else {"labels": tmp_path / "y.npy"}
    np.testing.assert_array_equal(open_stream(str(path)).open().read(60), X)
    codes = load_codes(DataConfig(source=str(path), **labels))
    np.testing.assert_array_equal(np.asarray(codes.codes), X)
    assert codes.labels is not None
    assert codes.labels.tolist() == Y.tolist()
    data = load_data(DataConfig(source=str(path), **labels))
    assert sum(map(len, data.splits().values())) == 60
    assert data.class_names == ("0", "1", "2")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_files_of_torch_run_nothing(tmp_path: Path, refuses) -> None:
    exploded, path = tmp_path / "exploded", tmp_path / "x.pt"
    torch.save({"embeddings": Bomb(exploded)}, path)
    with refuses(path, "cannot be read as arrays"):
        read_arrays(path)
    torch.save({"embeddings": Bomb(exploded)}, path, _use_new_zipfile_serialization=False)
    with refuses(path, "torch 1.6"):
        read_arrays(path)
    assert not exploded.exists()
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    assert set(read_arrays(path)) == {"weight", "bias"}
    for content in ({"embeddings": 3}, [1, 2, 3], "x"):
        torch.save(content, path)
        with refuses(path, "cannot be read as arrays"):
            read_arrays(path)


def test_a_tensor_larger_than_its_file(tmp_path: Path, refuses) -> None:
    torch.save(torch.zeros(1).expand(40_000, 40_000), tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 10_000
    with refuses("x.pt", "grows to more than 6.4 GB"):
        read_arrays(tmp_path / "x.pt")


def test_arrays_keep_their_shape() -> None:
    assert as_array([[1, 2], [3, 4]]).shape == (2, 2)
    with pytest.raises(InputError, match="row 0 has 2 values, row 1 has 1"):
        as_array([[1, 2], [3]])
