"""Labels that are no classes: numbers to predict, ids, look-alikes, classes of one or two rows."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from made_files import load, write
from sklearn.datasets import load_diabetes, load_iris

from monosemy.data.classes import class_findings, look_alike_finding, plain_name, target_finding
from monosemy.data.in_memory import from_arrays


def table(labels: list, folder: Path, name: str = "t.csv") -> Path:
    return write(pd.DataFrame({"text": [f"sentence {i}" for i in range(len(labels))], "label": labels}), folder / name)


def test_a_regression_target_of_numbers() -> None:
    labels = [f"{value:g}" for value in load_diabetes().target]
    finding = target_finding(labels)
    assert finding is not None
    assert finding.severity == "warning"
    assert "442 rows have 214 different numbers as labels" in finding.message
    assert "a regression target" in finding.message


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_continuous_labels_are_refused(tmp_path: Path, refuses, name: str) -> None:
    values = np.random.default_rng(0).normal(size=60).tolist()
    with refuses("60 rows have 60 different numbers", "a regression target", "--label-column"):
        load(table(values, tmp_path, name))


def test_continuous_labels_of_arrays_are_refused(refuses) -> None:
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    y = X[:, 0] * 2
    with refuses("different numbers", "a regression target"):
        from_arrays(X[:40], y[:40], X[40:], y[40:])


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_ids_are_refused(tmp_path: Path, refuses, name: str) -> None:
    with refuses("40 rows have 40 different labels", "ids", "'id0'", "--label-column"):
        load(table([f"id{i}" for i in range(40)], tmp_path, name))


NO_TARGETS = {
    "iris": [str(value) for value in load_iris().target],
    "half stars": ["0.5", "1", "1.5", "2"] * 10,
    "many classes of whole numbers": [str(i % 150) for i in range(3000)],
    "many classes of names": [f"c{i % 150}" for i in range(600)],
    "two rows": ["a", "b", "c", "d"],
    "few rows of few": [str(i) for i in range(9)],
}


@pytest.mark.parametrize("kind", NO_TARGETS)
def test_classes_are_no_target(kind: str) -> None:
    assert target_finding(NO_TARGETS[kind]) is None


ALIKE = [
    ("pos", "Pos"), ("pos", "POS"), ("new york", "new  york"), ("new york", "New_York"), ("new-york", "new york"),
    ("caf\u00e9", "cafe\u0301"), ("\uff41\uff42\uff43", "abc"), ("stra\u00dfe", "STRASSE"),
    ("a\u200bb", "ab"), ("1", "01"), ("x\u00a0y", "x y"), ("\u017fet", "set"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_look_alikes_are_named(first: str, second: str) -> None:
    finding = look_alike_finding([first, second, "other"])
    assert finding is not None
    assert "look alike" in finding.message
    for name in (first, second):
        assert repr(name) in finding.message or ascii(name) in finding.message
    assert "'other'" not in finding.message


@pytest.mark.parametrize(
    "names", [["pos", "neg"], ["1", "-1"], ["1", "10"], ["1.5", "15"], ["a", "\u00e4"], ["+", "-"]]
)
def test_different_classes_are_not_alike(names: list[str]) -> None:
    assert look_alike_finding(names) is None


def test_many_look_alikes_are_bounded() -> None:
    finding = look_alike_finding([name for i in range(500) for name in (f"class {i}", f"Class {i}")])
    assert finding is not None
    assert "and 497 more such groups" in finding.message
    assert len(finding.message) < 400


@given(st.text(max_size=8))
def test_the_plain_name_is_one_of_all_its_forms(name: str) -> None:
    plain = plain_name(name)
    assert plain_name(name.upper().casefold()) == plain_name(name.casefold())
    for form in ("NFC", "NFD", "NFKC"):
        assert plain_name(unicodedata.normalize(form, name)) == plain


@pytest.mark.parametrize(
    "change", [lambda label: f"{label} ", lambda label: f"\t{label}", lambda label: f"{label}\u00a0"]
)
def test_white_space_around_a_label_makes_no_class(tmp_path: Path, change) -> None:
    labels = [change("pos" if i % 2 else "neg") if i < 6 else ("pos" if i % 2 else "neg") for i in range(40)]
    data = load(table(labels, tmp_path, "t.parquet"))
    assert data.class_names == ("neg", "pos")
    assert "White space around 6 labels was removed" in data.notices[0]


@pytest.mark.parametrize("change", [str.capitalize, str.upper])
def test_another_capital_is_said(tmp_path: Path, change) -> None:
    labels = [change("pos" if i % 2 else "neg") if i < 6 else ("pos" if i % 2 else "neg") for i in range(40)]
    data = load(table(labels, tmp_path))
    assert data.n_classes == 4
    assert any("look alike" in notice and "case" in notice for notice in data.notices)


def test_classes_of_one_and_two_rows_are_said(tmp_path: Path) -> None:
    data = load(table(["a"] * 18 + ["b"] * 20 + ["c", "d", "e", "e"], tmp_path))
    said = " ".join(data.notices)
    assert "2 classes with one row ('c', 'd') are in train only and never tested" in said
    assert "1 class without a validation row ('e') does not count" in said
    tested = {data.class_names[label] for label in data.test.labels}
    assert tested == {"a", "b", "e"}


def test_classes_of_one_row_are_bounded() -> None:
    counts = np.array([1] * 300 + [20])
    none = np.zeros_like(counts)
    found = class_findings({"train": counts, "validation": none, "test": none}, [f"class {i}" for i in range(301)])
    assert "300 classes with one row ('class 0', " in found[0].message
    assert "and 295 more" in found[0].message
    assert all(len(finding.message) < 400 for finding in found)


def test_classes_that_given_splits_do_not_test(tmp_path: Path) -> None:
    rows = {"text": [f"t{i}" for i in range(40)], "label": ["a", "b", "c", "c"] * 10, "split": ["train"] * 40}
    frame = pd.DataFrame(rows)
    frame.loc[[i for i in range(40) if i % 4 < 2 and i > 20], "split"] = "test"
    said = " ".join(load(write(frame, tmp_path / "t.csv")).notices)
    assert "1 class without a test row ('c') is never tested" in said


def test_imbalance_is_said(tmp_path: Path) -> None:
    assert any(
        "'a' has 90 % of the rows" in notice for notice in load(table(["a"] * 90 + ["b"] * 10, tmp_path)).notices
    )
    said = load(table(["a"] * 60 + ["b"] * 60 + ["c"] * 5, tmp_path)).notices
    assert any("differ in size: 'a' has 60 rows, 'c' has 5" in notice for notice in said)


def test_too_few_rows_of_each_class(tmp_path: Path, refuses) -> None:
    with refuses("t.csv", "6 rows of 3 classes", "validation", "three rows"):
        load(table(["a", "b", "c"] * 2, tmp_path))
