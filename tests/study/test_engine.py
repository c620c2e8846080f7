"""The study engine, with a kind of study that only counts: folders, resuming, refusals, executors, reading back."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_study
from tiny_study import TinyPlan, TinyStudy, tiny_data

from monosemy.core.distributed import Processes
from monosemy.core.executors import ExecutorConfig
from monosemy.core.files import FolderLock
from monosemy.errors import InputError, ResourceError
from monosemy.results.result import StudyResult
from monosemy.study import registry
from monosemy.study.conditions import Training, conditions, training_labels
from monosemy.study.engine import run_study
from monosemy.study.folder import read_costs
from monosemy.study.registry import read_plan, read_study, study_kind

IN_PROCESS = ExecutorConfig(name="in-process")
LEVELS = {"label_noise": {"levels": [0.2, 0.5]}}
N_JOBS = 3 * 3 * 2
"""Seeds, cells, variants, and the follow-up."""
OUTPUTS = ("results.parquet", "draws.parquet", "summary.csv", "verdict.txt", "messages.txt", "plan.yaml")


def plan(**changes: Any) -> TinyPlan:
    return TinyPlan.model_validate(LEVELS | changes)


def run(folder: Path | None, given: TinyPlan | None = None, **options: Any) -> StudyResult:
    settings: dict[str, Any] = {"executor": IN_PROCESS, "report": False, "data": tiny_data()} | options
    data = settings.pop("data")
    return run_study(TinyStudy(), plan() if given is None else given, data, folder, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def cells(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in sorted((folder / "cells").glob("[!.]*.parquet"))}


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was computed since the last call, in its order."""
    path = tmp_path / "notes.txt"
    monkeypatch.setenv("TINY_NOTES", str(path))

    def since() -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    return since


def test_the_tidy_table_is_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    result = run(tmp_path / "out")
    assert list(result.results.columns) == [
        "dataset", "encoder", "variant", "scenario", "level", "seed", "metric", "value",
    ]  # fmt: skip
    accuracy = result.results[result.results["metric"] == "accuracy"]
    places = list(zip(accuracy["seed"], accuracy["scenario"], accuracy["level"], accuracy["variant"], strict=True))
    wanted = [
        (seed, scenario, level, name)
        for seed in range(3)
        for scenario, level in (("clean", 0.0), ("label-noise", 0.2), ("label-noise", 0.5))
        for name in ("plain", "mono")
    ]
    assert places == wanted
    stored = pd.read_parquet(tmp_path / "out" / "results.parquet")
    pd.testing.assert_frame_equal(stored, result.results, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "draws.parquet"), result.tables["draws"])


def test_the_summary_pairs_variants_over_seeds(tmp_path: Path) -> None:
    result = run(tmp_path / "out")
    wide = result.results[result.results["metric"] == "accuracy"].pivot(
        index=["scenario", "level", "seed"], columns="variant", values="value"
    )
    difference = (wide["mono"] - wide["plain"]).loc["label-noise", 0.5]
    row = result.summary.set_index(["variant", "scenario", "level"]).loc[("mono", "label-noise", 0.5)]
    assert row["gain"] == pytest.approx(difference.mean())
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    assert len(result.summary) == 6
    written = pd.read_csv(tmp_path / "out" / "summary.csv")
    pd.testing.assert_frame_equal(written, result.summary, check_dtype=False)


def test_the_folder_holds_words_messages_and_costs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(out)
    assert (out / "verdict.txt").read_text() == "Counted: plain, mono.\nDraws: 18.\nWarning: It is only counting.\n"
    assert str(result.verdict) + "\n" == (out / "verdict.txt").read_text()
    assert (out / "messages.txt").read_text() == "One row was left out.\n"
    assert result.messages == ("One row was left out.",)
    assert (out / "finished.txt").read_text() == str(len(result.results))
    costs = read_costs(out / "costs.csv")
    assert list(costs["variant"]) == [*("plain", "mono") * 9]
    assert (costs["seeds"] == 1).all()
    assert (costs[["seconds", "probe_seconds"]] >= 0).all(axis=None)
    assert costs["encoder_seconds"].isna().all(), "not measured"
    pd.testing.assert_frame_equal(costs, result.costs.round(12), check_dtype=False)
    assert "label_noise" in (out / "plan.yaml").read_text()
    assert "few_labels" not in (out / "plan.yaml").read_text(), "settings of scenarios that are not run"


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    result = run(None)
    assert result.folder is None
    assert list(tmp_path.iterdir()) == [temporary]
    assert not list(temporary.iterdir())
    pd.testing.assert_frame_equal(result.results, run(tmp_path / "out").results, check_exact=True)


