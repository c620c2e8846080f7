import itertools
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_study import HOSTILE, make_result
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from monosemy.errors import InputError
from monosemy.features.registry import FEATURE_SETS
from monosemy.report.figures import (
    accuracy_figure,
    drawn,
    gain_against_monosemanticity_figure,
    gain_figure,
    save_figures,
    study_figures,
)
from monosemy.report.style import short, spread, style_of

CURVES = ("label-noise", "few-labels", "input-noise")
DOTS = ("given-labels", "shift:sketch")


def names_of(figure: Figure) -> list[Annotation]:
    return [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]


def test_curves_go_through_the_means_clean_point_first() -> None:
    summary = make_result().summary
    figure = accuracy_figure(summary, "label-noise")
    sae = summary[(summary["variant"] == "sae") & summary["scenario"].isin(["clean", "label-noise"])]
    line = next(line for line in figure.axes[0].lines if line.get_color() == style_of("sae").colour)
    np.testing.assert_allclose(np.asarray(line.get_xdata(), dtype=float), [0, 0.3, 0.6])
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), 100 * sae["accuracy"])


@pytest.mark.parametrize("scenario", CURVES)
def test_every_curve_has_a_band_and_a_name(scenario: str) -> None:
    figure = accuracy_figure(make_result().summary, scenario)
    bands = [child for child in figure.axes[0].get_children() if isinstance(child, PolyCollection)]
    assert len(bands) == 4
    assert {name.get_text() for name in names_of(figure)} == {"dense", "relu", "sae", "dense+cleanlab"}


def test_few_labels_grow_harder_to_the_right() -> None:
    axes = accuracy_figure(make_result().summary, "few-labels").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "50", "10"]
    assert list(axes.get_xticks()) == sorted(axes.get_xticks())


def test_amounts_and_ratios_of_labels_are_on_a_log_scale() -> None:
    summary = make_result(scenarios=("few-labels",)).summary
    counts = summary[summary["scenario"] == "few-labels"].replace(
        {"scenario": {"few-labels": "labels-per-class"}, "level": {0.1: 1.0, 0.5: 10.0}}
    )
    axes = accuracy_figure(pd.concat([summary[summary["scenario"] == "clean"], counts]), "labels-per-class").axes[0]
    # There is no level of clean data: all labels are no number of labels a class.
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "1"]
    np.testing.assert_allclose(axes.get_xticks(), [-1, 0])
    assert axes.get_xlabel() == "Train labels of each class"
    ratios = counts.assign(scenario="imbalance", level=counts["level"] * 10)
    axes = accuracy_figure(pd.concat([summary[summary["scenario"] == "clean"], ratios]), "imbalance").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10", "100"]
    np.testing.assert_allclose(axes.get_xticks(), [0, 1, 2])


def test_gain_figures_leave_the_baseline_to_the_zero_line() -> None:
    axes = gain_figure(make_result().summary, "label-noise").axes[0]
    assert any(np.all(np.asarray(line.get_ydata()) == 0) for line in axes.lines)
    axes = gain_figure(make_result().summary, "shift:sketch").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["relu", "sae", "dense+cleanlab"]


