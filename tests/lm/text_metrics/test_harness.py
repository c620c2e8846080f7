"""The evaluation harness: what is handed to it, what comes back, and what is said where it is missing."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from monosemy.errors import MissingExtraError
from monosemy.lm.evaluation import lm_eval
from monosemy.lm.models import LoadedModel

LOADED = LoadedModel("m", SimpleNamespace(), SimpleNamespace())


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for lm_eval that remembers what it was asked."""
    asked: dict[str, Any] = {}

    def simple_evaluate(**options: Any) -> dict[str, Any]:
        if "zonk" in options["tasks"]:
            raise KeyError("Missing task zonk")
        asked.update(options)
        metrics = {"alias": " - piqa", "acc,none": 0.5, "acc_stderr,none": 0.1, "note": "N/A"}
        return {"results": dict.fromkeys(options["tasks"], metrics)}

    root, models, huggingface = (
        ModuleType("lm_eval"),
        ModuleType("lm_eval.models"),
        ModuleType("lm_eval.models.huggingface"),
    )
    root.simple_evaluate = simple_evaluate
    huggingface.HFLM = lambda **options: SimpleNamespace(**options)
    for module in (root, models, huggingface):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_tasks_give_numbers(harness: dict[str, Any]) -> None:
    found = lm_eval(LOADED, ["piqa", "arc_easy"], n_shots=2, limit=10, batch_size=4)
    assert found == {task: {"acc": 0.5, "acc_stderr": 0.1} for task in ("piqa", "arc_easy")}
    assert (harness["num_fewshot"], harness["limit"]) == (2, 10)
    assert harness["model"].pretrained is LOADED.model
    assert (harness["model"].tokenizer, harness["model"].batch_size) == (LOADED.tokenizer, 4)


def test_unknown_tasks(harness: dict[str, Any], says) -> None:
    with says("zonk", "cannot be run"):
        lm_eval(LOADED, ["zonk"])


def test_no_tasks_need_no_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert lm_eval(LOADED, []) == {}


def test_a_missing_harness_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"piqa.*pip install 'monosemy\[eval\]'"):
        lm_eval(LOADED, ["piqa"])
