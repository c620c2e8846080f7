"""Linear classifiers on noisy labels: the optimum of an exact solver, early stopping, and chosen hyper-parameters."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, strategies as st
from scipy.optimize import minimize

from monosemy.classifiers import losses as equations, tuning
from monosemy.classifiers.engine import (
    Fitted,
    Prepared,
    ProbeConfig,
    Probes,
    Validation,
    fit_probes,
    predict,
    prepared,
    validation_scores,
)
from monosemy.classifiers.losses import Loss, symmetric_transition
from monosemy.classifiers.tuning import GREATEST_DECAY, LEAST_DECAY, Problem, Recipe, fit_tuned
from monosemy.corruptions.labels import symmetric_noise

N, D, C = 240, 6, 3
DECAY = 0.02
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(C, D)) * 2
MATRIX = np.array([[0.8, 0.2, 0.0], [0.0, 0.7, 0.3], [0.1, 0.1, 0.8]])
LOSSES = (
    Loss(), Loss("label-smoothing", 0.1), Loss("gce", 0.7), Loss("gce", 0.2), Loss("sce"), Loss("forward", 0.3),
    Loss("forward", transition=MATRIX),
)  # fmt: skip


def rows(n: int, seed: int, rate: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, true labels and noisy labels of C clusters."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    x = (CENTRES[y] + rng.normal(size=(n, D)) + 3).astype(np.float32)
    return x, y, symmetric_noise(y, rate, C, rng)


def value_of(loss: Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss as it is defined, for autograd."""
    if loss.transition is not None:
        return lambda z, y: equations.forward_correction(z, y, torch.from_numpy(loss.transition))
    return {
        "ce": equations.cross_entropy,
        "label-smoothing": lambda z, y: equations.label_smoothing(z, y, loss.parameter),
        "gce": lambda z, y: equations.generalized_cross_entropy(z, y, loss.parameter),
        "sce": equations.symmetric_cross_entropy,
        "forward": lambda z, y: equations.forward_correction(z, y, symmetric_transition(loss.parameter, C).double()),
    }[loss.name]


