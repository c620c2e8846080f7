"""`monosemy pretrain` as a user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from monosemy.encoders.config import ENCODER_FILE, PRESETS
from monosemy.encoders.image import embed, load_encoder
from monosemy.training.checkpoint import RunFolder

TINY = (
    "--preset",
    "digit-pairs",
    "--batch-size",
    16,
    "--set",
    "augmentation=natural",
    "--set",
    "projector.n_features=12",
)
CONFIG = "steps: 6\nprojector: {hidden: 16}\nbackbone: {name: conv, width: 4}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def test_an_encoder_comes_out_and_goes_into_a_study(
    photos: Path, config: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for method in ("simclr", "ncl"):
        out = tmp_path / method
        assert monosemy("pretrain", "--data", photos, "--method", method, "--plan", config, *TINY, "--out", out) == 0
        said = capsys.readouterr().out
        for words in ("loss", "images/s", "dimensions in use", "consistency", "by chance", f"{out}/{ENCODER_FILE}"):
            assert words in said, words
        encoder = load_encoder(out / ENCODER_FILE)
        assert (encoder.spec.non_negative is not None) == (method == "ncl")
        assert encoder.spec.projector.n_features == 12
        folders.append(str(out))
    settings = yaml.safe_load((tmp_path / "ncl" / "config.yaml").read_text())["pretrain"]
    assert settings["steps"] == 6, "the file's word goes over the preset's"
    words = ("--data", photos, "--encoder", ",".join(folders), "--features", "dense,ncl,ncl-topk", "--n-seeds", 2)
    small = (
        "--label-noise",
        0.3,
        "--classifiers",
        "ce",
        "--set",
        "sae.k=3",
        "--set",
        "sae.n_latents=24",
        "--out",
        tmp_path / "study",
        "--quiet",
    )
    assert monosemy("study", *words, *small) == 0
    results = pd.read_parquet(tmp_path / "study" / "results.parquet")
    assert set(results["features"]) - {""} == {"dense", "ncl", "ncl-topk"}


def test_going_on_after_the_time_is_over_gives_the_same_encoder(
    photos: Path, config: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pretrain", "--data", photos, "--plan", config, *TINY)
    assert monosemy(*words, "--out", tmp_path / "whole") == 0
    pieces = 0
    while not (tmp_path / "pieces" / ENCODER_FILE).exists():
        assert monosemy(*words, "--out", tmp_path / "pieces", "--set", "minutes=0") == 0
        pieces += 1
        assert pieces <= 6
    assert pieces == 6, "one step each"
    assert "the same command resumes" in capsys.readouterr().out
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    first, second = (load_encoder(tmp_path / name / ENCODER_FILE) for name in ("whole", "pieces"))
    np.testing.assert_array_equal(embed(first, images), embed(second, images))


def test_the_embedded_data_needs_no_option(tmp_path: Path, monosemy) -> None:
    config = tmp_path / "short.yaml"
    config.write_text("steps: 2\nbatch_size: 8\n")
    assert monosemy("pretrain", "--plan", config, "--method", "ncl", "--out", tmp_path / "out", "--quiet") == 0
    rows = RunFolder.read_log(tmp_path / "out")
    assert rows[-1]["consistency"] > 0
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["pretrain"]
    assert kept["augmentation"] == "handwriting-pair"


def test_another_optimiser_or_backbone_starts_from_its_own_defaults(photos: Path, tmp_path: Path, monosemy) -> None:
    words = (
        "--set",
        "optimizer.name=adamw",
        "--backbone",
        "mixer",
        "--epochs",
        1,
        "--batch-size",
        8,
        "--out",
        tmp_path / "out",
    )
    assert monosemy("pretrain", "--data", photos, "--preset", "cifar-small", *words, "--quiet") == 0
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["pretrain"]
    assert kept["optimizer"]["lr"] == 1e-3
    assert kept["backbone"]["width"] is None
    assert kept["augmentation"] == "cifar"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--method", "moco"), ("method", "moco")),
        (("--preset", "huge"), ("preset", "huge", "cifar-small")),
        (("--set", "optimiser.lr=1"), ("optimiser.lr", "optimizer.lr")),
        (("--set", "lr=1"), ("lr", "optimizer.lr")),
        (("--batch-size", "1"), ("batch_size", "1")),
        (("--batch-size", "40", "--lr", "-1"), ("optimizer.lr", "-1")),
        (("--backbone", "vgg"), ("backbone", "vgg")),
        (("--device", "cuda"), ("cuda", "cpu")),
        (("--device", "abacus"), ("abacus", "cpu or cuda")),
        (("--set", "data.on_bad_row=cry"), ("on_bad_row", "cry")),
        (("--plan", "nowhere.yaml"), ("nowhere.yaml", "YAML")),
        (("--data", "nowhere/"), ("nowhere",)),
        (("--backbone", "mixer", "--set", "augmentation=imagenet"), ("224x224", "8x8", "--image-size 224")),
    ],
)
def test_bad_input_is_one_sentence(
    photos: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str], words, named
) -> None:
    assert monosemy("pretrain", "--data", photos, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for word in named:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_epochs_end_the_presets_steps_and_both_together_are_refused(
    photos: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pretrain", "--data", photos, *TINY, "--epochs", 2, "--out", tmp_path / "out", "--quiet")
    assert monosemy(*words) == 0
    rows = RunFolder.read_log(tmp_path / "out")
    assert [row["epoch"] for row in rows] == [1, 2]
    both = tmp_path / "both.yaml"
    both.write_text("steps: 5\nepochs: 2\n")
    assert monosemy("pretrain", "--data", photos, "--plan", both, "--out", tmp_path / "none") == 2
    assert "epochs=2 and steps=5 are both given" in capsys.readouterr().err


def test_test_images_of_a_study_are_never_trained_on(photos: Path) -> None:
    from monosemy.data.config import DataConfig
    from monosemy.data.load import load_data, load_unlabelled

    config = DataConfig(source=str(photos))
    tested = {image.tobytes() for image in load_data(config).test.inputs}
    found = load_unlabelled(config)
    seen = {image.tobytes() for images in (found.train, found.held_out) for image in images}
    assert not tested & seen
    assert len(tested) + len(seen) == 72


def test_a_start_that_failed_does_not_lock_the_folder(tmp_path: Path, photos: Path, config: Path, monosemy) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, image in enumerate(sorted(photos.rglob("*.png"))):
        (flat / f"{number}.png").write_bytes(image.read_bytes())
    words = ("--plan", config, *TINY, "--out", tmp_path / "out", "--quiet")
    assert monosemy("pretrain", "--data", flat, "--method", "supcon", *words) == 2, "there are no labels"
    assert monosemy("pretrain", "--data", flat, "--method", "simclr", *words) == 0


def test_tensorboard_gets_events(photos: Path, config: Path, tmp_path: Path, monosemy, monkeypatch) -> None:
    import sys
    import types

    class Writer:
        def __init__(self, folder: str) -> None:
            Path(folder).mkdir(parents=True)

        def add_scalar(self, *_: object) -> None: ...

        def flush(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    words = ("--plan", config, *TINY, "--out", tmp_path / "out", "--quiet", "--set", "tensorboard=true")
    assert monosemy("pretrain", "--data", photos, *words) == 0
    assert (tmp_path / "out" / "tensorboard").is_dir()


def test_changed_settings_are_refused_and_nothing_is_lost(
    photos: Path, config: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pretrain", "--data", photos, "--plan", config, *TINY, "--out", tmp_path / "out", "--quiet")
    assert monosemy(*words) == 0
    before = (tmp_path / "out" / ENCODER_FILE).read_bytes()
    assert monosemy(*words, "--lr", 0.5) == 2
    assert "holds a run with pretrain.optimizer.lr = 0.25, not 0.5" in capsys.readouterr().err
    assert (tmp_path / "out" / ENCODER_FILE).read_bytes() == before


def test_supervised_methods_take_the_class_folders(photos: Path, config: Path, tmp_path: Path, monosemy) -> None:
    words = ("--data", photos, "--method", "supncl", "--plan", config, *TINY, "--out", tmp_path / "out", "--quiet")
    assert monosemy("pretrain", *words) == 0


def test_presets_are_the_papers() -> None:
    paper = PRESETS["cifar"]
    assert (paper.backbone.name, paper.backbone.stem, paper.epochs, paper.batch_size) == ("resnet18", "cifar", 200, 256)
    assert (paper.projector.hidden, paper.projector.n_features) == (16384, 2048)
    assert (paper.optimizer.name, paper.optimizer.lr, paper.optimizer.eta) == ("lars", 0.4, 0.02)


@pytest.mark.slow
def test_torchrun_without_gpus_is_refused(photos: Path, config: Path, tmp_path: Path) -> None:
    words = ["--data", photos, "--plan", config, *TINY, "--method", "ncl", "--device", "cpu", "--out", tmp_path / "two"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "monosemy"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [*map(str, [*launch, "pretrain", *words])]
    ended = subprocess.run(command, env=environment, timeout=120, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "2 processes cannot train a network with BatchNorm on CPU" in " ".join(ended.stderr.split())
