"""Options that commands derive from the models of their settings."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from monosemy.cli.options import Quiet, completion_of, with_settings
from monosemy.core.config import Config, Plan
from monosemy.core.executors import executor_settings
from monosemy.errors import InputError


class Training(Config):
    lr: float = 0.1
    """Learning rate
    of [all] layers."""
    fast: bool = False
    """Hurry."""
    careful: bool = True
    """Look twice."""


class TinyPlan(Plan):
    kind: Literal["tiny"] = "tiny"
    model: str
    """Folder of a model."""
    methods: tuple[Literal["plain", "mono"], ...] = ("plain", "mono")
    """Methods to compare."""
    training: Training = Training()
    limit: int | None = None
    """Maximal number of rows."""
    file: Path | None = None
    """A file."""


app = typer.Typer()
called: list[tuple[dict[str, Any], bool]] = []


@app.command()
@with_settings(
    TinyPlan,
    {"Comparison": {"--methods": "methods", "--n-seeds": "n_seeds"},
     "Training": {"--lr": "training.lr", "--fast": "training.fast",
                  "--careful": "training.careful", "--limit": "limit", "--file": "file"}},
    {"model": "model"},
)  # fmt: skip
def tiny(settings: dict[str, Any], quiet: Quiet = False) -> None:
    """Compare tiny things."""
    called.append((settings, quiet))


def settings(*words: object) -> dict[str, Any]:
    """What the command was given by these words."""
    called.clear()
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return called[0][0]


def test_nothing_said_sets_nothing() -> None:
    assert settings() == {}
    assert not called[0][1]
    settings("--quiet")
    assert called[0][1]


def test_options_are_fields_of_the_model() -> None:
    words = ("m", "--methods", "mono,plain", "--n-seeds", 3, "--lr", 0.5, "--limit", "null", "--file", "x.csv")
    assert settings(*words) == {
        "model": "m", "methods": ("mono", "plain"), "n_seeds": "3", "training": {"lr": "0.5"}, "limit": None,
        "file": "x.csv",
    }  # fmt: skip
    plan = TinyPlan.model_validate(settings(*words))
    assert (plan.n_seeds, plan.training.lr, plan.limit, plan.file) == (3, 0.5, None, Path("x.csv"))


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [("--fast", "fast", True), ("--careful", "careful", True), ("--no-careful", "careful", False)],
)
def test_flags(word: str, name: str, value: bool) -> None:
    assert settings(word) == {"training": {name: value}}
    assert settings("--set", f"training.{name}={str(value).lower()}") == {"training": {name: value}}


def test_plan_then_options_then_set(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("model: m\nn_seeds: 2\nlimit: 4\ntraining: {lr: 1, fast: true}\n")
    assert settings("--plan", path) == {"model": "m", "n_seeds": 2, "limit": 4, "training": {"lr": 1, "fast": True}}
    given = settings("--plan", path, "--lr", 2, "--limit", 5, "--n-seeds", 7, "--set", "n_seeds=9", "--set", "limit=6",
                     "other", "--no-careful")  # fmt: skip
    assert given == {
        "model": "other", "n_seeds": "9", "limit": "6", "training": {"lr": "2", "fast": True, "careful": False},
    }  # fmt: skip
    assert settings("--set", "limit=1", "--set", "limit=2") == {"limit": "2"}, "of two, the last"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "training.ler=1"), "--set: there is no setting 'training.ler' (closest match: training.lr);"),
        (("--set", "limit"), "--set 'limit' has no '='; write --set section.name=value."),
        (("--methods", "[plain"), "--methods: methods is '[plain', which is not valid YAML; correct it."),
        (("--plan", "nowhere.yaml"), "The plan nowhere.yaml cannot be read"),
        (("--plan", "LIST"), "The plan {} holds no settings by name; give a plan.yaml."),
        (("--plan", "BAD"), "The plan {} is not valid YAML"),
    ],
)
def test_bad_words_are_one_sentence(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("[1, 2]" if words[1] == "LIST" else "a: [")
    words = tuple(str(path) if word in ("LIST", "BAD") else word for word in words)
    with pytest.raises(InputError) as caught:
        settings(*words)
    assert str(caught.value).startswith(sentence.format(path))
    assert "\n" not in str(caught.value)


def test_help_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    printed = " ".join(re.sub(r"[│╭╮╰╯─]", " ", CliRunner().invoke(app, ["--help"]).output).split())
    for words in (
        "[MODEL]",
        "Folder of a model.",
        "--methods LIST Methods to compare. [default: plain,mono]",
        "--n-seeds INTEGER Number of repetitions; each draws noise, initial weights and batches anew. [default: 5]",
        "--lr NUMBER Learning rate of [all] layers. [default: 0.1]",
        "Hurry.",
        "--no-careful",
        "--limit INTEGER Maximal number of rows.",
        "--file PATH A file.",
        "--plan PATH YAML file of settings; other options override it.",
        "--set NAME=VALUE Any setting of plan.yaml; repeatable.",
        "Print only errors.",
    ):
        assert words in printed, words
    places = [printed.index(title) for title in ("Comparison", "Training ", "Running")]
    assert places == sorted(places)


def test_the_shell_completes_words_and_lists() -> None:
    assert completion_of(("plain", "mono"))("p") == ["plain"]
    assert completion_of(("plain", "mono"), several=True)("plain,") == ["plain,mono"]
    assert completion_of(("plain", "mono"), several=True)("") == ["plain", "mono"]


def test_the_executor_is_a_name_or_a_file(tmp_path: Path) -> None:
    assert executor_settings(None, None).name == "joblib"
    assert (executor_settings("in-process", 3).name, executor_settings("in-process", 3).workers) == ("in-process", 3)
    path = tmp_path / "slurm.yaml"
    path.write_text("name: submitit\npartition: gpu\nworkers: 2\n")
    config = executor_settings(str(path), 4)
    assert (config.name, config.partition, config.workers) == ("submitit", "gpu", 4)
    with pytest.raises(InputError, match=r"--executor: name is 'jobllib', .* \(closest match: joblib\)"):
        executor_settings("jobllib", None)
    with pytest.raises(InputError, match="workers"):
        executor_settings(None, 0)
    path.write_text("- 1")
    with pytest.raises(InputError, match=r"slurm\.yaml"):
        executor_settings(str(path), 1)