def objective(loss: Loss, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Mean loss + decay / 2 |W|^2 on scaled features, with its gradient, of parameters (D + 1, C)."""
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    scaled = torch.from_numpy(centred / np.sqrt(np.square(centred).sum(axis=1).mean()))
    labels, value = torch.from_numpy(y), value_of(loss)

    def compute(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat.reshape(D + 1, C).copy()).requires_grad_()
        logits = scaled @ parameters[:-1] + parameters[-1]
        total = value(logits, labels).mean() + DECAY / 2 * parameters[:-1].square().sum()
        (gradient,) = torch.autograd.grad(total, parameters)
        return float(total.detach()), gradient.numpy().ravel()

    return compute


def scaled_parameters(probes: Probes, number: int, x: np.ndarray) -> np.ndarray:
    """The weights and bias of a probe on centred and scaled features."""
    mean = x.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(x - mean).sum(axis=1).mean())
    weight = probes.weight.view(D, -1, C)[:, number].double().numpy()
    return np.vstack([weight * scale, probes.bias[number].double().numpy() + mean @ weight]).ravel()


def fit(x: np.ndarray | sp.csr_array | Prepared, y: np.ndarray, losses: tuple[Loss, ...], **more) -> Fitted:
    """Probes with the losses, by full batches."""
    config = more.pop("config", ProbeConfig(epochs=600, batch_size=N))
    return fit_probes(x, np.tile(y[:, None], len(losses)), C, np.full(len(losses), DECAY), config, 0, losses, **more)


def test_every_loss_ends_at_the_optimum_of_an_exact_solver() -> None:
    x, _, noisy = rows(N, 1)
    probes = fit(x, noisy, LOSSES).probes
    for number, loss in enumerate(LOSSES):
        compute = objective(loss, x, noisy)
        starts = [np.zeros((D + 1) * C), *RNG.normal(size=(4, (D + 1) * C))]
        best = min(minimize(compute, start, jac=True, method="L-BFGS-B").fun for start in starts)
        # The losses that are not convex may end in another minimum; here they do not.
        assert compute(scaled_parameters(probes, number, x))[0] == pytest.approx(best, abs=2e-4), loss


def test_losses_side_by_side_are_those_of_each_alone() -> None:
    x, _, noisy = rows(N, 2)
    config = ProbeConfig(epochs=20, batch_size=40)
    losses = (*LOSSES, Loss("elr", 3.0))
    together = fit(x, noisy, losses, config=config).probes
    sparse = fit(sp.csr_array(x), noisy, losses, config=config).probes
    for number, loss in enumerate(losses):
        alone = fit(x, noisy, (loss,), config=config).probes
        # Products of other shapes round in another order.
        assert torch.allclose(alone.weight, together.select(np.array([number])).weight, atol=1e-4), loss
        assert torch.allclose(alone.weight, sparse.select(np.array([number])).weight, atol=1e-4), loss


def test_many_classes_have_the_same_gradients_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, noisy = rows(N, 3)
    config, losses = ProbeConfig(epochs=10, batch_size=40), (*LOSSES, Loss("elr", 3.0))
    few = fit(x, noisy, losses, config=config).probes
    monkeypatch.setattr("monosemy.classifiers.engine._FEW_CLASSES", 0)
    many = fit(x, noisy, losses, config=config).probes
    assert torch.allclose(few.weight, many.weight, atol=1e-4)


def test_a_sample_of_weight_two_counts_twice() -> None:
    x, _, noisy = rows(N, 4)
    weight = np.where(np.arange(N) < 60, 2.0, 1.0)
    weighted = fit(prepared(x, "cpu", weight), noisy, (Loss(), Loss("gce", 0.5))).probes
    twice = np.concatenate([np.arange(N), np.arange(60)])
    for number, loss in enumerate((Loss(), Loss("gce", 0.5))):
        compute = objective(loss, x[twice], noisy[twice])
        best = minimize(compute, np.zeros((D + 1) * C), jac=True, method="L-BFGS-B")
        assert compute(scaled_parameters(weighted, number, x[twice]))[0] == pytest.approx(best.fun, abs=2e-4), loss


def test_validation_keeps_the_best_step() -> None:
    x, _, noisy = rows(60, 5, 0.6)
    held_out, clean, _ = rows(200, 6)
    losses = (Loss(), Loss("forward", 0.5))
    labels = np.tile(clean[:, None], 2)
    config = ProbeConfig(epochs=60, batch_size=10)
    stopped = fit_probes(x, np.tile(noisy[:, None], 2), C, np.zeros(2), config, 0, losses, Validation(held_out, labels))
    last = fit_probes(x, np.tile(noisy[:, None], 2), C, np.zeros(2), config, 0, losses)
    assert np.isnan(last.accuracy).all()
    np.testing.assert_allclose((predict(stopped.probes, held_out) == labels).mean(axis=0), stopped.accuracy)
    accuracy, likelihood = validation_scores(last.probes, losses, held_out, labels)
    assert stopped.accuracy[0] >= accuracy[0]
    assert stopped.log_likelihood[1] >= likelihood[1]


def test_likelihood_is_that_of_the_model_of_the_noise() -> None:
    x, y, noisy = rows(50, 7)
    losses = (Loss(), Loss("forward", 0.3), Loss("forward", transition=MATRIX))
    probes = fit(x, noisy, losses, config=ProbeConfig(epochs=5, batch_size=25)).probes
    given = np.tile(y[:, None], 3)
    given[:10] = -1
    _, found = validation_scores(probes, losses, x, given)
    logits = (torch.from_numpy(x) @ probes.weight).view(-1, 3, C) + probes.bias
    for number, loss in enumerate(losses):
        expected = -value_of(loss)(logits[10:, number].double(), torch.from_numpy(y[10:])).mean()
        assert found[number] == pytest.approx(float(expected), abs=1e-5)


def tuned(rate: float, recipes: list[Recipe], decays: tuple[float, ...] = (1e-5, 1e-3)) -> list:
    """Recipes fitted on two draws of label noise."""
    x, y, _ = rows(600, 8)
    v, w, _ = rows(400, 9)
    rng = np.random.default_rng(10)
    labels, validation = (np.stack([symmetric_noise(part, rate, C, rng) for _ in range(2)], axis=1) for part in (y, w))
    problem = Problem(x, labels, v, validation, C, ProbeConfig(epochs=20, batch_size=60), 0)
    return fit_tuned(recipes, replace(problem, weight_decays=decays))


def test_the_likelihood_finds_the_noise_rate() -> None:
    # The grids hold no true rate; the last ends below it.
    grid = (0.03, 0.15, 0.45, 0.8)
    for rate, rates in ((0.1, grid), (0.3, grid), (0.5, grid), (0.35, (0.1, 0.2))):
        (found,) = tuned(rate, [Recipe("forward", "forward", rates)])
        assert found.parameter == pytest.approx([rate, rate], abs=0.051)
        assert found.fitted.probes.shape == (D, 2, C)


@given(st.floats(0.02, 0.95), st.lists(st.floats(0.01, 0.97), min_size=3, max_size=5, unique=True))
def test_a_noise_rate_between_others_is_more_likely_than_they(rate: float, rates: list[float]) -> None:
    def likelihood(guess: float) -> float:
        return rate * math.log(guess) + (1 - rate) * math.log1p(-guess)

    tried = {guess: likelihood(guess) for guess in rates}
    between = tuning._between_rates(tried)
    for top in between:
        assert min(abs(top - guess) for guess in rates) > tuning.RATE_ERROR
        assert min(rates) < top < max(rates)
    beyond = tuning._beyond_rates(tried)
    assert not (beyond and between), "the best of them is an end, or is not"
    for end in beyond:
        assert (end > max(rates)) == (max(tried, key=tried.__getitem__) == max(rates))


def test_a_grid_widens_until_its_best_is_inside_or_at_a_limit() -> None:
    (found,) = tuned(0.2, [Recipe("ce")], (1.0, 3.0))  # far too strong: the true optimum lies below
    assert (found.weight_decay < 1.0).all()
    assert (found.weight_decay >= LEAST_DECAY).all()
    assert (found.weight_decay <= GREATEST_DECAY).all()
    (kept,) = tuned(0.2, [Recipe("ce")], (1e-3,))
    assert kept.weight_decay.tolist() == [1e-3, 1e-3], "one value is no grid"


def test_every_recipe_is_fitted_for_every_job() -> None:
    transitions = np.stack([MATRIX, np.eye(C)])
    recipes = [Recipe("ce"), Recipe("estimated", "forward", transitions=transitions), Recipe("gce", "gce", (0.3, 0.7))]
    found = tuned(0.3, recipes)
    assert [one.recipe.name for one in found] == ["ce", "estimated", "gce"]
    assert all(one.fitted.accuracy.shape == (2,) for one in found)
    assert set(found[2].parameter) <= {0.3, 0.7}


def test_groups_choose_for_themselves() -> None:
    x, y, _ = rows(600, 8)
    v, w, _ = rows(400, 9)
    rng = np.random.default_rng(10)
    rates = (0.05, 0.4, 0.05, 0.4)
    labels, validation = (np.stack([symmetric_noise(part, r, C, rng) for r in rates], axis=1) for part in (y, w))
    problem = Problem(x, labels, v, validation, C, ProbeConfig(epochs=20, batch_size=60), 0)
    recipes = [Recipe("forward", "forward", (0.05, 0.2, 0.4)), Recipe("ce")]
    together = fit_tuned(recipes, replace(problem, groups=np.array([0, 1, 0, 1])))
    assert together[0].parameter == pytest.approx(np.array(rates), abs=0.05)
    for jobs in ([0, 2], [1, 3]):
        alone = fit_tuned(recipes, replace(problem, labels=labels[:, jobs], validation_labels=validation[:, jobs]))
        for one, all_of_them in zip(alone, together, strict=True):
            assert one.weight_decay.tolist() == all_of_them.weight_decay[jobs].tolist()
            assert one.parameter == pytest.approx(all_of_them.parameter[jobs], abs=1e-3)
            # Products of other shapes round in another order.
            np.testing.assert_allclose(
                one.fitted.probes.weight, all_of_them.fitted.probes.select(np.array(jobs)).weight, atol=1e-3
            )


def test_a_descent_from_its_own_end_stays_there() -> None:
    x, _, noisy = rows(N, 1)
    config = ProbeConfig(epochs=600, batch_size=N)
    end = fit(x, noisy, LOSSES, config=config).probes
    again = fit(x, noisy, LOSSES, config=ProbeConfig(epochs=2, batch_size=N), start=end).probes
    assert torch.allclose(end.weight, again.weight, atol=2e-3)
    assert torch.allclose(end.bias, again.bias, atol=2e-3)


@pytest.mark.parametrize("longer", [None, -1.0, 2.0])
def test_every_job_keeps_the_probe_of_the_better_length(longer: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = rows(300, 8)
    v, w, _ = rows(200, 9)
    rng = np.random.default_rng(11)
    rates = (0.0, 0.6, 0.0, 0.6, 0.6)
    labels, validation = (np.stack([symmetric_noise(part, r, C, rng) for r in rates], axis=1) for part in (y, w))
    problem = Problem(
        x, labels, v, validation, C, ProbeConfig(epochs=8, batch_size=30), 0, n_screened=1, groups=np.array(rates) > 0
    )
    train_long, made = tuning._Tuning.train_long, []

    def train(self: tuning._Tuning, runs: list) -> Fitted:
        fitted = train_long(self, runs)
        made.append(len(runs))
        return fitted if longer is None else fitted._replace(accuracy=np.full(len(runs), longer))

    monkeypatch.setattr(tuning._Tuning, "train_long", train)
    for found in fit_tuned([Recipe("ce"), Recipe("gce", "gce", (0.3, 0.7))], problem):
        assert found.fitted.probes.shape == (D, 5, C)
        if longer != 2.0:
            hits = (predict(found.fitted.probes, v) == validation).mean(axis=0)
            np.testing.assert_allclose(found.fitted.accuracy, hits)
        else:
            assert (found.fitted.accuracy == 2.0).all()
    # Two recipes in two groups of which one job is screened; the other three jobs follow where it is the better one.
    assert made == {None: made, -1.0: [4], 2.0: [4, 6]}[longer]


def test_the_choice_is_about_as_good_as_the_best_of_fixed_ones() -> None:
    rng = np.random.default_rng(12)
    width, centres = 60, rng.normal(size=(C, 60)) * 0.35

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, C, n)
        return (centres[y] + rng.normal(size=(n, width))).astype(np.float32), y

    (x, y), (v, w), (t, true) = draw(200), draw(2000), draw(4000)
    labels, validation = (np.stack([symmetric_noise(part, 0.4, C, rng) for _ in range(2)], axis=1) for part in (y, w))
    problem = Problem(x, labels, v, validation, C, ProbeConfig(epochs=60, batch_size=50), 0)
    decays = (1e-6, 1e-3, 0.03, 1.0)
    (chosen,) = fit_tuned([Recipe("ce")], problem)
    fixed = [
        fit_probes(x, labels, C, np.full(2, decay), problem.config, 0).probes for decay in decays
    ]  # trained to the end, as without validation
    accuracy = (predict(chosen.fitted.probes, t) == true[:, None]).mean()
    of_fixed = [(predict(probes, t) == true[:, None]).mean() for probes in fixed]
    assert accuracy > max(of_fixed) - 0.02
    assert accuracy > min(of_fixed) + 0.05, "the problem tells weight decays apart"


def test_rows_without_labels_are_left_out_of_choice_and_score() -> None:
    x, y, _ = rows(600, 8)
    v, w, _ = rows(300, 9)
    few, seen = y.copy(), w.copy()
    few[60:], seen[50:] = -1, -1
    problem = Problem(x, few[:, None], v, seen[:, None], C, ProbeConfig(epochs=20, batch_size=60), 0)
    recipes = [Recipe("ce"), Recipe("gce", "gce", (0.3, 0.7)), Recipe("forward", "forward", (0.03, 0.15, 0.45))]
    for found in fit_tuned(recipes, problem):
        predicted = predict(found.fitted.probes, v)[:, 0]
        assert found.fitted.accuracy[0] == pytest.approx((predicted[:50] == w[:50]).mean())
        assert (predicted == w).mean() > 0.9


def test_prepared_features_give_the_same_probes_as_the_matrix() -> None:
    x, _, noisy = rows(N, 1)
    config, labels = ProbeConfig(epochs=5, batch_size=40), noisy[:, None]
    for features in (x, sp.csr_array(x)):
        direct = fit_probes(features, labels, C, np.array([DECAY]), config, 0)
        again = fit_probes(prepared(features), labels, C, np.array([DECAY]), config, 0)
        assert torch.equal(direct.probes.weight, again.probes.weight)
        assert prepared(features).shape == x.shape


def test_a_pace_is_a_factor_on_the_step_size() -> None:
    x, _, noisy = rows(N, 1)
    config, labels = ProbeConfig(epochs=5, batch_size=40), np.tile(noisy[:, None], 2)
    losses = (Loss(), Loss("gce", 0.5))
    faster = fit_probes(x, labels, C, np.full(2, DECAY), config, 0, losses, pace=np.array([1.0, 3.0])).probes
    for number, lr in enumerate((0.7, 2.1)):
        alone = fit_probes(x, labels, C, np.full(2, DECAY), replace(config, lr=lr), 0, losses).probes
        kept = np.array([number])
        assert torch.allclose(faster.select(kept).weight, alone.select(kept).weight, atol=1e-6)


def test_slow_losses_take_larger_steps_in_short_trainings_and_all_make_equally_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y, noisy = rows(200, 8)
    config = ProbeConfig(epochs=8, batch_size=50)
    problem = Problem(x, noisy[:, None], x, y[:, None], C, config, 0)
    seen: dict[tuple[str, int], float] = {}

    def fit_and_see(*arguments) -> Fitted:
        for loss, pace in zip(arguments[6], arguments[9], strict=True):
            seen[loss.name, arguments[4].epochs] = float(pace)
        return fit_probes(*arguments)

    monkeypatch.setattr(tuning, "fit_probes", fit_and_see)
    monkeypatch.setattr(tuning, "probes_at_once", lambda *_: 2)  # several parts
    fit_tuned([Recipe("ce"), Recipe("gce", "gce", (0.3, 0.7)), Recipe("forward", "forward", (0.1, 0.4))], problem)
    short = {("ce", 2): 1.0, ("gce", 2): 3.0, ("forward", 2): 1.5}
    # Two of the eight epochs were made by cross-entropy; the steps of the other six are as much larger.
    assert seen == short | {("ce", 8): 1.0, ("gce", 6): pytest.approx(4 / 3), ("forward", 6): pytest.approx(4 / 3)}
