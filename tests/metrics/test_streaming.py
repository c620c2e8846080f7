"""Accumulators: pieces in any order, merged in any tree, of any form, equal all at once; bad batches change nothing."""

import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, strategies as st

from monosemy.data import memory_map as rows_module
from monosemy.errors import InputError
from monosemy.functional.activity import firing_counts, sparsity
from monosemy.functional.autoencoder import explained_variance, normalized_mse
from monosemy.functional.codes import SparseCodes
from monosemy.functional.consistency import activation_counts, activation_mass, class_purity, semantic_consistency
from monosemy.functional.geometry import effective_rank, feature_decorrelation
from monosemy.functional.monoscore import mono_moments, mono_score
from monosemy.metrics.streaming import (
    Accumulator,
    ClassPurity,
    EffectiveRank,
    FeatureDecorrelation,
    Firing,
    MonoScore,
    Reconstruction,
    SemanticConsistency,
)

CLASSES, WIDTH, INPUTS = 4, 7, 5
Pieces = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def made(seed: int, n: int, signed: bool = False) -> Pieces:
    """Codes, labels, embeddings, reconstructions; the embeddings far from zero."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((n, WIDTH)) * (rng.random((n, WIDTH)) < 0.4)
    embeddings = (rng.standard_normal((n, INPUTS)) + 100).astype(np.float32)
    noise = rng.standard_normal((n, INPUTS)).astype(np.float32)
    return (
        (codes if signed else abs(codes)).astype(np.float32),
        rng.integers(0, CLASSES, n),
        embeddings,
        (embeddings + noise / 2),
    )


def new(kind: type[Accumulator]) -> Any:
    return kind(CLASSES) if kind in (SemanticConsistency, ClassPurity) else kind()


def feed(accumulator: Any, data: Pieces, rows: slice, form: Callable[[np.ndarray], Any] = np.asarray) -> None:
    codes, labels, embeddings, recon = (part[rows] for part in data)
    if isinstance(accumulator, MonoScore):
        accumulator.update(form(codes), embeddings)
    elif isinstance(accumulator, SemanticConsistency | ClassPurity):
        accumulator.update(form(codes), labels)
    elif isinstance(accumulator, Firing):
        accumulator.update(form(codes))
    elif isinstance(accumulator, Reconstruction):
        accumulator.update(form(recon), form(embeddings))
    else:
        accumulator.update(form(embeddings))


def numbers(result: Any) -> np.ndarray:
    """All numbers of a result, one after the other."""
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=np.float64)).ravel() for part in parts])


def tree(accumulators: list[Any], rng: np.random.Generator) -> Any:
    """All merged into one, two random ones at a time."""
    accumulators = list(accumulators)
    while len(accumulators) > 1:
        i, j = rng.choice(len(accumulators), 2, replace=False)
        accumulators[i].merge(accumulators[j])
        del accumulators[j]
    return accumulators[0]


KINDS = [MonoScore, SemanticConsistency, ClassPurity, Firing, Reconstruction, EffectiveRank, FeatureDecorrelation]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 9999), n=st.integers(2, 60), n_cuts=st.integers(0, 8), signed=st.booleans())
def test_random_pieces_in_random_trees_equal_all_at_once(
    kind: type[Accumulator], seed: int, n: int, n_cuts: int, signed: bool
) -> None:
    data, rng = made(seed, n, signed), np.random.default_rng(seed)
    whole = new(kind)
    feed(whole, data, slice(n))
    cuts = [0, *sorted(rng.integers(0, n + 1, n_cuts).tolist()), n]  # some pieces are empty
    pieces = [slice(a, b) for a, b in pairwise(cuts)]
    streams = [new(kind) for _ in range(int(rng.integers(1, 5)))]
    for piece in rng.permutation(len(pieces)):
        form = [np.asarray, sp.csr_array, torch.from_numpy][int(rng.integers(3))]
        feed(streams[int(rng.integers(len(streams)))], data, pieces[piece], form)
    merged = tree(streams, rng)
    np.testing.assert_allclose(numbers(merged.compute()), numbers(whole.compute()), rtol=1e-6, atol=1e-9)


def test_each_is_the_equation_it_is_named_after() -> None:
    data = made(0, 90)
    codes, labels, embeddings, recon = data
    shares = np.bincount(labels, minlength=CLASSES) / 90
    wanted = {
        MonoScore: mono_score(mono_moments(codes, embeddings)),
        SemanticConsistency: numbers(semantic_consistency(activation_counts(codes, labels, CLASSES), shares)),
        ClassPurity: numbers(class_purity(activation_mass(codes, labels, CLASSES))),
        EffectiveRank: effective_rank(embeddings),
        FeatureDecorrelation: feature_decorrelation(embeddings),
        Reconstruction: [
            explained_variance(torch.from_numpy(recon), torch.from_numpy(embeddings)),
            float(normalized_mse(torch.from_numpy(recon).double(), torch.from_numpy(embeddings).double())),
        ],
    }
    for kind, value in wanted.items():
        accumulator = new(kind)
        feed(accumulator, data, slice(90))
        found = accumulator.compute()
        np.testing.assert_allclose(found.score if kind is MonoScore else numbers(found), value, rtol=1e-9)
    assert Firing().update(codes).compute() == sparsity(firing_counts(codes))
    support = MonoScore().update(codes, embeddings).compute().support
    assert support.tolist() == (codes > 0).sum(axis=0).tolist()


def test_every_form_of_codes_is_taken() -> None:
    codes, labels, embeddings, _ = made(1, 40)
    top = torch.from_numpy(codes).topk(3, dim=1)
    kept = SparseCodes(top.values.reshape(-1), top.indices.reshape(-1), torch.arange(0, 3 * len(codes) + 1, 3), WIDTH)
    dense = np.zeros_like(codes)
    np.put_along_axis(dense, top.indices.numpy(), top.values.numpy(), axis=1)
    twice = sp.coo_array(  # every entry in two halves
        (np.tile(dense[dense > 0] / 2, 2), tuple(np.tile(axis, 2) for axis in np.nonzero(dense))), shape=dense.shape
    )
    starts = np.concatenate([[0], 2 * np.cumsum((dense > 0).sum(axis=1))])
    order = np.argsort(twice.coords[0], kind="stable")
    halves = sp.csr_array((twice.data[order], twice.coords[1][order], starts), shape=dense.shape)
    assert not halves.has_canonical_format
    wanted = MonoScore().update(dense, embeddings).compute()
    for form in (kept, sp.csr_array(dense), sp.csc_array(dense), twice, halves, torch.from_numpy(dense).double()):
        found = MonoScore().update(form, torch.from_numpy(embeddings)).compute()
        np.testing.assert_allclose(found.score, wanted.score, atol=1e-9)
        assert found.support.tolist() == wanted.support.tolist()
        consistency = SemanticConsistency(CLASSES).update(form, labels).compute()
        assert consistency.support.tolist() == (dense > 0).sum(axis=0).tolist()
    rounded = torch.from_numpy(dense).bfloat16()
    assert Firing().update(rounded).compute() == Firing().update(dense).compute()
    assert Firing().update(dense.astype(np.float16)).compute() == Firing().update(dense).compute()
    assert Firing().update((dense > 0).astype(np.int8)).compute().l0_mean == Firing().update(dense).compute().l0_mean


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_blocks_of_rows_change_nothing(kind: type[Accumulator], form, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(2, 50)
    results = []
    for budget in (2**25, 300):
        monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", budget)
        accumulator = new(kind)
        feed(accumulator, data, slice(50), form)
        results.append(numbers(accumulator.compute()))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_memory_does_not_grow_with_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 2**20)
    peaks = []
    for n in (5_000, 20_000):
        codes = sp.random_array((n, 64), density=0.05, format="csr", rng=np.random.default_rng(0))
        embeddings = np.ones((n, 64), dtype=np.float32)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        MonoScore().update(codes, embeddings).compute()
        EffectiveRank().update(embeddings).compute()
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_mean_predictor_scores_zero_in_pieces() -> None:
    z = np.random.default_rng(0).standard_normal((200, 3)) * [1, 5, 2] + 1e3
    accumulator = Reconstruction()
    for start in range(0, 200, 7):
        piece = z[start : start + 7]
        accumulator.update(np.broadcast_to(z.mean(axis=0), piece.shape), piece)
    assert accumulator.compute().explained_variance == pytest.approx(0, abs=1e-10)


def test_nothing_seen_is_said_and_an_empty_piece_is_none() -> None:
    for kind in KINDS:
        accumulator = new(kind)
        feed(accumulator, made(0, 3), slice(0, 0))
        with pytest.raises(InputError, match=kind.__name__):
            accumulator.compute()
        accumulator.merge(new(kind))
        assert accumulator.moments is None


def test_merging_leaves_the_other_as_it_is() -> None:
    data = made(3, 30)
    first, second = new(MonoScore), new(MonoScore)
    feed(second, data, slice(20))
    first.merge(second)
    feed(first, data, slice(20, 30))
    alone = new(MonoScore)
    feed(alone, data, slice(20))
    np.testing.assert_array_equal(second.compute().score, alone.compute().score)


def test_dimensions_that_never_fire_are_undefined() -> None:
    codes, labels, embeddings, _ = made(4, 30)
    codes[:, 2] = 0
    mono = MonoScore().update(codes, embeddings).compute()
    assert math.isnan(mono.score[2])
    assert mono.support[2] == 0
    assert mono.mean() == pytest.approx(np.nanmean(mono.score))
    assert math.isnan(SemanticConsistency(CLASSES).update(codes, labels).compute().score[2])
    assert math.isnan(MonoScore().update(np.zeros((3, 2)), np.eye(3)).compute().mean())


BAD = np.ones((4, WIDTH))
BAD[2, 1] = np.nan


@pytest.mark.parametrize(
    ("update", "named"),
    [
        (lambda a: a[Firing].update(BAD), r"codes has rows with NaN or infinity \(first: row 2"),
        (lambda a: a[Firing].update(sp.csr_array(BAD)), r"codes has rows with NaN or infinity \(first: row 2"),
        (lambda a: a[Firing].update(np.where(np.isnan(BAD), np.inf, 1)), "row 2"),
        (lambda a: a[Firing].update(np.ones(3)), r"codes has shape \(3,\)"),
        (lambda a: a[Firing].update(np.ones((3, WIDTH + 1))), "different widths"),
        (lambda a: a[MonoScore].update(np.ones((3, WIDTH)), np.ones((2, INPUTS))), "embeddings has 2 rows"),
        (lambda a: a[MonoScore].update(np.ones((4, WIDTH)), BAD[:, :INPUTS]), "embeddings has rows with NaN"),
        (lambda a: a[SemanticConsistency].update(np.ones((2, WIDTH)), [0, CLASSES]), f"labels has {CLASSES}"),
        (lambda a: a[SemanticConsistency].update(np.ones((2, WIDTH)), [0, -1]), "labels has -1"),
        (lambda a: a[ClassPurity].update(np.ones((2, WIDTH)), [0.5, 1]), "one integer a sample"),
        (lambda a: a[ClassPurity].update(np.ones((2, WIDTH)), [0]), "labels has 1 entries for 2 rows"),
        (lambda a: a[Reconstruction].update(np.ones((2, 1)), np.ones((2, INPUTS))), r"shape \(2, 1\)"),
        (lambda a: a[EffectiveRank].update(np.ones((2, 0))), "at least one number"),
        (lambda a: a[EffectiveRank].merge(EffectiveRank().update(np.ones((2, 2)))), "different widths"),
        (lambda a: SemanticConsistency(0), "n_classes=0"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(update, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 100)  # the bad row is not in the first block
    accumulators = {kind: new(kind) for kind in KINDS}
    for accumulator in accumulators.values():
        feed(accumulator, made(5, 20), slice(20))
    before = {kind: numbers(accumulator.compute()) for kind, accumulator in accumulators.items()}
    with pytest.raises(InputError, match=named):
        update(accumulators)
    for kind, accumulator in accumulators.items():
        np.testing.assert_array_equal(numbers(accumulator.compute()), before[kind])
