import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_study import HEADLINE, HOSTILE, make_result, tidy
from rich.console import Console

from monosemy.report.terminal import print_result, result_json
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import summarise


def printed(result: StudyResult, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_result(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def with_levels(result: StudyResult, levels: list[float]) -> StudyResult:
    table = tidy(4, ("label-noise",), (), "toy")
    clean, noisy = table[table["scenario"] == "clean"], table[table["level"] == 0.3]
    for level in levels:
        clean = pd.concat([clean, noisy.assign(level=level)], ignore_index=True)
    return StudyResult(result.plan, clean, summarise(clean), result.verdict, (), result.costs)


@pytest.mark.parametrize("extra", [(), ("a-feature-set-with-a-very-long-name-indeed",)])
def test_eighty_columns_hold(extra: tuple[str, ...]) -> None:
    long = Verdict(("A sentence that goes on and on. " * 9,), ("A warning that goes on and on. " * 9,), HEADLINE)
    text = printed(make_result(extra=extra, verdict=long))
    assert max(len(line.rstrip("\n")) for line in text.splitlines()) <= 80
    # Rich shortens what does not fit; nothing may be shortened but long names, which end in three dots.
    assert "…" not in text


def test_everything_is_said() -> None:
    text = printed(make_result())
    for said in (
        "Label noise: accuracy, %", "Label noise at 60 %: gain over dense, points", "Few labels at 10 %",
        "Input noise at 0.25", "Given labels: gain", "Shift: sketch: accuracy", "17.3 % wrong", "interval", "outcome",
            "better",
        "Holm p", "Features", "97.0 %", "1024", "sae beats dense.", "The warning of the study.", "Dropped 3 rows.",
        "dense+cleanlab",
    ):  # fmt: skip
        assert said in text, said


def test_the_numbers_are_those_of_the_summary() -> None:
    result = make_result(scenarios=("label-noise",))
    text = printed(result)
    sae = result.summary[(result.summary["variant"] == "sae") & (result.summary["level"] == 0.6)].iloc[0]
    half = 50 * (sae["accuracy_high"] - sae["accuracy_low"])
    assert f"{100 * sae['accuracy']:.1f} ±{half:.1f}" in text
    assert f"{100 * sae['gain']:+.1f}" in text
    assert f"{100 * sae['gain_low']:+.1f} to {100 * sae['gain_high']:+.1f}" in text


def test_many_levels_are_split_over_tables() -> None:
    levels = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    text = printed(with_levels(make_result(), levels))
    assert max(map(len, text.splitlines())) <= 80
    heads = [line for line in text.splitlines() if " %" in line and "±" not in line and ":" not in line][:2]
    assert sum(head.count(" %") for head in heads) == len(levels)
    assert all(head.count(" %") + head.count("clean") <= 6 for head in heads)
    wide = printed(with_levels(make_result(), levels), width=200).split("(continued)")
    assert len(wide) == 2


def test_one_seed() -> None:
    text = printed(make_result(seeds=1))
    assert "nan" not in text.lower()
    assert "–" in text


def test_names_are_no_markup() -> None:
    text = printed(
        make_result(extra=("[red]x[/red]", "[/]"), verdict=Verdict(("Sentence [bold]of[/bold] x.",), (), HEADLINE))
    )
    assert "[red]x[/red]" in text
    assert "[/]" in text
    assert "Sentence [bold]of[/bold] x." in text


def test_the_report_is_named_where_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    assert f"Results in {folder}\n" in printed(make_result(folder=folder))
    (folder / "report.html").touch()
    assert f"Results in {folder / 'report.html'}\n" in printed(make_result(folder=folder))
    assert "Results in" not in printed(make_result())


def test_json_is_whole_and_without_nan(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    result = make_result(seeds=1, extra=(HOSTILE,), folder=tmp_path)
    answer = json.loads(result_json(result), parse_constant=refuse)
    assert answer["headline"] == list(result.verdict.headline)
    assert answer["verdict"] == list(result.verdict.sentences)
    assert answer["warnings"] == list(result.verdict.warnings)
    assert answer["notices"] == ["Dropped 3 rows."]
    assert answer["folder"] == str(tmp_path)
    assert len(answer["summary"]) == len(result.summary)
    first = answer["summary"][0]
    assert first["variant"] == "dense"
    assert first["accuracy"] == pytest.approx(0.90)
    assert first["seeds"] == 1
    assert first["accuracy_low"] is None
    assert first["gain"] is None
    explained = {row["variant"]: row["value"] for row in answer["metrics"] if row["metric"] == "explained_variance"}
    assert explained["dense"] is None
    assert explained["sae"] == pytest.approx(0.97)


def test_the_terminal_does_not_wait_for_matplotlib() -> None:
    code = "import sys, monosemy.report.terminal; print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" in answer.stdout.split()[0]
