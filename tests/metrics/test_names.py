"""Names of latents: planted ones are found, scores are those of the slow way on held-out rows, chance is left out."""

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.metrics import roc_auc_score

from monosemy.functional.codes import from_dense
from monosemy.functional.terms import words
from monosemy.metrics.names import LatentNames, _counter_example, _first_half, name_latents

FILLER = ["the", "a", "of", "and", "my", "your", "please", "what", "is", "how", "can", "you", "do", "it", "now", "then"]
TOPICS = (("card", "declined"), ("flight",), ("alarm", "wake"), ("pizza",))


def planted(n: int = 800, seed: int = 0) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """A latent for each topic, one that is random, one that is dense, and one that never fires."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, len(TOPICS), n)
    lines = [[*rng.choice(FILLER, 6), rng.choice(TOPICS[t])] for t in topic]
    texts = tuple(" ".join(rng.permutation(line)) + f" {i}x" for i, line in enumerate(lines))
    codes = np.zeros((n, len(TOPICS) + 3), dtype=np.float32)
    codes[np.arange(n), topic] = rng.uniform(1, 2, n)
    codes[rng.random(n) < 0.1, 4] = 1.0
    codes[:, 5] = 5.0 + (topic == 1) + 0.1 * rng.random(n)
    return codes, texts, topic


def rows(names: LatentNames) -> list[Any]:
    return [names[latent] for latent in range(len(names))]


def test_words_that_were_planted_are_found() -> None:
    codes, texts, _ = planted()
    names = name_latents(codes, texts)
    assert [set(name.terms) if name else None for name in rows(names)[:4]] == [set(topic) for topic in TOPICS]
    assert rows(names)[4] is None
    assert rows(names)[6] is None
    assert names.kind == "words"
    for name in names.known[:4]:
        assert (name.confidence, name.precision, name.auc) == (1.0, 1.0, 1.0)
        assert 0.95 < name.auc_low < 1.0
        assert name.counter_example == -1
        assert name.lift == pytest.approx(1 / name.chance)


def test_a_latent_that_is_always_positive_is_named_by_its_upper_half() -> None:
    codes, texts, _ = planted()
    codes[:, 5] = 5.0 + np.array(["flight" in text or "pizza" in text for text in texts])
    codes[:, 5] += np.random.default_rng(1).uniform(0, 0.01, len(texts))
    name = name_latents(codes, texts)[5]
    assert name is not None
    assert set(name.terms) == {"flight", "pizza"}
    assert name.auc > 0.95


def test_classes_that_were_planted_are_found() -> None:
    codes, _, topic = planted()
    codes[topic == 3, 0] = 1.5  # latent 0 is active for classes 0 and 3
    names = name_latents(codes, labels=np.array(["zero", "one, two", "two", "three"])[topic])
    assert names.kind == "classes"
    assert [set(name.terms) for name in names.known[:4]] == [{"zero", "three"}, {"one, two"}, {"two"}, {"three"}]
    by_position = name_latents(codes, labels=topic, class_names=("zero", "one, two", "two", "three"))
    assert [name and set(name.terms) for name in by_position] == [name and set(name.terms) for name in names]
    assert names[4] is None


def noisy(kind: str) -> tuple[np.ndarray, dict[str, Any], list[set[str]]]:
    """Latents that fire for most of their topic and for some others, with the terms of each sample."""
    codes, texts, topic = planted(seed=3)
    rng = np.random.default_rng(5)
    codes[:, :4] *= rng.random((len(codes), 4)) < 0.8
    codes[:, :4] += (rng.random((len(codes), 4)) < 0.05) * rng.uniform(0.1, 3, (len(codes), 4))
    if kind == "words":
        return codes, {"texts": texts}, [set(words(text)) for text in texts]
    labels = [f"class {t}" for t in topic]
    return codes, {"labels": labels}, [{label} for label in labels]


@pytest.mark.parametrize("kind", ["words", "classes"])
def test_scores_are_those_of_the_slow_way(kind: str) -> None:
    codes, given, terms = noisy(kind)
    held_out = ~_first_half(np.arange(len(codes)), 0)
    names = name_latents(codes, **given)
    assert len(names.known) >= 4
    for name in names.known[:4]:
        fits = np.array([bool(set(name.terms) & line) for line in terms])
        active = codes[:, name.latent] > 0
        assert name.confidence == pytest.approx(fits[held_out & active].mean())
        assert name.chance == pytest.approx(fits[held_out].mean())
        assert name.precision == pytest.approx(active[held_out & fits].mean())
        assert name.auc == pytest.approx(roc_auc_score(active[held_out], fits[held_out]))
        assert 0.5 < name.auc_low < name.auc < name.auc_high < 1
        counter = name.counter_example
        assert held_out[counter]
        assert active[counter] == name.counter_is_active
        assert fits[counter] != name.counter_is_active
        if name.counter_is_active:
            assert codes[counter, name.latent] == codes[held_out & active & ~fits, name.latent].max()


def test_the_counter_example_is_of_the_commoner_error() -> None:
    active, values = np.array([1, 4, 6]), np.array([1.0, 3.0, 2.0])
    # Of three active rows one is missed; of five that the name fits three are silent, and two terms fit row 9.
    fits, n_fitting = np.array([1, 4, 8, 9, 10]), np.array([1, 1, 1, 2, 1])
    assert _counter_example(active, values, fits, n_fitting) == (9, False)
    assert _counter_example(active, values, np.array([1, 2, 3, 5, 8]), np.ones(5)) == (2, False)
    assert _counter_example(active, values, np.array([1, 8]), np.ones(2)) == (4, True)
    assert _counter_example(active, values, active, np.ones(3)) == (-1, False)
    assert _counter_example(active, values, np.array([1, 4]), np.ones(2)) == (6, True)
    assert _counter_example(active, values, np.array([1, 4, 6, 7]), np.ones(4)) == (7, False)


@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix, sp.coo_array, torch.from_numpy, np.float64, from_dense])
@pytest.mark.parametrize("kind", ["words", "classes"])
def test_dense_and_sparse_codes_have_the_same_names(form: Any, kind: str) -> None:
    codes, given, _ = noisy(kind)
    expected = name_latents(codes, **given).to_frame()
    values = from_dense(torch.from_numpy(codes)) if form is from_dense else form(codes)
    assert name_latents(values, **given).to_frame().equals(expected)


def test_names_of_latents_that_mean_nothing_are_left_out() -> None:
    """Codes of other rows: 2.5 % of the names may pass; of 240 in all, 14 or more with a probability of 0.3 %."""
    rng = np.random.default_rng(0)
    passed = tested = 0
    for seed in range(3):
        _, texts, topic = planted(seed=seed)
        codes = sp.random_array((800, 80), density=0.06, rng=rng).tocsr()
        for given in ({"texts": texts}, {"labels": topic}):
            names = name_latents(codes, **given, seed=seed)
            passed, tested = passed + len(names.known), tested + names.n_tested
    assert tested > 240
    assert passed <= 0.025 * tested + 3 * np.sqrt(0.025 * 0.975 * tested)


def test_a_word_makes_its_bigrams_superfluous() -> None:
    texts = tuple(f"credit card {i}" if i % 4 == 0 else f"card {i}" if i % 4 == 1 else f"other {i}" for i in range(400))
    codes = np.array([[1.0, 0.0] if i % 4 < 2 else [0.0, 1.0] for i in range(400)])
    assert [name and name.terms for name in name_latents(codes, texts)] == [("card",), ("other",)]


def test_equal_texts_are_in_one_half() -> None:
    groups = np.repeat(np.arange(50), 4)
    half = _first_half(groups, 0)
    assert half.sum() == 100
    assert (half.reshape(50, 4).all(axis=1) == half.reshape(50, 4).any(axis=1)).all()
    assert half.tolist() != _first_half(groups, 1).tolist()
    # Each text is met again only in its own half, where it cannot test what it suggests.
    texts = tuple(f"word{i // 4} again{i // 4}" for i in range(200))
    codes = np.zeros((200, 50))
    codes[np.arange(200), np.arange(200) // 4] = 1
    assert name_latents(codes, texts).n_tested == 0


def test_latents_that_fire_too_rarely_have_no_name() -> None:
    codes, texts, _ = planted()
    codes[:, 0] = 0
    codes[[i for i, text in enumerate(texts) if "flight" in text][:6], 0] = 1
    assert name_latents(codes, texts)[0] is None


def test_the_table_and_the_index(refuses) -> None:
    codes, given, _ = noisy("words")
    names = name_latents(codes, **given)
    frame = names.to_frame()
    assert frame.columns.tolist() == [
        "latent", "name", "confidence", "chance", "lift", "precision", "auc", "auc_low", "auc_high",
        "counter_example", "counter_kind",
    ]  # fmt: skip
    assert frame["latent"].tolist() == [name.latent for name in names.known]
    assert frame["name"].tolist() == [str(name) for name in names.known]
    assert set(frame["counter_kind"]) <= {"active", "silent", ""}
    assert len(names) == codes.shape[1] == len(list(names))
    assert names[np.int64(1)] == names[1]
    assert "of 7 latents named" in repr(names)
    for wrong in (7, -1, 1.0, True, "1"):
        with refuses(wrong, "7 latents", "0 to 6"):
            names[wrong]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        names.kind = "classes"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("codes", "given", "named"),
    [
        (np.ones((3, 2)), {}, ("neither texts nor labels",)),
        (np.ones((3, 2)), {"texts": "abc", "labels": [1, 2, 3]}, ("both",)),
        (np.ones((3, 2)), {"texts": ["a", "b"]}, ("3 rows", "2 texts")),
        (np.ones((3, 2)), {"labels": [0, 1]}, ("3 rows", "2 labels")),
        (np.ones((3, 2)), {"labels": [0, 1, 5], "class_names": ("a", "b")}, ("2 class names",)),
        (np.ones((3, 2)), {"labels": [0, 1], "class_names": ("a", "b")}, ("(2,)", "3 rows")),
        (np.full((3, 2), np.nan), {"labels": [0, 1, 0]}, ("codes", "NaN")),
        (np.ones(3), {"labels": [0, 1, 0]}, ("(3,)",)),
        (np.ones((0, 2)), {"texts": []}, ("(0, 2)",)),
    ],
)
def test_bad_input(codes: np.ndarray, given: dict[str, Any], named: tuple[str, ...], refuses) -> None:
    with refuses(*named):
        name_latents(codes, **given)


@pytest.mark.parametrize("texts", [("",) * 30, ("same words",) * 30, tuple(f"w{i}" for i in range(30)), ("x",)])
def test_texts_that_say_nothing_give_no_name(texts: tuple[str, ...]) -> None:
    codes = np.random.default_rng(0).random((len(texts), 3)) * (np.arange(len(texts)) % 2)[:, None]
    names = name_latents(codes, texts)
    assert list(names) == [None, None, None]
    assert names.to_frame().empty
    assert np.isnan(names.median_auc)
