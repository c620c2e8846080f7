"""Many probes at once: the exact optimum, one by one, dense or sparse, with and without masks."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, strategies as st
from scipy.special import log_softmax

from monosemy.classifiers.engine import ProbeConfig, Probes, largest_eigenvalue, predict, probes_at_once, train_probes
from monosemy.classifiers.inputs import inputs_of
from monosemy.classifiers.linear_probe import exact_probe

N, D, C = 240, 6, 3
DECAY = 0.02


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping clouds, stretched and far from the origin."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % C)
    x = rng.standard_normal((N, D)) * np.array([2, 1.5, 1, 1, 0.7, 0.5]) + 1.5 * np.eye(C, D)[y] + 3
    return x.astype(np.float32), y


def sparse_problem() -> tuple[np.ndarray, np.ndarray]:
    x, y = problem()
    return np.where(x > 3.5, x, 0), y


def full_batch(epochs: int = 300) -> ProbeConfig:
    return ProbeConfig(epochs=epochs, batch_size=N, lr=0.7)


def train(x, labels: np.ndarray, decay=DECAY, config: ProbeConfig | None = None, seed: int = 0) -> Probes:
    labels = labels[:, None] if labels.ndim == 1 else labels
    decays = np.full(labels.shape[1], decay) if np.isscalar(decay) else np.asarray(decay)
    return train_probes(x, labels, C, decays, config or full_batch(), seed)


def objective(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, decay: float) -> float:
    """mean CE + decay / 2 |W|^2 on features over the root mean square distance to their mean."""
    scale = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())
    logits = x @ weight + bias
    return float(
        -log_softmax(logits, axis=1)[np.arange(len(y)), y].mean() + decay / 2 * np.square(scale * weight).sum()
    )


def close(a: Probes, b: Probes, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(a.weight, b.weight, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.bias, b.bias, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("config", [full_batch(), ProbeConfig(epochs=60, batch_size=24, lr=0.3)])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_reaches_the_exact_optimum(config: ProbeConfig, form) -> None:
    x, y = sparse_problem()
    probes, exact = train(form(x), y, config=config), exact_probe(form(x), y, DECAY)
    best = objective(exact.coef_.T, exact.intercept_, x, y, DECAY)
    reached = objective(probes.weight.numpy(), probes.bias.numpy()[0], x, y, DECAY)
    assert best < 0.9 * np.log(C), "there is something to learn"
    assert best - 1e-6 <= reached <= best + 2e-3
    assert (predict(probes, form(x))[:, 0] == y).mean() == pytest.approx(exact.score(form(x), y), abs=0.015)
    if config.batch_size == N:
        np.testing.assert_allclose(probes.weight.numpy(), exact.coef_.T, atol=2e-3)


def test_the_exact_probe_is_where_the_gradient_vanishes() -> None:
    x, y = problem()
    exact = exact_probe(x, y, DECAY)
    scale = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())
    residual = (exact.predict_proba(x) - np.eye(C)[y]) / N
    gradient = (x / scale).T @ residual + DECAY * scale * exact.coef_.T
    assert np.abs(gradient).max() < 1e-4
    assert np.abs(residual.sum(axis=0)).max() < 1e-4, "the bias is not decayed"


def test_the_exact_probe_leaves_out_masked_rows_and_needs_a_decay() -> None:
    x, y = problem()
    masked = np.where(np.arange(N) < 120, y, -1)
    doubled = np.concatenate([x[:120], x[:120]])
    half = exact_probe(doubled, np.concatenate([y[:120], np.full(120, -1)]), DECAY)
    np.testing.assert_allclose(half.coef_, exact_probe(x[:120], y[:120], DECAY).coef_, atol=1e-4)
    assert set(exact_probe(x, masked, DECAY).classes_) == {0, 1, 2}
    with pytest.raises(ValueError, match="weight_decay=0 must be positive"):
        exact_probe(x, y, 0)


def test_sparse_and_dense_paths_agree() -> None:
    x, y = sparse_problem()
    labels = np.stack([y, np.where(np.arange(N) % 3 == 0, -1, y)], axis=1)
    for config in (full_batch(50), ProbeConfig(epochs=5, batch_size=32, lr=0.5)):
        dense, sparse = train(x, labels, config=config), train(sp.csr_array(x), labels, config=config)
        close(dense, sparse)
        np.testing.assert_array_equal(predict(dense, x), predict(dense, sp.csr_array(x)))


def test_probes_trained_together_equal_each_alone() -> None:
    x, y = problem()
    rng = np.random.default_rng(1)
    labels = np.stack([y, rng.integers(0, C, N), np.where(rng.random(N) < 0.5, y, -1), (y + 1) % C], axis=1)
    decays = [0.0, 0.1, 0.01, 1e-3]
    for config in (full_batch(60), ProbeConfig(epochs=5, batch_size=32, lr=0.5)):
        together = train(x, labels, decays, config)
        for p in range(4):
            close(together.select(np.array([p])), train(x, labels[:, p], decays[p : p + 1], config))


def test_masked_rows_count_for_nothing() -> None:
    # The masked half repeats the other, so that centre, scale and step size are those of the half alone.
    x, y = problem()
    doubled = np.concatenate([x, x])
    labels = np.concatenate([y, np.full(N, -1)])
    config = ProbeConfig(epochs=400, batch_size=2 * N, lr=0.7)
    close(train(doubled, labels, config=config), train(x, y, config=full_batch(400)))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_masks_of_one_probe_do_not_reach_another(form) -> None:
    x, y = sparse_problem()
    masked = np.where(np.arange(N) < 60, y, -1)
    together = train(form(x), np.stack([y, masked], axis=1), config=full_batch(60))
    close(together.select(np.array([0])), train(form(x), y, config=full_batch(60)))


def test_masked_minibatches_are_unbiased() -> None:
    # A third of the labels, small batches: the optimum is the exact one of the labelled rows.
    x, y = problem()
    tripled, labels = np.concatenate([x, x, x]), np.concatenate([y, np.full(2 * N, -1)])
    probes = train(tripled, labels, 0.05, ProbeConfig(epochs=60, batch_size=72, lr=0.1))
    best = exact_probe(x, y, 0.05)
    reached = objective(probes.weight.numpy(), probes.bias.numpy()[0], x, y, 0.05)
    assert reached == pytest.approx(objective(best.coef_.T, best.intercept_, x, y, 0.05), abs=3e-3)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_scale_of_the_features_does_not_matter(form) -> None:
    x, y = sparse_problem()
    config = ProbeConfig(epochs=5, batch_size=32, lr=0.5)
    small, large = train(form(x), y, config=config), train(form(1024 * x), y, config=config)
    torch.testing.assert_close(1024 * large.weight, small.weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(large.bias, small.bias, rtol=1e-3, atol=1e-3)


def test_the_origin_of_the_features_does_not_matter() -> None:
    x, y = problem()
    here, there = train(x, y, config=full_batch(50)), train(x + 50, y, config=full_batch(50))
    torch.testing.assert_close(here.weight, there.weight, rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(predict(here, x), predict(there, x + 50))


def test_the_bias_is_not_decayed() -> None:
    # So much decay leaves the class frequencies only.
    x, _ = problem()
    y = np.repeat([0, 1, 2], [N // 2, N // 3, N // 6])
    probes = train(x, y, 30.0, ProbeConfig(epochs=400, batch_size=N, lr=0.5))
    logits = x @ probes.weight.numpy() + probes.bias.numpy()[0]
    np.testing.assert_allclose(np.exp(log_softmax(logits, axis=1)).mean(axis=0), [1 / 2, 1 / 3, 1 / 6], atol=0.01)
    assert np.ptp(logits, axis=0).max() < 0.05


def test_the_seed_decides_the_order() -> None:
    x, y = problem()
    config = ProbeConfig(epochs=2, batch_size=32, lr=0.5)
    assert torch.equal(train(x, y, config=config).weight, train(x, y, config=config).weight)
    assert not torch.equal(train(x, y, config=config).weight, train(x, y, config=config, seed=1).weight)


def test_inputs_are_not_modified() -> None:
    x, y = sparse_problem()
    csr, labels = sp.csr_array(x), np.where(np.arange(N) < 50, y, -1)[:, None]
    copies = x.copy(), csr.copy(), labels.copy()
    for form in (x, csr):
        predict(train(form, labels, config=full_batch(3)), form)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(csr.toarray(), copies[1].toarray())
    np.testing.assert_array_equal(labels, copies[2])


def test_constant_features_leave_the_bias() -> None:
    y = np.repeat([0, 1, 2], [200, 30, 10])
    probes = train(np.ones((N, D), dtype=np.float32), y, config=full_batch(20))
    assert torch.isfinite(probes.weight).all()
    assert (predict(probes, np.ones((1, D), dtype=np.float32)) == 0).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("directions", [[[1.0]], [[2.0, -1.0]], [[1.0, 2.0]], [[0.0, 1.0, 0.0]]])
def test_features_of_one_direction(form, directions: list[list[float]]) -> None:
    # (2, -1) is at right angles to the vector that the search for the step size starts from.
    y = np.arange(N) % C
    x = (y[:, None].astype(np.float32) @ np.array(directions, dtype=np.float32)).astype(np.float32)
    probes = train(form(x), y, 1e-4, full_batch(200))
    assert torch.isfinite(probes.weight).all()
    assert (predict(probes, form(x))[:, 0] == y).mean() > 0.9


def test_disagreeing_lengths_are_refused() -> None:
    x, y = problem()
    with pytest.raises(ValueError, match="disagree"):
        train(x, y[:-1])
    with pytest.raises(ValueError, match="disagree"):
        train(x, y, [0.1, 0.2])


def test_small_data_gets_more_epochs() -> None:
    x, y = problem()
    many = ProbeConfig(epochs=8, batch_size=N, lr=0.5)
    assert torch.equal(
        train(x, y, config=ProbeConfig(epochs=1, batch_size=N, lr=0.5, min_steps=8)).weight,
        train(x, y, config=many).weight,
    )
    assert torch.equal(
        train(x, y, config=ProbeConfig(epochs=8, batch_size=N, lr=0.5, min_steps=3)).weight,
        train(x, y, config=many).weight,
    )


def test_few_labels_among_many_reach_the_optimum_of_their_subset() -> None:
    # Of a minibatch of 256 only a dozen rows count: a step for 256 is far too large for them.
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((10, 200))
    y, held = rng.integers(0, 10, 6000), rng.integers(0, 10, 2000)
    x = (0.25 * centers[y] + rng.standard_normal((6000, 200))).astype(np.float32)
    x_held = (0.25 * centers[held] + rng.standard_normal((2000, 200))).astype(np.float32)
    few = np.where(np.arange(6000) < 300, y, -1)
    probes = train_probes(x, few[:, None], 10, np.array([1e-4]), ProbeConfig(), 0)
    exact = exact_probe(x, few, 1e-4)
    assert abs((predict(probes, x_held)[:, 0] == held).mean() - exact.score(x_held, held)) < 0.02


def test_a_probe_without_labels_is_refused() -> None:
    x, y = problem()
    with pytest.raises(ValueError, match="probe 1"):
        train_probes(x, np.stack([y, np.full(N, -1)], axis=1), C, np.zeros(2), ProbeConfig(), 0)


def test_white_features_with_many_dimensions_reach_the_optimum() -> None:
    # A flat spectrum has a tiny largest eigenvalue: a step that only looks at it is far too large.
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((10, 200))
    y = rng.integers(0, 10, 3000)
    x = (0.25 * centers[y] + rng.standard_normal((3000, 200))).astype(np.float32)
    held = rng.integers(0, 10, 2000)
    x_held = (0.25 * centers[held] + rng.standard_normal((2000, 200))).astype(np.float32)
    ours = train_probes(x, y[:, None], 10, np.array([1e-3]), ProbeConfig(min_steps=400), 0)
    exact = exact_probe(x, y, 1e-3)
    difference = (predict(ours, x_held)[:, 0] == held).mean() - exact.score(x_held, held)
    assert abs(difference) < 0.02


@given(seed=st.integers(0, 99), chunk=st.integers(1, 12))
def test_predict_is_the_largest_logit(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((10, 4)).astype(np.float32) * (rng.random((10, 4)) < 0.6)
    probes = Probes(torch.from_numpy(rng.standard_normal((4, 2 * 3)).astype(np.float32)), torch.randn(2, 3))
    wanted = np.stack(
        [(x @ probes.weight[:, 3 * p : 3 * p + 3].numpy() + probes.bias[p].numpy()).argmax(axis=1) for p in range(2)],
        axis=1,
    )
    for form in (x, sp.csr_array(x)):
        np.testing.assert_array_equal(predict(probes, form, chunk), wanted)


def test_select_takes_probes_in_order() -> None:
    probes = Probes(torch.arange(24.0).view(2, 12), torch.arange(12.0).view(4, 3))
    assert probes.shape == (2, 4, 3)
    chosen = probes.select(np.array([3, 0]))
    assert chosen.weight.tolist() == [[9, 10, 11, 0, 1, 2], [21, 22, 23, 12, 13, 14]]
    assert chosen.bias.tolist() == [[9, 10, 11], [0, 1, 2]]


def test_fewer_probes_fit_at_once_where_they_are_larger() -> None:
    assert probes_at_once(10**9, 1000, 256) == 1
    assert probes_at_once(64, 10, 256) > probes_at_once(1024, 10, 256) > probes_at_once(1024, 100, 256) > 1


def test_sparse_inputs_of_more_columns_than_rows_have_the_dense_eigenvalue() -> None:
    x = sp.random_array((50, 80), density=0.1, rng=np.random.default_rng(0), dtype=np.float32).tocsr()
    sparse, dense = (largest_eigenvalue(inputs_of(given), 80) for given in (x, x.toarray()))
    assert sparse == pytest.approx(dense, rel=1e-4)
