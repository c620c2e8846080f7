"""A look at the data before the run: one report, and the same findings in every way in."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_files import EMBEDDINGS, LABELS, SPLITS, TEXTS, load, texts, write

from monosemy.data.check import check_data
from monosemy.data.config import DataConfig
from monosemy.data.findings import DataReport, Finding
from monosemy.data.quality import scale_findings


def check(source: Path | str, **options) -> DataReport:
    return check_data(DataConfig(source=str(source), **options))


def said(report: DataReport) -> str:
    return " ".join(report.messages())


def test_sound_data(tmp_path: Path) -> None:
    report = check(write(texts(), tmp_path / "t.csv"))
    assert (report.kind, report.n_rows, report.n_used) == ("texts", 40, 40)
    assert report.splits == {"train": 24, "validation": 4, "test": 12}
    assert report.drawn == ()
    assert report.classes == {f"class {i}": 10 for i in range(4)}
    assert report.imbalance == 1
    assert report.copies == {"equal": 0, "near": 0, "conflicting": 0, "across": {}}
    assert report.findings == ()
    assert report.can_run


def test_everything_at_once(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"the number {i} in words" for i in range(60)], "label": ["pos", "neg"] * 30})
    frame.loc[[3, 4], "label"] = None
    frame.loc[5, "text"] = " "
    frame.loc[[6, 8], "label"] = ["Pos", "pos "]
    frame.loc[40, "text"] = frame.loc[10, "text"]
    report = check(write(frame, tmp_path / "t.csv"))
    assert (report.n_rows, report.n_used) == (60, 57)
    assert report.missing == {"with an empty text": 1, "without a label": 2}
    assert report.drawn == ("validation", "test")
    assert report.copies["equal"] == 1
    for word in (
        "3 of 60 rows",
        "look alike",
        "1 class with one row ('Pos')",
        "1 of 57 rows are copies",
        "White space",
    ):
        assert word in said(report), word
    assert report.can_run


def test_the_findings_are_those_of_a_study(tmp_path: Path) -> None:
    path = write(texts(label=["A" if label == "class 0" else label for label in LABELS]), tmp_path / "t.csv")
    data = load(path)
    assert data.report == check(path)
    assert data.notices == data.report.messages()


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ([f"id{i}" for i in range(40)], "40 different labels"),
        ([i / 7 for i in range(40)], "a regression target"),
        (["one"] * 40, "one class"),
        ([None] * 40, "40 without a label"),
    ],
)
def test_data_that_nothing_can_run_on(tmp_path: Path, column: list, word: str) -> None:
    report = check(write(pd.DataFrame({"text": TEXTS, "label": column}), tmp_path / "t.csv"))
    assert not report.can_run
    assert word in " ".join(report.messages("error"))
    assert report.n_rows == 40


def test_data_without_labels_is_looked_at_too(tmp_path: Path) -> None:
    rows = EMBEDDINGS.copy()
    rows[7] = rows[2]
    np.save(tmp_path / "x.npy", rows)
    report = check(tmp_path / "x.npy")
    assert (report.n_rows, report.classes, report.copies["equal"]) == (40, {}, 1)
    assert "No labels were found" in said(report)
    assert report.can_run


def test_a_source_that_cannot_be_read(tmp_path: Path, refuses) -> None:
    with refuses("none.csv", "does not exist"):
        check(tmp_path / "none.csv")
    with refuses("'topic'"):
        check(write(texts(), tmp_path / "t.csv"), label_column="topic")


def test_a_further_look_at_texts(tmp_path: Path) -> None:
    seen = []

    def look(inputs: tuple[str, ...]) -> Finding:
        seen.append(inputs)
        return Finding("truncation", "3 texts are cut.")

    path = write(texts(), tmp_path / "t.csv")
    report = check_data(DataConfig(source=str(path)), text_check=look)
    assert seen == [tuple(TEXTS)]
    assert report.findings == (Finding("truncation", "3 texts are cut."),)


def test_the_report_as_plain_values(tmp_path: Path) -> None:
    report = check(write(texts(split=SPLITS), tmp_path / "t.csv"))
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["headline"] == "t.csv: 40 texts; 4 classes of 10 rows each; train 24, validation 4, test 12"
    assert plain["can_run"] is True
    assert plain["classes"]["class 3"] == 10


# Scales


def test_a_wide_column_is_named() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 64))
    rows[:, 3] *= 1000
    found = scale_findings(rows)
    assert len(found) == 1
    assert "1 of 64 columns" in found[0].message
    assert "column 3; column 3 has the standard deviation" in found[0].message


def test_constant_columns_are_counted() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 64))
    rows[:, 10:20], rows[:, 20] = 7.5, 0
    found = scale_findings(rows)
    assert "11 of 64 columns are constant (columns 10, 11, 12, 13, 14 and 6 more)" in found[0].message


def test_an_offset_column_is_named() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 64))
    rows[:, 5] += 3000
    found = scale_findings(rows)
    assert len(found) == 1
    assert "1 of 64 columns" in found[0].message
    assert "column 5 has the mean 3e+03" in found[0].message


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_equal_scales_are_fine(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = scale * rng.normal(size=(500, 30)) * rng.uniform(0.3, 3, 30) + scale * rng.normal(size=30)
    assert scale_findings(rows) == []


def test_scales_are_said_in_a_study(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    rows[:, 3] *= 1000
    np.savez(tmp_path / "a.npz", embeddings=rows, labels=LABELS)
    assert any("far larger scale" in notice for notice in load(tmp_path / "a.npz").notices)
