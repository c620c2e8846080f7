"""Embeddings of test conditions: drawn and embedded once, read by every feature set."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from joblib import parallel_config

from monosemy.core.config import validated
from monosemy.core.executors import ExecutorConfig
from monosemy.data.in_memory import from_arrays
from monosemy.encoders.config import PretrainConfig
from monosemy.encoders.contrastive import make_encoder
from monosemy.encoders.image import save_encoder
from monosemy.errors import InputError
from monosemy.study.conditions import Evaluation, evaluation_inputs, make_cells
from monosemy.study.probing import ProbingPlan, encoders
from monosemy.study.probing.encoders import EncoderBank, EvalEmbeddings
from monosemy.study.probing.study import Study

ARRAYS = (
    np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8), np.arange(60) % 3,
    np.random.default_rng(1).integers(0, 256, (30, 3, 16, 16), dtype=np.uint8), np.arange(30) % 3,
)  # fmt: skip
TINY = {"backbone": {"name": "conv", "width": 4}, "projector": {"n_features": 8}}
SHIFTS = {"dark": (ARRAYS[2] // 2, ARRAYS[3])}
SCENARIOS = {
    "corruptions": {"kinds": ["fog", "contrast"], "severities": [1, 5]},
    "input_noise": {"kind": "gaussian", "levels": [0.2], "protocol": "paper"},
    "scenarios": ["corruptions", "input-noise", "shift"],
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Tasks as threads: starting a process takes longer than all that these tests compute."""
    with parallel_config(backend="threading"):
        yield


@pytest.fixture
def encoder(tmp_path: Path) -> dict[str, object]:
    """Files of untrained encoders, two of each kind."""
    paths = []
    for method in ("simclr", "ncl"):
        for seed in range(2):
            config = PretrainConfig.model_validate({"method": method, "seed": seed} | TINY)
            paths.append(tmp_path / f"{method}-{seed}.safetensors")
            save_encoder(make_encoder(ARRAYS[0], config).eval(), paths[-1])
    return {"name": "files", "files": [str(path) for path in paths]}


@pytest.fixture
def plan(encoder) -> ProbingPlan:
    values = {"encoder": encoder, "features": ["dense", "ncl"], "n_seeds": 2}
    return validated(ProbingPlan, values | SCENARIOS, "test")


@pytest.fixture
def data():
    return from_arrays(*ARRAYS, shifts=SHIFTS)


@pytest.fixture
def bank(plan, data) -> EncoderBank:
    return EncoderBank(plan.encoder, data)


def test_they_are_those_of_the_images_embedded_at_once(plan, data, bank, tmp_path: Path) -> None:
    embedded = EvalEmbeddings(tmp_path / "eval_embeddings", plan, data, bank)
    embedded.prepare(make_cells(plan, data), ("dense", "ncl"), lambda *_: None, ExecutorConfig())
    # 4 corruptions and a shift by 2 x 2 encoders; noise of seed s by the 2 encoders of seed s.
    assert len(list(embedded.folder.rglob("*.safetensors"))) == 5 * 4 + 2 * 2
    for evaluation in (Evaluation("corruption:fog", 5.0), Evaluation("gaussian", 0.2), Evaluation("shift:dark")):
        for base in ("dense", "ncl"):
            inputs, labels = evaluation_inputs(evaluation, plan, data, 1, bank.pixel_std(base, 1))
            kept, kept_labels = embedded.embeddings_for(evaluation, 1, base, 1)
            np.testing.assert_allclose(kept, bank.embed_images(base, 1, inputs), atol=1e-5)
            np.testing.assert_array_equal(kept_labels, labels)


def test_what_is_kept_is_not_made_again_and_what_is_missing_is(
    plan, data, bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded, evaluation = (
        EvalEmbeddings(tmp_path / "eval_embeddings", plan, data, bank),
        Evaluation("corruption:contrast", 5.0),
    )
    first, _ = embedded.embeddings_for(evaluation, 0, "dense", 1)
    monkeypatch.setattr(encoders.conditions, "corrupted", lambda *_: pytest.fail("drawn again"))
    again, _ = embedded.embeddings_for(evaluation, 1, "dense", 1)
    np.testing.assert_array_equal(first, again)
    monkeypatch.undo()
    for file in embedded.folder.rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    np.testing.assert_array_equal(first, embedded.embeddings_for(evaluation, 0, "dense", 1)[0])


def test_parts_make_the_whole(plan, data, bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = Evaluation("corruption:fog", 5.0)
    whole, _ = EvalEmbeddings(tmp_path / "a", plan, data, bank).embeddings_for(evaluation, 0, "dense", 0)
    monkeypatch.setattr(encoders, "_ROWS", 7)
    monkeypatch.setattr(encoders, "_VALUES_AT_ONCE", 1)
    parts, _ = EvalEmbeddings(tmp_path / "b", plan, data, bank).embeddings_for(evaluation, 0, "dense", 0)
    np.testing.assert_allclose(whole, parts, atol=1e-5)


def test_a_full_disk_is_said_before_the_work(plan, data, bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20_000))
    embedded = EvalEmbeddings(tmp_path / "eval_embeddings", plan, data, bank)
    with pytest.raises(InputError, match=r"need 0\.0 GB.*fewer corruptions"):
        # 24 arrays of 30 rows of 8 numbers of 4 bytes are 23,040 bytes.
        embedded.prepare(make_cells(plan, data), ("dense", "ncl"), lambda *_: None, ExecutorConfig())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=24_000))
    embedded.prepare(make_cells(plan, data), ("dense", "ncl"), lambda *_: None, ExecutorConfig())


def test_a_study_of_corruptions_leaves_tables_and_no_embeddings(encoder, tmp_path: Path) -> None:
    study = Study(
        ["dense", "relu", "ncl"], label_noise=None, n_seeds=2, encoder=encoder, classifiers=["ce"],
        corruptions={"kinds": ["fog", "contrast"], "severities": [1, 5]},
    )  # fmt: skip
    result = study.run(*ARRAYS, out=tmp_path / "run")
    assert not (tmp_path / "run" / "eval_embeddings").exists()
    accuracy = result.results[result.results["metric"] == "accuracy"].set_index(
        ["variant", "scenario", "level", "seed"]
    )["value"]
    assert len(accuracy) == 4 * 2 * (1 + 2 * 2 + 2)  # the sets, and the selected one
    for name in ("dense + ce", "relu + ce", "ncl + ce", "selected"):
        kinds = [accuracy[name, f"corruption:{kind}", 5.0, 1] for kind in ("fog", "contrast")]
        assert accuracy[name, "corruption:mean", 5.0, 1] == pytest.approx(np.mean(kinds))
    assert any("severity 5 (mean over kinds)" in sentence for sentence in result.verdict.sentences)
    in_memory = study.run(*ARRAYS)
    assert result.results.equals(in_memory.results)
