"""A paper's tables: the numbers of the summary, marks where they are significant, and no command from a name."""

import csv
import io
import math
import re
from dataclasses import replace

import pandas as pd
from made_study import make_result

from monosemy.report.latex import ABOVE, BELOW, as_csv, as_latex, as_markdown, paper_table


def test_cells_are_means_intervals_and_marks() -> None:
    result = make_result(scenarios=("label-noise",))
    table = paper_table({"one": result}, "label-noise")
    assert list(table.columns) == ["clean", "30 %", "60 %"]
    assert list(table.index) == ["dense", "relu", "sae", "dense+cleanlab"]
    rows = result.summary.query("scenario == 'label-noise' and level == 0.6").set_index("variant")
    for name, row in rows.iterrows():
        text = table.loc[name, "60 %"]
        half = 50 * (row["accuracy_high"] - row["accuracy_low"])
        spread = "" if math.isnan(half) else f" ±{half:.1f}"  # cleanlab runs once here
        assert text.startswith(f"{100 * row['accuracy']:.1f}{spread}")
        assert (ABOVE in text) == bool(row["p_holm"] < 0.05 and row["gain"] > 0)
        assert (BELOW in text) == bool(row["p_holm"] < 0.05 and row["gain"] < 0)
    assert ABOVE in table.loc["sae", "60 %"]


def test_a_significant_loss_is_marked_as_one() -> None:
    result = make_result(scenarios=("label-noise",))
    worse = result.summary.assign(gain=-result.summary["gain"])
    table = paper_table({"one": replace(result, summary=worse)}, "label-noise")
    assert BELOW in table.loc["sae", "60 %"]


def test_several_studies_stand_row_by_row_with_dashes_for_what_was_not_run() -> None:
    first = make_result(scenarios=("label-noise", "few-labels"))
    second = make_result(seeds=3, scenarios=("label-noise",), extra=("ncl",))
    kept = second.summary.query("level != 0.3")
    runs = {"a": first, "b": replace(second, summary=kept)}
    table = paper_table(runs, "label-noise")
    assert list(table.index)[:2] == [("dense", "a"), ("dense", "b")]
    assert ("ncl", "a") not in table.index
    assert table.loc[("dense", "b"), "30 %"] == "–"
    assert list(paper_table(runs, "few-labels").columns) == ["all labels", "50 %", "10 %"]
    assert "Few labels" in as_markdown(runs)


def test_markdown_is_a_table_whatever_the_names() -> None:
    text = as_markdown({"one": make_result(scenarios=("label-noise",), extra=("a|b",))})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}


def test_latex_escapes_names_and_levels() -> None:
    hostile = r"\input{secrets}_50%&$x$"
    text = as_latex({"one": make_result(scenarios=("label-noise",), extra=(hostile,))})
    assert r"\input" not in text
    assert r"30 \%" in text
    assert r"\textbackslash" in text
    assert r"$\uparrow$" in text
    assert text.count(r"\begin{tabular}{lrrr}") == 1
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")} == {3}


def test_csv_holds_every_number() -> None:
    runs = {"a": make_result(scenarios=("label-noise",)), "b": make_result()}
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert len(rows) == sum(len(run.summary) for run in runs.values())
    pd.testing.assert_series_equal(
        pd.Series([float(row["accuracy"]) for row in rows if row["study"] == "b"]),
        runs["b"].summary["accuracy"],
        check_names=False,
    )
