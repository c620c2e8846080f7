"""How a study of many kinds of corruption is shown: by its means, and one table of colours."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import make_result
from matplotlib.figure import Figure
from rich.console import Console

from monosemy.corruptions.common import KINDS
from monosemy.errors import InputError
from monosemy.report import tables
from monosemy.report.figures import accuracy_figure, drawn, kinds_figure, save_figures, study_figures
from monosemy.report.html import write_report
from monosemy.report.terminal import print_result, result_json
from monosemy.results.result import StudyResult
from monosemy.results.statistics import summarise, with_means

NAMES = ("dense", "relu", "sae")


def corrupted_study(
    kinds: tuple[str, ...] = KINDS, prefix: str = "corruption:", extra: tuple[str, ...] = (), seeds: int = 4
) -> StudyResult:
    """Each set gains 1 point a kind's number at severity 5; every cell of sae on fog is a clear loss of 20 points."""
    rng = np.random.default_rng(0)
    rows = []
    for place, name in enumerate((*NAMES, *extra)):
        for seed in range(seeds):
            rows.append((name, "clean", 0.0, seed, "accuracy", 0.8 + 0.01 * rng.random()))
            for number, kind in enumerate(kinds):
                for level in (1.0, 3.0, 5.0):
                    gain = -0.2 if (name, kind) == ("sae", "fog") else 0.01 * place * number * level / 5
                    value = 0.6 - 0.05 * level + gain + 0.001 * rng.random()
                    rows.append((name, f"{prefix}{kind}", level, seed, "accuracy", value))
    columns = ["variant", "scenario", "level", "seed", "metric", "value"]
    results = pd.DataFrame(rows, columns=columns)
    results.insert(0, "dataset", "toy")
    results.insert(1, "encoder", "none")
    results = with_means(results)
    return replace(make_result(), results=results, summary=summarise(results))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("prefix", "mean"), [("corruption:", "corruption:mean"), ("shift:cifar-c/", "shift:cifar-c/mean")]
)
def test_the_mean_stands_for_its_kinds_and_begins_with_clean_data(prefix: str, mean: str) -> None:
    summary = corrupted_study(prefix=prefix).summary
    assert tables.scenarios(summary) == [mean]
    assert tables.main_scenario(summary) == mean
    assert tables.levels(tables.scenario_table(summary, mean)) == [0.0, 1.0, 3.0, 5.0]
    assert tables.level_text(mean, 0.0) == "clean"
    assert tables.level_text(mean, 3.0) == "severity 3"
    assert tables.kinds(summary, mean) == [prefix + kind for kind in KINDS]
    assert tables.kinds(summary, "clean") == []


def test_names_in_words() -> None:
    assert tables.scenario_title("corruption:mean") == "Common corruptions, mean over kinds"
    assert tables.scenario_title("shift:c/mean") == "Shift: c, mean over kinds"
    assert tables.scenario_title("corruption:jpeg_compression") == "Corruption: jpeg compression"
    assert tables.scenario_phrase("corruption:fog") == "under fog"
    assert tables.level_text("shift:sketch", 3.0) == "severity 3"
    assert tables.level_text("shift:sketch", 1.0) == "test set"


def test_a_single_kind_is_shown_as_itself() -> None:
    result = corrupted_study(kinds=("fog",))
    assert tables.scenarios(result.summary) == ["corruption:fog"]
    drawn(accuracy_figure(result.summary, "corruption:fog"), "png")
    assert not any(item.kind == "kinds" for item in study_figures(result.results, result.summary))


def test_the_table_of_colours_holds_every_kind_and_set() -> None:
    summary = corrupted_study().summary
    figure = kinds_figure(summary, "corruption:mean")
    drawn(figure, "png")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["dense, %", "relu", "sae"]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["mean", *(kind.replace("_", " ") for kind in KINDS)]
    shown = np.array(texts(figure)).reshape(16, 3)
    cell = summary.set_index(["variant", "scenario", "level"]).loc[("relu", "corruption:snow", 5.0)]
    assert shown[rows.index("snow"), 1] == f"{100 * cell['gain']:+.1f}"
    assert shown[rows.index("fog"), 2].startswith("−2")
    assert shown[rows.index("fog"), 0] in ("35.0", "35.1")
    bold = {text.get_text() for text in axes.texts if text.get_fontweight() == "bold"}
    assert shown[rows.index("fog"), 2] in bold
    assert shown[rows.index("gaussian noise"), 1] not in bold


@pytest.mark.parametrize("seeds", [1, 4])
def test_long_names_missing_cells_and_one_seed(seeds: int) -> None:
    summary = corrupted_study(extra=("a-feature-set-with-a-very-long-name-indeed",), seeds=seeds).summary
    some = summary[~((summary["variant"] == "sae") & (summary["scenario"] == "corruption:snow"))]
    drawn(kinds_figure(some, "corruption:mean"), "png")
    equal = summary.assign(gain=0.0)
    drawn(kinds_figure(equal, "corruption:mean"), "png")


def test_what_has_no_kinds_is_refused() -> None:
    summary = corrupted_study().summary
    with pytest.raises(InputError, match="'shift:c/mean'"):
        kinds_figure(summary, "shift:c/mean")
    with pytest.raises(InputError, match="beside the baseline"):
        kinds_figure(summary[summary["variant"] == "dense"], "corruption:mean")


def test_45_cells_do_not_flood_the_page_the_folder_or_the_terminal(tmp_path: Path) -> None:
    result = corrupted_study()
    names = {path.stem for path in save_figures(result, tmp_path)}
    # No figure of gain against monosemanticity: this study measured none.
    assert names == {"accuracy-corruption-mean", "gain-corruption-mean", "kinds-corruption-mean"}
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert page.count("<h2") <= 6
    assert "Common corruptions, mean over kinds" in page
    assert "glass blur: relu" in page, "the figure's words"
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_result(result, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 80
    assert "summary.csv" in text
    assert "glass" not in text
    assert "corruption:glass_blur" in {row["scenario"] for row in json.loads(result_json(result))["summary"]}
