"""Every example runs, prints something, and sets off no warning."""

import runpy
import warnings
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SLOW = ("decpo_tiny", "judging_answers", "monolora", "ncl_on_digit_pairs", "steering", "study_on_arrays")
"""Those that take more than about three seconds."""


def test_there_is_one_for_each_capability() -> None:
    assert len(EXAMPLES) >= 14
    assert set(SLOW) <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem) for path in EXAMPLES],
)
def test_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # Python's own default
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # as the library does
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
    ours = [
        str(warning.message) for warning in caught if "monosemy" in warning.filename or warning.filename == str(path)
    ]
    assert not ours
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"
