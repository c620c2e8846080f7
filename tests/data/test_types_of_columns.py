"""Columns of every type that parquet, JSON and Excel have: texts as texts, numbers as numbers, labels as classes."""

import datetime
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_files import load

from monosemy.data.config import DataConfig
from monosemy.data.load import read_rows
from monosemy.data.tables import read_table
from monosemy.errors import MissingExtraError

N = 40
TEXTS = [f"Größe {i}" for i in range(N)]
LABELS = ["a", "b"] * (N // 2)
X = np.random.default_rng(0).integers(-8, 8, (N, 3)).astype(np.float32) / 4

TEXT_COLUMNS = {
    "string": lambda: pa.array(TEXTS),
    "large string": lambda: pa.array(TEXTS, pa.large_string()),
    "string view": lambda: pa.array(TEXTS, pa.string_view()),
    "binary": lambda: pa.array([t.encode() for t in TEXTS]),
    "large binary": lambda: pa.array([t.encode() for t in TEXTS], pa.large_binary()),
    "dictionary": lambda: pa.array(TEXTS).dictionary_encode(),
    "dictionary of bytes": lambda: pa.array([t.encode() for t in TEXTS]).dictionary_encode(),
}
LABEL_COLUMNS = {
    "string": lambda: pa.array(LABELS),
    "binary": lambda: pa.array([t.encode() for t in LABELS]),
    "fixed width": lambda: pa.array([t.encode() for t in LABELS], pa.binary(1)),
    "dictionary": lambda: pa.array(LABELS).dictionary_encode(),
    "dictionary of bytes": lambda: pa.array([t.encode() for t in LABELS]).dictionary_encode(),
    "categories of pandas": lambda: pa.array(pd.Categorical(LABELS)),
}


@pytest.mark.parametrize("text", TEXT_COLUMNS)
@pytest.mark.parametrize("label", LABEL_COLUMNS)
def test_texts_of_every_type(tmp_path: Path, text: str, label: str) -> None:
    pq.write_table(pa.table({"text": TEXT_COLUMNS[text](), "label": LABEL_COLUMNS[label]()}), tmp_path / "t.parquet")
    rows = read_rows(str(tmp_path / "t.parquet"), DataConfig())
    assert (rows.kind, rows.inputs, rows.labels) == ("texts", tuple(TEXTS), LABELS)


def test_bytes_without_a_usual_name_are_texts_too(tmp_path: Path) -> None:
    table = pa.table({"review": [t.encode() for t in TEXTS], "stars": [t.encode() for t in LABELS]})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = read_rows(str(tmp_path / "t.parquet"), DataConfig(input_column="review", label_column="stars"))
    assert (rows.kind, rows.inputs, rows.labels) == ("texts", tuple(TEXTS), LABELS)


def test_missing_values_in_dictionaries(tmp_path: Path, refuses) -> None:
    texts: list[str | None] = [*TEXTS]
    labels: list[str | None] = [*LABELS]
    texts[3] = labels[5] = None
    columns = {"text": pa.array(texts).dictionary_encode(), "label": pa.array(labels).dictionary_encode()}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with refuses("2 of 40 rows", "1 with an empty text (row 3)", "1 without a label (row 5)"):
        load(tmp_path / "t.parquet")


def test_a_dictionary_that_grows(tmp_path: Path, refuses) -> None:
    """Few long texts that many rows refer to: small as a file, and large once each row has its own."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(60_000, np.int32), pa.array(["x" * 30_000]))
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"] * 30_000}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with refuses("t.parquet", "grows to more than 1."):
        read_table(tmp_path / "t.parquet")


NUMBER_LABELS = {
    "int8": lambda y: pa.array(y, pa.int8()),
    "uint64": lambda y: pa.array(y, pa.uint64()),
    "double": lambda y: pa.array(y.astype(float)),
    "half": lambda y: pa.array(y.astype(np.float16)),
    "decimal": lambda y: pa.array([Decimal(int(v)).quantize(Decimal("1.00")) for v in y]),
    "with gaps": lambda y: pa.array([*map(float, y[:-1]), None]),
    "texts": lambda y: pa.array([str(v) for v in y]),
    "texts of floats": lambda y: pa.array([f"{v}.0" for v in y]),
}


@pytest.mark.parametrize("kind", NUMBER_LABELS)
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_a_class_has_one_name_whatever_its_type_and_file(tmp_path: Path, kind: str, ending: str) -> None:
    table = pa.table({"text": TEXTS, "label": NUMBER_LABELS[kind](np.arange(N) % 3)})
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pq.write_table(table, path)
    elif ending == ".csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        table.to_pandas().astype({"label": object}).to_json(path, orient="records", lines=True)
    data = load(path, on_bad_row="skip" if kind == "with gaps" else "stop")
    assert data.class_names == ("0", "1", "2")


def test_truth_values_and_dates(tmp_path: Path) -> None:
    flags = [True, False] * (N // 2)
    for ending in (".parquet", ".csv", ".jsonl"):
        path = tmp_path / f"t{ending}"
        frame = pd.DataFrame({"text": TEXTS, "label": flags})
        if ending == ".parquet":
            frame.to_parquet(path)
        elif ending == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
        assert load(path).class_names == ("False", "True")
    days = [datetime.date(2020, 1, 1 + i % 2) for i in range(N)]
    pq.write_table(pa.table({"text": TEXTS, "label": days}), tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet").class_names == ("2020-01-01", "2020-01-02")


LISTS = {
    "list": pa.list_(pa.float32()),
    "large list": pa.large_list(pa.float64()),
    "fixed size": pa.list_(pa.float32(), 3),
    "half": pa.list_(pa.float16()),
    "integers": pa.list_(pa.int64()),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_every_type(tmp_path: Path, kind: str) -> None:
    values = (X * 4).astype(int).tolist() if kind == "integers" else list(X.astype(np.float16) if kind == "half" else X)
    pq.write_table(pa.table({"embedding": pa.array(values, LISTS[kind]), "label": LABELS}), tmp_path / "t.parquet")
    rows = read_rows(str(tmp_path / "t.parquet"), DataConfig())
    np.testing.assert_array_equal(np.asarray(rows.inputs), X * (4 if kind == "integers" else 1))


def test_wide_parquet_of_every_type(tmp_path: Path) -> None:
    columns = {
        "dim_0": pa.array(X[:, 0].astype(np.float16)),
        "dim_1": pa.array([Decimal(str(v)) for v in X[:, 1].tolist()]),
        "dim_2": pa.array((X[:, 2] * 4).astype(np.int8)),
        "label": pa.array(LABELS),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows = read_rows(str(tmp_path / "t.parquet"), DataConfig())
    np.testing.assert_array_equal(np.asarray(rows.inputs), X * [1, 1, 4])


def test_complex_numbers_are_no_dimensions(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": LABELS})
    frame["day"] = pd.Timestamp("2020-01-01")
    frame.to_parquet(tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").train.inputs.shape[1] == 3


# JSON


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.ndjson"])
@pytest.mark.parametrize("form", ["lines", "list", "columns", "data", "indented", "split", "table"])
def test_every_form_of_json(tmp_path: Path, name: str, form: str) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    if form != "lines" and name != "t.json":
        pytest.skip("these endings promise lines")
    text = {
        "lines": "\n".join(map(json.dumps, rows)),
        "list": json.dumps(rows),
        "columns": json.dumps({"text": TEXTS, "label": LABELS}),
        "data": json.dumps({"version": "1.0", "data": rows}),
        "split": pd.DataFrame(rows).to_json(orient="split"),
        "table": pd.DataFrame(rows).to_json(orient="table"),
        "indented": json.dumps(rows, indent=2),
    }[form]
    (tmp_path / name).write_text(text)
    read = read_rows(str(tmp_path / name), DataConfig())
    assert (read.inputs, read.labels) == (tuple(TEXTS), LABELS)
    assert [m for m in read.messages if "data" in m] == (
        ["The rows of t.json are its list 'data'."] if form in ("data", "table") else []
    )


def test_json_with_a_list_for_each_split(tmp_path: Path, refuses) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "t.json").write_text(json.dumps({"train": rows[:30], "test": rows[30:]}))
    assert load(tmp_path / "t.json").test.inputs == tuple(TEXTS[30:])
    (tmp_path / "t.json").write_text(json.dumps({"cats": rows[:30], "dogs": rows[30:]}))
    with refuses("t.json", "'cats', 'dogs'"):
        load(tmp_path / "t.json")
    for text in ("", "{", '{"a": 1}', '"x"', "[1, 2]", '{"text": ["a"], "label": [1, 2]}'):
        (tmp_path / "t.json").write_text(text)
        with refuses("t.json"):
            load(tmp_path / "t.json")


def test_names_and_dates_of_json_stay_as_written(tmp_path: Path) -> None:
    rows = [{"text": t, "label": y, "2020": 1, "date": "2020-01-01"} for t, y in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    table = read_table(tmp_path / "t.json")
    assert table.columns == ["text", "label", "2020", "date"]
    assert table.frame["date"][0] == "2020-01-01"


# Excel


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"text": TEXTS, "label": np.arange(N) % 2, "split": ["train"] * 30 + ["test"] * 10})
    frame.to_excel(tmp_path / "t.xlsx")
    data = load(tmp_path / "t.xlsx")
    assert (data.class_names, data.test.inputs) == (("0", "1"), tuple(TEXTS[30:]))
    assert "The first column of t.xlsx has no name and numbers the rows; it was ignored." in data.notices
    frame.assign(label=[f"{i % 2:03d}" for i in range(N)]).to_excel(tmp_path / "t.xlsx", index=False)
    assert load(tmp_path / "t.xlsx").class_names == ("000", "001"), "a text stays as it is written"


def test_sheets(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    with pd.ExcelWriter(tmp_path / "t.xlsx") as writer:
        frame[:30].to_excel(writer, sheet_name="train", index=False)
        frame[30:].to_excel(writer, sheet_name="test", index=False)
    assert load(tmp_path / "t.xlsx").test.inputs == tuple(TEXTS[30:])
    with pd.ExcelWriter(tmp_path / "t.xlsx") as writer:
        frame.to_excel(writer, sheet_name="rows", index=False)
        frame[:5].to_excel(writer, sheet_name="summary", index=False)
    data = load(tmp_path / "t.xlsx")
    assert sum(map(len, data.splits().values())) == N
    assert "Of t.xlsx, the sheet 'rows' was read, but not 'summary'." in data.notices


def test_wide_excel_with_gaps(tmp_path: Path, refuses) -> None:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame(X, columns=["height", "width", "depth"]).assign(label=LABELS)
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    found = np.asarray(read_rows(str(tmp_path / "t.xlsx"), DataConfig()).inputs)
    np.testing.assert_array_equal(found, X)
    frame.loc[3, "width"] = np.nan
    frame.loc[5, "label"] = None
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    with refuses("2 of 40 rows", "row 3", "row 5"):
        load(tmp_path / "t.xlsx")


def test_excel_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"no zip")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r"t.xlsx.*pip install 'monosemy\[excel\]', or save it as .csv"):
        load(tmp_path / "t.xlsx")
    monkeypatch.undo()
    pytest.importorskip("openpyxl")
    with refuses("t.xlsx", "cannot be read as a table"):
        load(tmp_path / "t.xlsx")
