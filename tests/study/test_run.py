"""The study as a whole, on real digits as embeddings."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monosemy.data.in_memory import from_arrays
from monosemy.errors import InputError
from monosemy.functional.separability import class_moments
from monosemy.metrics.dimensions import FORMS, mean_separability
from monosemy.study.probing.prediction import prediction_sections
from monosemy.study.probing.study import Study

SAE = {"n_latents": 128, "k": 8, "n_epochs": 5}
CLASSIFIERS = ("ce", "knn")
RULES = {"selected", "selected dense", "selected monosemantic"}


@pytest.fixture(scope="module")
def result(digit_arrays, tmp_path_factory):
    study = Study(
        ["dense", "relu", "whitened", "random-topk", "sae"], label_noise=[0.6], few_labels=[0.1], n_seeds=3, sae=SAE,
        classifiers=CLASSIFIERS, probe={"cross_check": True},
    )  # fmt: skip
    _, _, x_test, y_test = digit_arrays
    return study.run(
        *digit_arrays, shifts={"darker": (x_test * 0.5, y_test)}, out=tmp_path_factory.mktemp("runs") / "digits"
    )


def test_every_cell_of_every_feature_set_is_there(result) -> None:
    accuracy = result.results[result.results["metric"] == "accuracy"]
    # clean, label noise, few labels, shift: 4 cells, 5 feature sets, 2 classifiers, 3 seeds; and the selected pairs
    assert len(accuracy[accuracy["variant"].isin(RULES)]) == 4 * 3 * 3
    assert len(accuracy) == 4 * 5 * 2 * 3 + 4 * 3 * 3
    assert not accuracy.duplicated(["variant", "scenario", "level", "seed"]).any()
    assert accuracy["value"].between(0, 1).all()


def test_accuracy_is_that_of_real_learning(result) -> None:
    summary = result.summary.set_index(["variant", "scenario"])["accuracy"]
    for name in ("dense + ce", "dense + knn", "selected"):
        assert summary[name, "clean"] > 0.9
        assert summary[name, "clean"] > summary[name, "label-noise"] > 0.5
        assert summary[name, "clean"] > summary[name, "few-labels"] > 0.6


def test_the_selected_pair_is_the_best_by_noisy_validation(result) -> None:
    table = result.results
    accuracy = table[table["metric"] == "accuracy"].set_index(["variant", "scenario", "level", "seed"])
    noisy = table[table["metric"] == "validation_accuracy"]
    candidates = {
        "selected": [f"{f} + {c}" for f in ("dense", "relu", "whitened", "random-topk", "sae") for c in CLASSIFIERS],
        "selected dense": ["dense + ce", "dense + knn"],
        "selected monosemantic": ["sae + ce", "sae + knn"],
    }
    for rule, names in candidates.items():
        for (scenario, level, seed), cell in noisy[noisy["variant"].isin(names)].groupby(["scenario", "level", "seed"]):
            values = cell.set_index("variant")["value"]
            chosen = max(names, key=lambda name: values[name])  # the first of equals
            mine, its = accuracy.loc[(rule, scenario, level, seed)], accuracy.loc[(chosen, scenario, level, seed)]
            assert mine["value"] == its["value"]
            assert f"{mine['features']} + {mine['classifier']}" == chosen
            regret = table[(table["variant"] == rule) & (table["metric"] == "regret")].set_index(
                ["scenario", "level", "seed"]
            )["value"]
            means = {name: accuracy.loc[(name, scenario, level)]["value"].mean() for name in names}
            best = max(names, key=lambda name: means[name])
            assert regret[scenario, level, seed] == accuracy.loc[(best, scenario, level, seed)]["value"] - mine["value"]


def test_every_feature_set_is_measured(result) -> None:
    metrics = result.results.groupby(["variant", "metric"])["value"].mean()
    for name in ("dense", "sae"):
        assert 0 < metrics[name, "semantic_consistency"] <= 1
        assert metrics[name, "l0"] > 0
    assert metrics["sae", "l0"] <= SAE["k"]
    assert 0 < metrics["sae", "explained_variance"] < 1


def test_separability_is_that_of_the_clean_train_codes_mixed_by_the_noise(result, digit_arrays) -> None:
    measured = result.results[result.results["metric"].isin(FORMS)]
    values = measured.set_index(["variant", "scenario", "seed", "metric"])["value"]
    assert len(values) == 5 * 2 * 3 * 2  # not for few labels, nor for the shift
    train = from_arrays(*digit_arrays).train
    moments = class_moments(train.inputs, train.labels, 10)
    for scenario, eta in (("clean", 0.0), ("label-noise", 0.6)):
        for metric, value in mean_separability(moments, eta).items():
            assert values["dense", scenario, 2, metric] == pytest.approx(value)
    assert values["sae", "label-noise", 0, "separability_d"] < values["sae", "clean", 0, "separability_d"]
    (section,) = prediction_sections(result.results)
    assert "Separability d of the train codes" in section.note


def test_exact_optimum_agrees_with_the_engine(result) -> None:
    first = result.results[result.results["seed"] == 0]
    exact = first[first["metric"] == "exact_accuracy"].set_index(["variant", "scenario"])["value"]
    ours = first[first["metric"] == "accuracy"].set_index(["variant", "scenario"])["value"]
    assert len(exact) == 2 * 5
    assert (exact - ours[exact.index]).abs().max() < 0.05
    assert (exact - ours[exact.index]).abs().mean() < 0.015


def test_the_folder_is_complete(result) -> None:
    files = {path.name for path in result.folder.iterdir()}
    assert files >= {"plan.yaml", "results.parquet", "summary.csv", "environment.json", "log.jsonl", "verdict.txt"}
    stored = pd.read_parquet(result.folder / "results.parquet")
    pd.testing.assert_frame_equal(stored, result.results)
    assert list(stored.columns) == [
        "dataset", "encoder", "variant", "scenario", "level", "seed", "metric", "value", "features", "classifier",
    ]  # fmt: skip
    events = [json.loads(line)["event"] for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert events[0] == "start"
    assert events.count("block") == 3 + 2 * 3  # the seeds of deterministic features share a block


def test_same_plan_same_numbers_without_a_folder(digit_arrays) -> None:
    study = Study(["dense", "sae"], label_noise=[0.6], n_seeds=2, sae=SAE, classifiers=CLASSIFIERS)
    first, second = study.run(*digit_arrays), study.run(*digit_arrays)
    pd.testing.assert_frame_equal(first.results, second.results, check_exact=True)


def test_a_folder_with_another_plan_is_refused_and_kept(result, digit_arrays) -> None:
    before = (result.folder / "results.parquet").read_bytes()
    with pytest.raises(InputError, match="another plan"):
        Study(["dense"], label_noise=[0.5], n_seeds=2).run(*digit_arrays, out=result.folder)
    assert (result.folder / "results.parquet").read_bytes() == before


def test_a_folder_with_other_files_is_refused(digit_arrays, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds no study"):
        Study(["dense"], label_noise=[0.5], n_seeds=2).run(*digit_arrays, out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_cleanlab_is_a_further_row(digit_arrays) -> None:
    pytest.importorskip("cleanlab", reason="the extra 'cleanlab' is not installed")
    result = Study(["dense"], label_noise=[0.4], n_seeds=1, classifiers=("ce", "cleanlab")).run(*digit_arrays)
    rows = result.summary[result.summary["variant"] == "dense + cleanlab"].set_index("scenario")
    assert rows.loc["clean", "accuracy"] > 0.9
    assert rows.loc["label-noise", "accuracy"] > 0.7


def _command(data: Path, out: Path) -> list[str]:
    words = ["study", "--data", str(data), "--out", str(out), "--features", "dense,sae", "--label-noise", "0.3,0.6"]
    words += ["--classifiers", "ce,knn", "--n-seeds", "4", "--set", "sae.n_latents=64", "--set", "sae.k=4"]
    return [sys.executable, "-m", "monosemy", *words]


@pytest.mark.slow
def test_killed_and_resumed_gives_the_numbers_of_an_undisturbed_run(digit_file: Path, tmp_path: Path) -> None:
    environment = os.environ | {"MONOSEMY_CACHE": str(tmp_path / "cache")}
    disturbed, calm = tmp_path / "disturbed", tmp_path / "calm"
    said = tmp_path / "said.txt"
    with said.open("w") as stream:
        process = subprocess.Popen(
            _command(digit_file, disturbed), env=environment, start_new_session=True, stdout=stream, stderr=stream
        )
    deadline = time.monotonic() + 240
    while not list(disturbed.glob("cells/[!.]*.parquet")):
        assert process.poll() in (None, 0), said.read_text()
        assert time.monotonic() < deadline, "no block was finished"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(disturbed.glob("cells/[!.]*.parquet")))
    for out in (disturbed, calm):
        subprocess.run(_command(digit_file, out), env=environment, check=True, stdout=subprocess.DEVNULL)
    assert kept >= 1
    log = [json.loads(line) for line in (disturbed / "log.jsonl").read_text().splitlines()]
    blocks = [entry["name"] for entry in log if entry["event"] == "block"]
    assert len(blocks) == len(set(blocks)), "none was computed twice"
    assert len(blocks) >= 4  # of 5: a block may be stored and the process killed before the log says so
    assert (disturbed / "results.parquet").read_bytes() == (calm / "results.parquet").read_bytes()
    assert (disturbed / "report.html").is_file()


@pytest.mark.slow
def test_one_block_made_again_alone_gives_the_same_bits(tmp_path: Path) -> None:
    # A single task runs in this very process, where libraries would use every core, were they not held to one.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 1500)
    x = (rng.standard_normal((4, 256))[y] + 2 * rng.standard_normal((1500, 256))).astype(np.float32)
    study = Study(["dense", "relu", "whitened"], label_noise=[0.3], n_seeds=2, classifiers=CLASSIFIERS)
    arrays = (x[:1000], y[:1000], x[1000:], y[1000:])
    first = study.run(*arrays, out=tmp_path / "run")
    next((tmp_path / "run" / "cells").glob("whitened-*.parquet")).unlink()
    pd.testing.assert_frame_equal(first.results, study.run(*arrays, out=tmp_path / "run").results, check_exact=True)


def test_default_rates_leave_out_what_ten_classes_forbid(digit_arrays) -> None:
    plan = Study().plan(from_arrays(*digit_arrays))
    assert plan.scenarios == ("label-noise",)
    assert plan.label_noise.levels == (0.05, 0.1, 0.2, 0.4, 0.6)


def test_other_versions_do_not_mix(digit_arrays, tmp_path: Path) -> None:
    study = Study(["dense"], label_noise=[0.3], n_seeds=1)
    study.run(*digit_arrays, out=tmp_path / "run")
    path = tmp_path / "run" / "environment.json"
    path.write_text(path.read_text().replace('"torch": "', '"torch": "0.'))
    with pytest.raises(InputError, match="other versions"):
        study.run(*digit_arrays, out=tmp_path / "run")


@pytest.mark.slow
def test_damaged_block_is_made_again(digit_arrays, tmp_path: Path) -> None:
    study = Study(["dense", "sae"], label_noise=[0.6], n_seeds=2, sae=SAE, classifiers=CLASSIFIERS)
    first = study.run(*digit_arrays, out=tmp_path / "run")
    block = next((tmp_path / "run" / "cells").glob("sae-0.parquet"))
    block.write_bytes(block.read_bytes()[:100])
    second = study.run(*digit_arrays, out=tmp_path / "run")
    pd.testing.assert_frame_equal(first.results, second.results, check_exact=True)


def test_arrays_of_images_go_through_both_encoders(digit_arrays) -> None:
    x_train, y_train, x_test, y_test = digit_arrays
    images = [x.reshape(-1, 1, 8, 8) / np.float32(16) for x in (x_train, x_test)]
    study = Study(
        ["dense", "ncl"],
        label_noise=[0.4],
        input_noise={"levels": [0.3], "kind": "gaussian"},
        n_seeds=1,
        classifiers=["ce"],
        encoder={"name": "contrastive", "contrastive": {"steps": 30, "projector": {"n_features": 32}}},
    )
    result = study.run(images[0], y_train, images[1], y_test)
    assert set(result.summary["variant"]) == {"dense + ce", "ncl + ce", "selected"}
    assert set(result.summary["scenario"]) == {"clean", "label-noise", "input-noise"}