def test_figures_and_page_are_written_unless_they_are_not_wanted(tmp_path: Path) -> None:
    run(tmp_path / "out", report=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Counted: plain, mono." in page
    assert "monosemy tiny --plan plan.yaml" in page
    assert (tmp_path / "out" / "figures" / "accuracy-label-noise.png").stat().st_size > 1000
    run(tmp_path / "plain")
    assert not (tmp_path / "plain" / "report.html").exists()


def test_a_finished_study_computes_nothing_again(tmp_path: Path, notes: Callable[[], list[str]]) -> None:
    run(tmp_path / "out")
    assert notes()[0] == "prepare"
    before, times = contents(tmp_path / "out"), cells(tmp_path / "out")
    assert len(times) == N_JOBS
    run(tmp_path / "out")
    assert notes() == [], "neither jobs nor what they share"
    assert contents(tmp_path / "out") == before
    assert cells(tmp_path / "out") == times


def test_a_failed_job_leaves_the_others_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: Callable[[], list[str]]
) -> None:
    calm, out = tmp_path / "calm", tmp_path / "out"
    run(calm)
    notes()
    monkeypatch.setenv("TINY_FAIL", "mono-label-noise-0.2-1")
    with pytest.raises(InputError, match=r"mono-label-noise-0\.2-1 fails"):
        run(out)
    kept = cells(out)
    assert len(kept) == 9
    assert not (out / "results.parquet").exists()
    monkeypatch.delenv("TINY_FAIL")
    notes()
    run(out)
    assert notes() == ["prepare", *(name for name in job_names() if name not in kept)]
    assert contents(out) == contents(calm)
    assert {name: time for name, time in cells(out).items() if name in kept} == kept


def job_names() -> list[str]:
    return [job.name for job in TinyStudy().jobs(plan(), tiny_data())]


@pytest.mark.parametrize("job", ["plain-clean-0-0", "mono-label-noise-0.2-2"])
def test_a_killed_process_is_resumed_to_the_same_bytes(tmp_path: Path, job: str) -> None:
    calm = tmp_path / "calm"
    run(calm, TinyPlan())
    out = tmp_path / "out"
    command = [sys.executable, tiny_study.__file__, str(out)]
    killed = subprocess.run(command, env=os.environ | {"TINY_KILL": job}, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(cells(out)) < len(cells(calm))
    assert not (out / "results.parquet").exists()
    run(out, TinyPlan())
    assert contents(out) == contents(calm)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    before = contents(tmp_path / "out")
    for changed in (plan(n_seeds=2), plan(seed=1), plan(label_noise={"levels": [0.2]}), plan(variants=["plain"])):
        with pytest.raises(InputError, match="holds another plan"):
            run(tmp_path / "out", changed)
    assert contents(tmp_path / "out") == before


def test_other_data_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    other = tiny_data()
    changed = other.test.labels.copy()
    changed[0] += 1
    for data in (tiny_data(61), replace(other, test=replace(other.test, labels=changed))):
        with pytest.raises(InputError, match="was made from other data"):
            run(tmp_path / "out", data=data)


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    bonus = tmp_path / "bonus.txt"
    bonus.write_text("0.25")
    run(tmp_path / "out", plan(bonus=bonus))
    run(tmp_path / "out", plan(bonus=bonus))
    bonus.write_text("0.5")
    with pytest.raises(InputError, match="other files of the names in its plan"):
        run(tmp_path / "out", plan(bonus=bonus))


def test_another_matrix_of_label_noise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    matrix = np.array([[0.8, 0.2, 0.0], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]])
    np.savetxt(path, matrix, delimiter=",")
    given = plan(label_noise={"kind": "matrix", "matrix": str(path), "levels": [1.0]})
    first = run(tmp_path / "out", given)
    pd.testing.assert_frame_equal(run(tmp_path / "out", given).results, first.results, check_exact=True)
    np.savetxt(path, matrix[::-1, ::-1], delimiter=",")
    with pytest.raises(InputError, match="other files of the names in its plan"):
        run(tmp_path / "out", given)
    path.unlink()
    with pytest.raises(InputError, match=r"matrix\.csv cannot be read"):
        run(tmp_path / "out", given)


def test_a_matrix_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"
    np.save(path, np.array([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]]))
    given, data = plan(label_noise={"kind": "matrix", "matrix": str(path), "levels": [1.0]}), tiny_data(3000)
    read = conditions(given, data)
    path.unlink()
    noisy, _ = training_labels(Training("matrix", 1.0), read, data, 0)
    assert (noisy == data.train.labels).mean() == pytest.approx(0.7, abs=0.03)
    np.testing.assert_array_equal(noisy, training_labels(Training("matrix", 1.0), read, data, 0)[0])


