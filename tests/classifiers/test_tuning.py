"""Linear classifiers on noisy labels: the optimum of an exact solver, early stopping, and chosen hyper-parameters."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.optimize import minimize

from monosemy.classifiers import losses as equations
from monosemy.classifiers.engine import Fitted, ProbeConfig, Probes, Validation, fit_probes, predict, validation_scores
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


def fit(x: np.ndarray | sp.csr_array, y: np.ndarray, losses: tuple[Loss, ...], **more) -> Fitted:
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
    weighted = fit(x, noisy, (Loss(), Loss("gce", 0.5)), sample_weight=weight).probes
    twice = np.concatenate([np.arange(N), np.arange(60)])
    for number, loss in enumerate((Loss(), Loss("gce", 0.5))):
        compute = objective(loss, x[twice], noisy[twice])
        best = minimize(compute, np.zeros((D + 1) * C), jac=True, method="L-BFGS-B")
        # The optimum on the repeated rows, predicted on them: centre and scale of the features differ slightly.
        expected = (x[twice] - x[twice].mean(axis=0)) @ best.x.reshape(D + 1, C)[:-1]
        found = x[twice] @ weighted.weight.view(D, 2, C)[:, number].numpy()
        correlation = np.corrcoef((found - found.mean(axis=0)).ravel(), (expected - expected.mean(axis=0)).ravel())
        assert correlation[0, 1] > 0.999


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
    return fit_tuned(recipes, problem, decays)


def test_the_likelihood_finds_the_noise_rate() -> None:
    rates = (0.05, 0.2, 0.4, 0.6)
    for rate in (0.2, 0.4):
        (found,) = tuned(rate, [Recipe("forward", "forward", rates)])
        assert found.parameter.tolist() == [rate, rate]
        assert found.fitted.probes.shape == (D, 2, C)


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
    assert together[0].parameter.tolist() == list(rates)
    for jobs in ([0, 2], [1, 3]):
        alone = fit_tuned(recipes, replace(problem, labels=labels[:, jobs], validation_labels=validation[:, jobs]))
        for one, all_of_them in zip(alone, together, strict=True):
            assert one.weight_decay.tolist() == all_of_them.weight_decay[jobs].tolist()
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
