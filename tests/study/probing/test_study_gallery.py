"""What a study keeps for its gallery: which cell, on disk and back, and of which seed."""

from pathlib import Path

import numpy as np
import pytest

from monosemy.errors import InputError
from monosemy.study.conditions import Cell, Evaluation, Training
from monosemy.study.probing.gallery import explained_cell, explanation_path, read_explained
from monosemy.study.probing.study import Study

CLEAN = Cell("clean", 0.0, Training(), Evaluation())


def cell(scenario: str, level: float) -> Cell:
    return Cell(scenario, level, Training(), Evaluation(scenario if ":" in scenario else "clean", level))


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([], CLEAN),
        ([cell("label-noise", 0.3), cell("label-noise", 0.9), cell("few-labels", 0.1)], cell("label-noise", 0.9)),
        ([cell("few-labels", 0.1), cell("few-labels", 0.5)], cell("few-labels", 0.1)),
        ([cell("labels-per-class", 1.0), cell("labels-per-class", 8.0)], cell("labels-per-class", 1.0)),
        ([cell("imbalance", 10.0), cell("imbalance", 50.0)], cell("imbalance", 50.0)),
        ([cell("shift:a", 1.0)], CLEAN),
        ([cell("corruption:fog", 1.0), cell("corruption:fog", 5.0)], cell("corruption:fog", 5.0)),
    ],
)
def test_the_hardest_cell_of_the_first_scenario(cells: list[Cell], wanted: Cell) -> None:
    assert explained_cell([CLEAN, *cells]) == wanted


def test_explanations_are_of_the_first_seed_and_of_the_results(digit_arrays, tmp_path: Path) -> None:
    settings = {"classifiers": ["ce"], "label_noise": [0.5], "sae": {"n_latents": 64, "k": 8, "n_epochs": 2}}
    result = Study(["dense", "sae"], n_seeds=2, **settings).run(*digit_arrays, out=tmp_path / "two")
    Study(["dense", "sae"], n_seeds=1, **settings).run(*digit_arrays, out=tmp_path / "one")
    rows = result.results
    for name in ("dense", "sae"):
        path = explanation_path(tmp_path / "two", name)
        kept = read_explained(path)
        assert (kept.scenario, kept.level) == ("label-noise", 0.5)
        told = rows[(rows["variant"] == f"{name} + ce") & (rows["scenario"] == "label-noise") & (rows["seed"] == 0)]
        accuracy = float(told.loc[told["metric"] == "accuracy", "value"].iloc[0])
        assert float((kept.predictions.predicted == kept.predictions.labels).mean()) == pytest.approx(accuracy)
        np.testing.assert_array_equal(kept.predictions.labels, digit_arrays[3])
        alone = read_explained(explanation_path(tmp_path / "one", name))
        for field, value in kept.explanations._asdict().items():
            np.testing.assert_array_equal(value, getattr(alone.explanations, field), err_msg=field)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    path = explanation_path(tmp_path, "sae")
    path.parent.mkdir()
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"sae\.safetensors is not a readable"):
        read_explained(path)
