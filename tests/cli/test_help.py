"""The help of every command: short, complete, and one meaning for one name of an option."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_every_command import COMMANDS, run

from monosemy.cli.options import with_settings
from monosemy.core.config import Config

MOST_OPTIONS, MOST_LINES = 15, 100
NAMES = {
    "--ablations", "--activation", "--all", "--backbone", "--batch-size", "--classes", "--classifiers", "--codes",
    "--column", "--csv", "--cv", "--data", "--device", "--down", "--dtype", "--embeddings", "--encoder", "--epochs",
    "--executor", "--explain", "--features", "--group-column", "--image-size", "--input-column", "--input-noise",
    "--json", "--judge", "--k", "--label-column", "--label-noise", "--labels", "--latex", "--layer", "--layers", "--lr",
    "--markdown", "--max-tokens", "--method", "--methods", "--names", "--n-dimensions", "--n-features", "--n-latents",
    "--n-samples", "--n-seeds", "--noisy-labels", "--on-bad-row", "--out", "--pairs", "--plan", "--preset", "--quiet",
    "--reconstruction", "--scenario", "--seed", "--separability", "--set", "--sparsity", "--split-column", "--stale",
    "--steps", "--study", "--sweep", "--threshold", "--to", "--tokens", "--up", "--variants", "--weights", "--workers",
}  # fmt: skip
"""Names of all options; a new one is added here when no known name has its meaning."""
SAME_HELP = ("--device", "--executor", "--json", "--plan", "--quiet", "--set", "--workers")


def options(words: str) -> dict[str, str]:
    """The help texts of the options of a command."""
    parameters = [item for item in COMMANDS[words].params if item.param_type_name == "option" and not item.hidden]
    return {item.opts[0]: item.help for item in parameters if item.opts[0] != "--help"}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_has_few_options_with_known_names_and_help(words: str) -> None:
    found = options(words)
    assert len(found) <= MOST_OPTIONS
    assert set(found) <= NAMES
    assert all(found.values())


def test_shared_options_have_one_help_text() -> None:
    for name in SAME_HELP:
        assert len({found[name] for words in COMMANDS if name in (found := options(words))}) == 1, name


def test_every_known_name_is_used() -> None:
    assert {name for words in COMMANDS for name in options(words)} == NAMES


@pytest.mark.parametrize("words", COMMANDS)
def test_help_fits_two_screens(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, *words.split(), "--help") == 0
    assert len(capsys.readouterr().out.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("words", ["pretrain", "sae train", "measure", "layers", "report", "activations", "cache ls"])
def test_help_imports_no_numerical_library(words: str) -> None:
    code = (
        "import sys; from monosemy import cli; sys.argv = ['monosemy', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str([name for name in ('torch', 'pandas', 'transformers') if name in sys.modules]))"
    )
    command = [sys.executable, "-c", code, *words.split(), "--help"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lr", "0"), "Error: The command: lr is '0', but input should be greater than 0; correct it."),
        (("--set", "leraning=1"), "Error: --set: there is no setting 'leraning'"),
        (("--set", "epoch=1"), "(closest match: epochs)"),
        (("--set", "epochs"), "Error: --set 'epochs' has no '='; write --set section.name=value."),
        (("--activation", "topk,jumpreu"), "(closest match: jumprelu)"),
        (("--plan", "missing.yaml"), "Error: The plan missing.yaml cannot be read"),
    ],
)
def test_wrong_settings_end_in_one_sentence(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "rows.npy").touch()
    assert run(monkeypatch, "sae", "train", tmp_path / "rows.npy", *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_source_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "sae", "train") == 2
    assert capsys.readouterr().err == "Error: The command: source is missing; give a value.\n"


def test_options_are_declared_by_the_model() -> None:
    class Settings(Config):
        rate: float = 0.5
        """A rate."""
        loud: bool = False
        """Say more."""

    seen: list[object] = []

    @with_settings(Settings, {"All": {"--rate": "rate", "--loud": "loud"}}, plan=False)
    def command(settings: dict[str, object]) -> None:
        seen.append(settings)

    command(rate="0.25", loud=True)
    command(rate=None, loud=None)
    assert seen == [{"rate": "0.25", "loud": True}, {}]
