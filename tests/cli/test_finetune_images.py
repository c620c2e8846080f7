"""`monosemy finetune images`, from an encoder's file to tables, curves and words."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from monosemy.encoders.config import BackboneConfig, EncoderSpec, FinetuneConfig, ProjectorConfig
from monosemy.encoders.finetuning import finetune
from monosemy.encoders.image import ImageEncoder, load_encoder, save_encoder
from monosemy.study.engine import write_pages
from monosemy.study.finetuning import VARIANTS, FinetunePlan
from monosemy.study.finetuning.study import _chosen_epochs
from monosemy.study.registry import read_study, study_kind

QUICK = ("--epochs", 2, "--set", "training.batch_size=16", "--label-noise", 0.4, "--n-seeds", 2)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = ImageEncoder(
        EncoderSpec(
            image_shape=(3, 8, 8),
            backbone=BackboneConfig(name="conv", width=4),
            projector=ProjectorConfig(hidden=16, n_features=12),
        )
    )
    path = tmp_path / "simclr" / "encoder.safetensors"
    save_encoder(made, path)
    return path


def test_a_comparison_prints_and_writes_what_it_found(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    assert monosemy("finetune", "images", encoder.parent, "--data", photos, *QUICK, "--out", out) == 0
    said = capsys.readouterr().out
    for words in ("Label noise", "nce-early", "gain over ce", "Verdict", "Nothing was learned:", "Only 2 seeds"):
        assert words in " ".join(said.split()), words
    assert max(len(line) for line in said.splitlines() if str(out) not in line) <= 80
    results = pd.read_parquet(out / "results.parquet")
    assert set(results["variant"]) == set(VARIANTS)
    assert set(results["metric"]) == {"train_accuracy", "validation_accuracy", "accuracy", "chance_accuracy"}
    assert set(zip(results["scenario"], results["level"], strict=True)) == {("clean", 0.0), ("label-noise", 0.4)}
    curves = pd.read_parquet(out / "curves.parquet")
    assert len(curves) == len(VARIANTS) * 2 * 2 * 2 * 3, "variants, cells, seeds, epochs, metrics"
    assert (out / "verdict.txt").read_text().startswith("Nothing was learned: on clean labels (18 test rows)")
    for stem in ("accuracy-label-noise", "curves-clean-0", "curves-label-noise-0.4"):
        assert (out / "figures" / f"{stem}.png").stat().st_size > 1000
    again = tmp_path / "again"
    assert monosemy("finetune", "images", encoder, "--plan", out / "plan.yaml", "--out", again, "--quiet") == 0
    assert (again / "results.parquet").read_bytes() == (out / "results.parquet").read_bytes()


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again(photos: Path, encoder: Path, tmp_path: Path, monosemy) -> None:
    words = (
        "finetune",
        "images",
        encoder,
        "--data",
        photos,
        *QUICK,
        "--variants",
        "ce,nce",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    assert monosemy(*words) == 0
    cells = sorted((tmp_path / "out" / "cells").iterdir())
    assert [cell.name for cell in cells][:2] == ["ce+ce-early-clean-0-0.parquet", "ce+ce-early-clean-0-1.parquet"]
    results = (tmp_path / "out" / "results.parquet").read_bytes()
    times = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[0].unlink()
    cells[1].write_bytes(b"half")
    assert monosemy(*words) == 0
    assert (tmp_path / "out" / "results.parquet").read_bytes() == results
    assert all(cell.stat().st_mtime_ns == times[cell] for cell in cells[2:])


def test_an_encoder_is_finetuned_as_by_hand(photos: Path, encoder: Path, tmp_path: Path, monosemy) -> None:
    """Few labels keep the same rows in every variant; the numbers are those of the function called directly."""
    from monosemy.data.load import load_data
    from monosemy.seeding import derive_seed
    from monosemy.study.conditions import Training, conditions, training_labels

    words = (
        "--scenario", "few-labels", "--set", "few_labels.fractions=0.5", "--epochs", 2,
        "--set", "training.batch_size=8", "--n-seeds", 1,
    )  # fmt: skip
    out = tmp_path / "out"
    assert (
        monosemy(
            "finetune", "images", encoder, "--data", photos, *words, "--variants", "ce,nce", "--out", out, "--quiet"
        )
        == 0
    )
    plan = FinetunePlan.model_validate(yaml.safe_load((out / "plan.yaml").read_text()))
    data = load_data(plan.data, plan.seed)
    labels, _ = training_labels(Training("few", 0.5), conditions(plan, data), data, 0)
    kept = np.flatnonzero(labels >= 0)
    config = FinetuneConfig(epochs=2, batch_size=8, loss="nce", seed=derive_seed(0, "finetune", 0) % 2**31)
    assert isinstance(data.train.inputs, np.ndarray)
    classifier = finetune(load_encoder(encoder), data.train.inputs[kept], labels[kept], 3, config)
    wanted = (classifier.predict(data.test.inputs) == data.test.labels).mean()
    results = pd.read_parquet(out / "results.parquet")
    found = results[
        (results["variant"] == "nce") & (results["scenario"] == "few-labels") & (results["metric"] == "accuracy")
    ]
    assert found["value"].tolist() == [pytest.approx(wanted)]


@pytest.mark.slow
def test_another_encoder_at_the_same_path_is_another_comparison(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "finetune",
        "images",
        encoder,
        "--data",
        photos,
        *QUICK,
        "--variants",
        "ce",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    assert monosemy(*words) == 0
    changed = load_encoder(encoder)
    changed.pixel_mean.fill_(0.9)
    save_encoder(changed, encoder)
    assert monosemy(*words) == 2
    assert "other files of the names in its plan" in capsys.readouterr().err


def test_one_seed_claims_no_interval(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*QUICK, "--epochs", 1, "--n-seeds", 1, "--variants", "ce,nce")
    assert monosemy("finetune", "images", encoder, "--data", photos, *words, "--out", tmp_path / "out") == 0
    verdict = (tmp_path / "out" / "verdict.txt").read_text()
    assert "Nothing was learned: on clean labels (18 test rows)" in verdict
    assert "nan" not in verdict
    assert "Only 1 seed:" in verdict


def test_early_stopping_takes_the_best_epoch_on_validation_alone() -> None:
    rows = []
    for name in ("ce", "ce-early"):
        for epoch, (validation, test) in enumerate([(0.3, 0.9), (0.6, 0.4), (0.5, 0.8)], start=1):
            place = {"variant": name, "scenario": "clean", "level": 0.0, "seed": 0, "epoch": epoch}
            rows += [place | {"metric": "validation_accuracy", "value": validation}]
            rows += [place | {"metric": "accuracy", "value": test}]
    chosen = _chosen_epochs(pd.DataFrame(rows))
    accuracy = chosen[chosen["metric"] == "accuracy"].set_index("variant")
    assert accuracy["epoch"].to_dict() == {"ce": 3, "ce-early": 2}
    assert accuracy["value"].to_dict() == {"ce": 0.8, "ce-early": 0.4}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--variants", "nce"), ("nce", "'ce'", "add it")),
        (("--variants", "ce,magic"), ("variants", "magic")),
        (("--scenario", "magic"), ("scenarios.0", "'magic'", "label-noise", "few-labels")),
        (("--set", "few_labels.fractions=0.5"), ("few_labels", "few-labels; add it")),
        (("--label-noise", "0.9"), ("0.9", "3 classes")),
        (("--label-noise", "much"), ("label_noise.levels", "'much'")),
        (("--n-seeds", "0"), ("n_seeds", "0")),
        (("--set", "training.batch_norm=melted"), ("batch_norm", "melted")),
        (("--set", "training.batchnorm=frozen"), ("training.batchnorm", "closest match: training.batch_norm")),
        (("--set", "epochs"), ("'epochs'", "section.name=value")),
        (("--set", "label_noise.kind=matrix"), ("label_noise.matrix",)),
        (("--n-seeds", "3", "ENCODERS"), ("2 encoder files", "3 seeds")),
        (("--data", "digit-pairs"), ("(3, 8, 8)", "(1, 8, 16)")),
        (("--plan", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--device", "tpu"), ("tpu", "cpu or cuda")),
    ],
)
def test_bad_input_is_one_sentence(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str], words, named
) -> None:
    chosen: object = encoder
    if words[-1] == "ENCODERS":
        words, chosen = words[:-1], f"{encoder},{encoder}"
    assert monosemy("finetune", "images", chosen, "--data", photos, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for word in named:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_a_text_model_is_no_encoder_of_images(photos: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("finetune", "images", "some/model", "--data", photos) == 2
    assert "'some/model' is not a file or folder of `monosemy pretrain`" in capsys.readouterr().err


def test_a_missing_encoder_is_named(photos: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("finetune", "images", "--data", photos) == 2
    assert capsys.readouterr().err == "Error: The command: encoders is missing; give a value.\n"


@pytest.mark.slow
def test_json_is_all_that_is_printed_and_the_folder_is_reported(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("--data", photos, *QUICK, "--variants", "ce,nce", "--out", out)
    assert monosemy("finetune", "images", encoder, *words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(out)
    assert [row["variant"] for row in answer["summary"]] == ["ce", "nce"] * 2
    assert "\n".join([*answer["verdict"], *(f"Warning: {text}" for text in answer["warnings"])]) + "\n" == (
        (out / "verdict.txt").read_text()
    )
    verdict, page = (out / "verdict.txt").read_text(), (out / "report.html").read_text()
    read = read_study(out)
    assert f"{read.verdict}\n" == verdict
    (out / "report.html").unlink()
    write_pages(study_kind("finetuning"), read, out)
    assert (out / "report.html").read_text() == page


@pytest.mark.slow
def test_processes_and_this_process_give_the_same_bits(photos: Path, encoder: Path, tmp_path: Path, monosemy) -> None:
    folders = [tmp_path / name for name in ("in-process", "joblib")]
    for folder in folders:
        words = ("--data", photos, *QUICK, "--variants", "ce,nce-early", "--quiet", "--executor", folder.name)
        assert monosemy("finetune", "images", encoder, *words, "--workers", 2, "--out", folder) == 0
    one, two = (folder / "results.parquet" for folder in folders)
    assert one.read_bytes() == two.read_bytes()