def test_other_versions_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    path = tmp_path / "out" / "environment.json"
    path.write_text(path.read_text().replace('"numpy": "', '"numpy": "0.'))
    with pytest.raises(InputError, match="was made with other versions"):
        run(tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no study"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_plan_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the baseline; add it"):
        run(tmp_path / "out", plan(variants=["mono"]))
    with pytest.raises(InputError, match="3 classes"):
        run(tmp_path / "out", plan(label_noise={"levels": [0.9]}))
    assert not (tmp_path / "out").exists()


def test_the_lock_keeps_a_second_run_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    lock = FolderLock(out)
    with pytest.raises(InputError, match="Another run is writing into"):
        run(out)
    lock.release()
    run(out)


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_cell_is_computed_again(
    tmp_path: Path, damage: bytes | None, notes: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    run(out)
    before = contents(out)
    path = out / "cells" / "mono-clean-0-1.parquet"
    whole = path.read_bytes()
    if damage is None:  # one bit
        place = whole.index(b"accuracy")
        damage = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    path.write_bytes(damage)
    notes()
    run(out)
    assert notes() == ["prepare", "mono-clean-0-1"]
    assert "mono-clean-0-1.parquet is damaged" in caplog.text
    assert contents(out) == before
    assert path.read_bytes() == whole


def test_processes_and_this_process_give_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "many", executor=ExecutorConfig(name="joblib", workers=2))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_a_failure_in_a_worker_is_said_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_FAIL", "plain-clean-0-0")
    for executor in (IN_PROCESS, ExecutorConfig(name="joblib", workers=2)):
        with pytest.raises(InputError, match="The job plain-clean-0-0 fails; mend it"):
            run(tmp_path / executor.name, executor=executor)


@pytest.mark.parametrize("error", [MemoryError("8 TiB"), OSError(28, "No space left on device")])
def test_exhausted_resources_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TinyStudy, "run", fail)
    with pytest.raises(ResourceError, match="finished work is kept"):
        run(tmp_path / "out")


def test_a_kind_for_one_process_refuses_torchrun(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`monosemy tiny` computes .* torchrun started 2"):
        run(tmp_path / "out", processes=Processes(0, 2, tiny_device()))
    assert not (tmp_path / "out").exists()


def tiny_device() -> Any:
    import torch

    return torch.device("cpu")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "tiny", "tiny_study:TinyStudy")


@pytest.mark.usefixtures("registered")
def test_a_finished_study_is_read_back(tmp_path: Path) -> None:
    result = run(tmp_path / "out")
    assert isinstance(study_kind("tiny"), TinyStudy)
    read = read_study(tmp_path / "out")
    assert read.plan == result.plan
    assert read_plan(tmp_path / "out" / "plan.yaml") == result.plan
    pd.testing.assert_frame_equal(read.results, result.results, check_exact=True)
    pd.testing.assert_frame_equal(read.summary, result.summary, check_exact=True)
    pd.testing.assert_frame_equal(read.tables["draws"], result.tables["draws"], check_exact=True)
    assert (read.verdict, read.messages, read.folder) == (result.verdict, result.messages, tmp_path / "out")
    assert list(read.costs["variant"]) == list(result.costs["variant"])
    assert "tiny study of numbers: plain, mono; 3 seeds" in repr(read)
    # The plan that was read runs again to the same bytes.
    kind: Any = study_kind("tiny")
    again = run_study(kind, read.plan, kind.load(read.plan), tmp_path / "again", executor=IN_PROCESS)
    assert again.folder is not None
    assert contents(again.folder) == contents(tmp_path / "out")


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_read_back_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="holds no study"):
        read_study(tmp_path)
    run(out)
    (out / "messages.txt").write_bytes(b"\xff\xfe")
    (out / "costs.csv").write_text("nothing")
    with pytest.raises(InputError, match=r"messages\.txt cannot be read"):
        read_study(out)
    faults: list[str] = []
    read = read_study(out, faults)
    assert len(faults) == 2
    assert read.messages == ()
    assert read.costs.empty
    (out / "draws.parquet").write_bytes(b"half")
    with pytest.raises(InputError, match=r"draws\.parquet cannot be read"):
        read_study(out)
    (out / "results.parquet").unlink()
    with pytest.raises(InputError, match="is not finished"):
        read_study(out)
    (out / "plan.yaml").write_text("kind: magic\n")
    with pytest.raises(InputError, match="The kind of study 'magic' is unknown; choose among probing"):
        read_plan(out / "plan.yaml")
