"""Costs: what was measured, what was not, and a log that a kill cut short."""

import json
import math
import mmap
from pathlib import Path

import numpy as np
import pytest

from monosemy.errors import InputError
from monosemy.study.folder import COLUMNS, COSTS, Meter, PeakMemory, costs_table, logged_costs, read_costs
from monosemy.study.probing.study import Study


def test_parts_add_up() -> None:
    meter = Meter()
    for _ in range(3):
        with meter.timed("fit_seconds"):
            sum(range(10_000))
    with meter.timed("seconds"):
        pass
    assert meter.spent["fit_seconds"] > meter.spent["seconds"] >= 0


def test_the_peak_is_that_of_this_work_alone() -> None:
    first = PeakMemory()
    block = mmap.mmap(-1, 64 * 2**20)  # an array may get memory that the process had freed, and kept
    block.write(b"x" * len(block))
    peak = first.mib()
    if math.isnan(peak):
        pytest.skip("this system does not tell the peak")
    block.close()
    assert PeakMemory().mib() < peak - 48


def test_a_cut_line_of_the_log_costs_no_other(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    whole = json.dumps({"event": "block", "name": "sae-0", "seconds": 2.5, "fit_seconds": 1.5})
    log.write_text(f'{{"event": "start"}}\n{whole}\n{{"event": "block", "na')
    assert logged_costs(log) == {"sae-0": {"seconds": 2.5, "fit_seconds": 1.5}}


def test_the_table_is_read_back(tmp_path: Path) -> None:
    table = costs_table([("sae", 2, {"seconds": 2.0}), ("dense", 1, {})])
    assert list(table.columns) == list(COLUMNS)
    table.to_csv(tmp_path / COSTS, index=False)
    assert read_costs(tmp_path / COSTS).equals(table)


@pytest.mark.parametrize("content", [b"", b"features\nsae\n", b"\xff\xfe\x00bad", b"a,b\n1,2\n"])
def test_a_damaged_table_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / COSTS).write_bytes(content)
    with pytest.raises(InputError, match=COSTS):
        read_costs(tmp_path / COSTS)


@pytest.mark.slow
def test_a_resumed_study_knows_what_the_killed_one_took(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    rows = rng.normal(size=(120, 4)).astype(np.float32) + 2 * np.eye(3, 4, dtype=np.float32)[labels]
    study = Study(["dense", "relu"], label_noise=[0.3], n_seeds=2)
    first = study.run(rows[:80], labels[:80], rows[80:], labels[80:], out=tmp_path)
    assert list(first.costs["variant"]) == ["dense", "relu"]
    assert (first.costs["seeds"] == 2).all()
    parts = first.costs[["fit_seconds", "probe_seconds"]].sum(axis=1)
    assert (parts < first.costs["seconds"]).all()
    assert first.costs["encoder_seconds"].isna().all()
    (tmp_path / "cells" / "relu-0-1.parquet").unlink()
    again = study.run(rows[:80], labels[:80], rows[80:], labels[80:], out=tmp_path)
    assert again.costs.loc[0, "seconds"] == pytest.approx(first.costs.loc[0, "seconds"], abs=1e-3)
    assert again.costs.loc[1, "seconds"] > 0
    assert read_costs(tmp_path / COSTS).round(6).equals(again.costs.round(6))
    assert "seconds" not in set(again.results["metric"])
