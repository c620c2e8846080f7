"""What holds for every command: one way to say JSON and nothing, help that fits, words that the shell completes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from monosemy import cli


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it; commands of the top level are imported on demand."""
    todo: list[tuple[str, Any]] = [("", get_command(cli.app))]
    while todo:
        words, command = todo.pop()
        if not hasattr(command, "list_commands"):
            yield words.strip(), command
            continue
        todo += [(f"{words} {name}", command.get_command(None, name)) for name in command.list_commands(None)]


COMMANDS = dict(commands())


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of ``monosemy WORDS``."""
    monkeypatch.setattr(sys, "argv", ["monosemy", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_quiet_and_json_and_says_what_it_does(words: str) -> None:
    command = COMMANDS[words]
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    assert options["--quiet"].help == "Print only errors."
    assert options["--json"].help == "Print the result as JSON."
    assert f"`monosemy {words}" in command.help, "the help shows how it is called"
    unexplained = [name for name, parameter in options.items() if not parameter.help]
    assert not unexplained


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_fits_80_columns(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, *words.split(), "--help") == 0
    printed = capsys.readouterr().out
    assert f"Usage: monosemy {words}".strip() in printed
    assert max(map(len, printed.splitlines())) <= 80
    for name in ("--label-noise", "--quiet", "--json"):  # never cut off
        if name in {option for parameter in getattr(COMMANDS.get(words), "params", []) for option in parameter.opts}:
            assert name in printed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """z.npz with labels, z.npy, two models of it; in a folder of its own."""
    from monosemy.sae.estimators import SparseAutoencoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    labels = np.arange(120) % 3
    z = (np.random.default_rng(0).standard_normal((120, 6)) + 3 * np.eye(6)[labels]).astype(np.float32)
    np.savez("z.npz", embeddings=z, labels=labels)
    np.save("z.npy", z)
    for seed in (0, 1):
        sae = SparseAutoencoder(16, 3, n_epochs=2, batch_size=32, random_state=seed).fit(z)
        sae.autoencoder_.save(Path(f"seed{seed}.safetensors"))
    return tmp_path


TRAIN = ("--n-latents", "16", "--k", "3", "--batch-size", "32")
LINES = {
    "measure": ("z.npz",),
    "stability": ("seed0.safetensors", "seed1.safetensors"),
    "sae eval": ("seed0.safetensors", "z.npz"),
    "sae export": ("seed0.safetensors", "z.npy", "--out", "codes.npz"),
    "sae train": ("z.npy", *TRAIN, "--out", "trained"),
    "toy": ("--n-features", "6", "--n-dimensions", "3", "--n-seeds", "2", "--steps", "20",
            "--label-noise", "0.3", "--no-sweep", "--out", "toy"),
    "theory": ("--sparsity", "0.2", "--classes", "2", "--n-seeds", "2", "--n-samples", "500", "--out", "theory"),
}  # fmt: skip
"""Small calls of the commands that need no model and no images."""
STUDY = (
    "--data",
    "z.npz",
    "--features",
    "dense,relu",
    "--classifiers",
    "ce,knn",
    "--label-noise",
    "0.4",
    "--n-seeds",
    "2",
    "--out",
    "run",
)


SLOW = ("toy", "theory")


@pytest.mark.parametrize("command", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in LINES])
def test_json_is_one_document_and_quiet_is_silence(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split(), *LINES[command], "--json") == 0
    printed = capfd.readouterr()
    assert isinstance(json.loads(printed.out), dict)
    assert printed.err == ""
    assert run(monkeypatch, *command.split(), *LINES[command], "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_reports_are_json_too(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "study", *STUDY, "--quiet") == 0
    assert run(monkeypatch, "report", "run", "--json") == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["page"] == "run/report.html"
    names = {row["variant"] for row in answer["studies"]["run"]}
    assert names >= {"dense + ce", "relu + ce", "selected", "selected dense"}


@pytest.mark.parametrize(
    "command", ["measure", "stability", "sae eval", "sae train", "theory", pytest.param("toy", marks=pytest.mark.slow)]
)
def test_what_is_printed_fits_80_columns(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split(), *LINES[command]) == 0
    printed = capfd.readouterr()
    assert max(map(len, printed.out.splitlines())) <= 80
    assert printed.err == "", "no progress where the error stream is no terminal"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("monosemy st", ["study", "stability"]),
        ("monosemy study --features dense-", ["dense-autoencoder"]),
        ("monosemy study --features dense,sae-m", ["dense,sae-matryoshka"]),
        ("monosemy study --features dense,dense-", ["dense,dense-autoencoder"]),
        ("monosemy study --scenario label-noise,f", ["label-noise,few-labels"]),
        ("monosemy pretrain --preset cif", ["cifar", "cifar-small"]),
        ("monosemy pretrain --method n", ["ncl"]),
        ("monosemy sae train --activation topk,j", ["topk,jumprelu"]),
        ("monosemy sae export --to sae", ["saelens"]),
        ("monosemy finetune images --variants ce,nce-", ["ce,nce-early"]),
        ("monosemy finetune lm --methods monolora-h", ["monolora-hidden", "monolora-hidden-rep"]),
        ("monosemy finetune lm --scenario z", []),
    ],
)
def test_the_shell_completes(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As bash asks, by the environment."""
    monkeypatch.setenv("_MONOSEMY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    run(monkeypatch)
    assert sorted(capfd.readouterr().out.split()) == sorted(offered)


def test_completion_installs_for_a_shell(tmp_path: Path) -> None:
    environment = os.environ | {
        "HOME": str(tmp_path),
        "SHELL": "/bin/bash",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    command = [sys.executable, "-m", "monosemy", "--install-completion", "bash"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "bash completion installed" in done.stdout
    assert "_MONOSEMY_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "monosemy.sh").read_text()