@pytest.mark.parametrize("extra", [(), ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("scenario", CURVES)
def test_names_do_not_lie_on_each_other(scenario: str, extra: tuple[str, ...]) -> None:
    # The extra sets have the very accuracies of relu.
    figure = accuracy_figure(make_result(extra=extra).summary, scenario)
    drawn(figure, "png")
    boxes = [Text.get_window_extent(name) for name in names_of(figure)]  # without the arrow
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert all(upper[0] >= lower[1] - 1 for lower, upper in itertools.pairwise(heights))


def test_names_lie_inside_the_picture() -> None:
    result = make_result(extra=("a-name-as-long-as-it-can-be-shown-at-all",))
    for item in study_figures(result.results, result.summary):
        item.figure.draw_without_rendering()
        for text in item.figure.axes[0].texts:
            box = text.get_window_extent()
            assert item.figure.bbox.x0 <= box.x0, item.stem
            assert box.x1 <= item.figure.bbox.x1, item.stem


def test_monosemanticity_figure_has_a_name_for_every_measured_set() -> None:
    result = make_result()
    figure = gain_against_monosemanticity_figure(result.results, result.summary)
    assert [name.get_text() for name in names_of(figure)] == ["relu", "sae", "dense"]
    boxes = [name.get_window_extent() for name in names_of(figure)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("scenario", [*CURVES, *DOTS, "clean"])
def test_one_seed_has_no_interval_and_still_a_figure(scenario: str) -> None:
    summary = make_result(seeds=1).summary
    for figure in (accuracy_figure(summary, scenario), gain_figure(summary, scenario)):
        drawn(figure, "png")
        assert any("one seed" in text.get_text() for text in figure.axes[0].texts)


def test_monosemanticity_figure_of_one_seed() -> None:
    result = make_result(seeds=1)
    drawn(gain_against_monosemanticity_figure(result.results, result.summary), "png")


def test_what_cannot_be_shown_is_an_input_error() -> None:
    result = make_result()
    with pytest.raises(InputError, match="'fog'"):
        accuracy_figure(result.summary, "fog")
    with pytest.raises(InputError, match="beside the baseline"):
        gain_figure(result.summary[result.summary["variant"] == "dense"], "label-noise")
    clean = make_result(scenarios=())
    with pytest.raises(InputError, match="clean data alone"):
        gain_against_monosemanticity_figure(clean.results, clean.summary)


def test_the_baseline_alone_has_accuracies_only() -> None:
    result = make_result(scenarios=("label-noise",))
    alone = result.summary[result.summary["variant"] == "dense"]
    assert [item.stem for item in study_figures(result.results, alone)] == ["accuracy-label-noise"]


def test_saved_files_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    result = make_result(scenarios=("label-noise", "shift:sketch"))
    first = save_figures(result, tmp_path / "a")
    second = save_figures(result, tmp_path / "b")
    assert {path.name for path in (tmp_path / "a" / "figures").iterdir()} == {path.name for path in first}
    assert "gain-against-monosemanticity.svg" in {path.name for path in first}
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".png":
            with Image.open(one) as picture:
                assert round(picture.info["dpi"][0]) == 150
        elif one.suffix == ".pdf":
            assert one.read_bytes().startswith(b"%PDF-")
        else:
            ElementTree.fromstring(one.read_bytes())


def test_hostile_names_stay_inside_the_folder_and_the_files(tmp_path: Path) -> None:
    result = make_result(extra=(HOSTILE, "$x^{", "nul\x00line\nend"), scenarios=("label-noise", "shift:sketch"))
    result.summary["scenario"] = result.summary["scenario"].replace({"shift:sketch": "shift:../../$a_{"})
    paths = save_figures(result, tmp_path)
    assert all(path.resolve().parent == (tmp_path / "figures").resolve() for path in paths)
    for path in paths:
        if path.suffix == ".svg":
            assert b"<script" not in path.read_bytes()
            ElementTree.fromstring(path.read_bytes())


def test_shifts_whose_names_differ_in_signs_only_get_two_files() -> None:
    result = make_result(scenarios=("shift:sketch",))
    shifted = result.summary[result.summary["scenario"] == "shift:sketch"]
    summary = result.summary[result.summary["scenario"] == "clean"]
    frames = [summary, shifted.assign(scenario="shift:a b"), shifted.assign(scenario="shift:a-b")]
    stems = [item.stem for item in study_figures(result.results, pd.concat(frames))]
    assert len(set(stems)) == len(stems)


def test_figures_leave_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    drawn(accuracy_figure(make_result().summary, "label-noise"), "svg")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("wanted", [[0.0, 0.0, 0.0], [1.0, 1.1, 5.0], [0.0, 10.0]])
def test_spread_keeps_the_gap_and_the_order(wanted: list[float]) -> None:
    places = spread(wanted, 1.0)
    assert np.all(np.diff(places) >= 1 - 1e-9)
    assert np.mean(places) == pytest.approx(np.mean(wanted))


def test_spread_leaves_what_fits() -> None:
    assert spread([0.0, 2.0, 9.0], 1.0) == pytest.approx([0.0, 2.0, 9.0])


def test_short_names() -> None:
    assert short("sae") == "sae"
    assert short("a\nb\x00c") == "a bc"
    assert len(short("x" * 99)) == 26


def test_styles_tell_the_roles_apart() -> None:
    styles = {name: style_of(name) for name in FEATURE_SETS}
    for name, feature in FEATURE_SETS.items():
        assert styles[name].strong == (feature.role == "monosemantic")
        assert bool(styles[name].dashes) == (feature.role == "control")
    looks = [(style.colour, style.dashes, style.marker) for style in (*styles.values(), style_of("dense+cleanlab"))]
    assert len(set(looks)) == len(looks)
