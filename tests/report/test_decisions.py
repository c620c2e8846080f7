"""Decisions on suspicious labels as pages export them, spreadsheets save them and others damage them."""

from pathlib import Path

import pytest

from monosemy.report.audit import read_decisions

HEADER = "row,given,suggested,decision,label\n"
ROWS = [("row 0", "cat", "dog", "accept", "dog"), ("row 1", "dog", "cow", "keep", "dog"),
        ("é, x", "cow", "cat", "relabel", "über"), ("row 3", "cow", "cat", "skip", "")]  # fmt: skip
WANTED = {"row 0": "dog", "row 1": "dog", "é, x": "über"}


def csv_of(delimiter: str) -> str:
    lines = [HEADER.strip().split(","), *ROWS]
    return "".join(delimiter.join(f'"{field}"' if "," in field else field for field in line) + "\n" for line in lines)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_decisions_as_spreadsheets_save_them(delimiter: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(csv_of(delimiter), encoding=encoding)
    assert read_decisions(path) == WANTED


def test_decisions_with_columns_moved_and_added(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("label,note,decision,suggested,given,row\ndog,,accept,dog,cat,row 0\n\n", encoding="utf-8")
    assert read_decisions(path) == {"row 0": "dog"}
    path.write_text(HEADER, encoding="utf-8")
    assert read_decisions(path) == {}
    path.write_text(HEADER + "r,cat,dog,skip,\nr,cat,dog,skip,\n", encoding="utf-8")  # twice, but the same
    assert read_decisions(path) == {}


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.txt", "", ("a.txt", "neither")),
        ("a.csv", "", ("no column", "'row'")),
        ("a.csv", "row,given,suggested,label\nr,a,b,b\n", ("no column 'decision'",)),
        ("a.csv", HEADER + "r,a,b,maybe,b\n", ("'maybe'", "record 1", "'r'")),
        ("a.csv", HEADER + "r,a,b,accept,b\nr,a,b,keep,a\n", ("'r' twice",)),
        ("a.csv", HEADER + "r,a,b,accept,a\n", ("'a'", "accept means 'b'")),
        ("a.csv", HEADER + "r,a,b,skip,a\n", ("'a'", "skip means ''")),
        ("a.csv", HEADER + "r,a,b,relabel,\n", ("relabel means a label",)),
        ("a.csv", HEADER + "r,a,b,accept\n", ("record 1", "fields")),
        ("a.csv", HEADER + 'r,a,b,accept,"b\n', ("a.csv cannot be read as CSV",)),
        ("a.csv", "\x00\x01\x02\x89PNG", ("a.csv",)),
        ("a.json", "[", ("a.json cannot be read as JSON",)),
        ("a.json", "[" * 100_000, ("a.json cannot be read as JSON",)),
        ("a.json", "{}", ("no list",)),
        ("a.json", "[7]", ("no list of objects",)),
        ("a.json", '[{"row": "r"}]', ("no column", "'decision'")),
        (
            "a.json",
            '[{"row": 7, "given": "a", "suggested": "b", "decision": "keep", "label": "a"}]',
            ("row of record 1 is no text",),
        ),
    ],
)
def test_damaged_decisions_are_refused(name: str, content: str, named, refuses, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with refuses(*named):
        read_decisions(tmp_path / name)


def test_a_missing_file_is_refused(refuses, tmp_path: Path) -> None:
    with refuses("does not exist"):
        read_decisions(tmp_path / "none.csv")
