"""Training of the autoencoder: both ways to the gradient, the decoder's length, dead latents, repeatability."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from monosemy.errors import InputError
from monosemy.functional import products
from monosemy.functional.autoencoder import Terms, explained_variance, pre_activations
from monosemy.functional.codes import to_dense
from monosemy.functional.monoscore import batch_mono_score
from monosemy.sae.activations import ACTIVATIONS
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.module import Autoencoder, initialise
from monosemy.sae.training import (
    Schedule,
    Trainer,
    TrainingConfig,
    dense_step,
    is_sparse,
    sparse_step,
    train,
    train_to_convergence,
)

N, D, M, K = 300, 6, 24, 3
KINDS = sorted(ACTIVATIONS)
SELECTING = ["batchtopk", "topk"]


def data(scale: float = 5.0) -> torch.Tensor:
    """Sparse combinations of hidden directions, far from the origin."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(10, D, generator=rng), dim=1)
    codes = torch.rand(N, 10, generator=rng) * (torch.rand(N, 10, generator=rng) < 0.2)
    return scale * (codes @ directions) + 2 * scale


def fresh(z: torch.Tensor, kind: str = "topk", seed: int = 0, **more) -> tuple[Autoencoder, torch.Generator]:
    model = Autoencoder(D, M, ACTIVATIONS[kind](M, K), **more)
    rng = torch.Generator().manual_seed(seed)
    initialise(model, z, rng)
    return model, rng


def fitted(z: torch.Tensor, kind: str = "topk", n_epochs: int = 20, **changes) -> tuple[Autoencoder, list[float]]:
    model, rng = fresh(z, kind, widths=changes.pop("widths", None))
    config = TrainingConfig(**({"batch_size": 32, "lr": 1e-2, "dead_after": 200} | changes))
    return model, train(model, z, config, rng, n_epochs=n_epochs)


@pytest.mark.parametrize("kind", SELECTING)
@pytest.mark.parametrize("widths", [(M,), (4, 10, M)])
@pytest.mark.parametrize("mono_weight", [0.0, 0.5])
def test_dense_and_sparse_steps_agree(kind: str, widths: tuple[int, ...], mono_weight: float) -> None:
    z = data()
    model = fitted(z, kind, 2, widths=widths)[0].double()
    x = model.scaled(z[:64])
    dead = torch.arange(M) % 3 == 0
    terms = Terms(widths, 3, 0.4, 10, mono_weight)
    dense, sparse = dense_step(model, x, dead, terms), sparse_step(model, x, dead, terms)
    assert sparse.loss == pytest.approx(dense.loss, rel=1e-12)
    for name, a, b in zip(dict(model.named_parameters()), sparse.gradients, dense.gradients, strict=True):
        assert a is not None
        assert b is not None
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(to_dense(sparse.codes), to_dense(dense.codes))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_sparse_path_is_taken_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    def pays(kind: str, k: int) -> bool:
        return is_sparse(Autoencoder(D, 100, ACTIVATIONS[kind](100, k)))

    assert pays("topk", 10)
    assert pays("batchtopk", 10)
    assert not pays("topk", 11)
    assert not pays("relu", 1)
    monkeypatch.setenv("MONOSEMY_SPARSE", "0")
    assert not pays("topk", 1)
    monkeypatch.setenv("MONOSEMY_SPARSE", "off")
    with pytest.raises(InputError, match="MONOSEMY_SPARSE='off' is unknown; set it to 0 or 1"):
        pays("topk", 1)


@pytest.mark.parametrize("kind", SELECTING)
def test_training_is_the_same_on_both_paths(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[Autoencoder, list[float]]:
        model = Autoencoder(D, 40, ACTIVATIONS[kind](40, 2), (10, 40)).double()
        rng = torch.Generator().manual_seed(0)
        initialise(model, z, rng)
        return model, train(model, z, TrainingConfig(batch_size=32, dead_after=64, mono_weight=0.1), rng, n_epochs=3)

    z = data().double()
    sparse, losses = run()
    monkeypatch.setenv("MONOSEMY_SPARSE", "0")
    dense, wanted = run()
    assert losses == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(sparse.decoder, dense.decoder, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SELECTING)
def test_triton_trains_the_same(kind: str, triton_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh(data(), kind, widths=(10, M))[0].double().to(triton_device)
    x = model.scaled(data()[:9].to(triton_device))
    dead, terms = (torch.arange(M) % 3 == 0).to(triton_device), Terms((10, M), 2, 0.4, 0, 0.5)
    by_triton = sparse_step(model, x, dead, terms)
    monkeypatch.setattr(products, "TRITON_DEVICES", ())
    by_torch = sparse_step(model, x, dead, terms)
    assert by_triton.loss == pytest.approx(by_torch.loss, rel=1e-12)
    torch.testing.assert_close(by_triton.gradients, by_torch.gradients)


RECORDED = [0.6557386914889017, 0.6279564201831818, 0.6152415306617817]


def test_the_recorded_numbers_of_top_k() -> None:
    # What studies have recorded rests on these; written down before the activations became parts.
    z = torch.randn(400, 20, generator=torch.Generator().manual_seed(3)) ** 3 + 1
    model = Autoencoder(20, 96, ACTIVATIONS["topk"](96, 4))
    rng = torch.Generator().manual_seed(0)
    initialise(model, z, rng, "mean")
    losses = train(model, z, TrainingConfig(batch_size=64, lr=1e-3, dead_after=200), rng, n_epochs=3)
    assert losses == pytest.approx(RECORDED, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_and_keeps_decoder_rows_at_length_one(kind: str) -> None:
    z = data()
    before, _ = fresh(z, kind)
    model, losses = fitted(z, kind, 40, aux_weight=0.0)
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    assert losses[-1] < losses[0]
    ours = explained_variance(model(z), z)
    assert ours > 0.75
    if kind == "topk":
        assert ours > explained_variance(before(z), z)


@pytest.mark.parametrize("kind", ["batchtopk", "gated", "jumprelu", "relu"])
def test_k_latents_are_active_on_average(kind: str) -> None:
    z = data()
    model, _ = fitted(z, kind, 60)
    l0 = float((model.encode(z).values > 0).sum()) / N
    assert 0.6 * K < l0 < 1.5 * K


@pytest.mark.parametrize("kind", ["gated", "jumprelu", "relu"])
def test_a_larger_weight_of_the_penalty_makes_sparser_codes(kind: str) -> None:
    def l0(weight: float) -> float:
        z = data()
        model = Autoencoder(D, M, ACTIVATIONS[kind](M, K, sparsity_weight=weight))
        rng = torch.Generator().manual_seed(0)
        initialise(model, z, rng)
        train(model, z, TrainingConfig(batch_size=32, lr=1e-2), rng, n_epochs=10)
        assert float(model.activation.weight) == pytest.approx(weight)
        return float((model.encode(z).values > 0).sum()) / N

    assert l0(0.3) < 0.85 * l0(0.0)


def test_gradients_of_the_gated_loss_follow_its_definition() -> None:
    z = data().double()
    model = fitted(data(), "gated", 2)[0].double()
    x = model.scaled(z[:32])
    step = dense_step(model, x, torch.zeros(M, dtype=torch.bool), Terms((M,), 1, 0.0, 10, 0.0))
    w = [p.clone().requires_grad_() for p in model.parameters()]
    encoder, bias, decoder, center, log_scale, magnitude = w
    gate = (x - center) @ encoder.T + bias
    strength = ((x - center) @ (encoder * log_scale.exp()[:, None]).T + magnitude).relu()
    recon = ((gate > 0).double() * strength) @ decoder + center
    frozen = gate.relu() @ decoder.detach() + center.detach()
    l1 = float(model.activation.weight) * D**0.5 * gate.relu().sum()
    loss = ((recon - x).pow(2).sum() + (frozen - x).pow(2).sum() + l1) / x.pow(2).sum()
    assert step.loss == pytest.approx(loss.item(), rel=1e-6)
    for a, b in zip(step.gradients, torch.autograd.grad(loss, w), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("kind", ["relu", "jumprelu"])
def test_penalties_are_per_active_latent_and_activation(kind: str) -> None:
    z = data().double()
    model = fitted(data(), kind, 2)[0].double()
    x = model.scaled(z[:32])
    code = model.activation.training_code(pre_activations(model.weights, x), model.weights)
    amount = D**0.5 * code.sum() if kind == "relu" else D * (code > 0).sum()
    recon = code @ model.decoder + model.decoder_bias
    wanted = ((recon - x).pow(2).sum() + float(model.activation.weight) * amount) / x.pow(2).sum()
    step = dense_step(model, x, torch.zeros(M, dtype=torch.bool), Terms((M,), 1, 0.0, 10, 0.0))
    assert step.loss == pytest.approx(float(wanted), rel=1e-6)


def test_the_mono_term_raises_the_mono_score() -> None:
    z = data() - data().mean(dim=0)

    def score(weight: float) -> float:
        model, _ = fitted(z, "topk", 10, mono_weight=weight)
        return float(batch_mono_score(to_dense(model.encode(z)), z).nanmean())

    assert score(1.0) > score(0.0) + 0.02


def test_prefixes_reconstruct_better_with_matryoshka() -> None:
    z = data()

    def first_quarter(widths: tuple[int, ...]) -> float:
        model, _ = fitted(z, "topk", 20, widths=widths)
        prefix = to_dense(model.encode(z))[:, : M // 4] @ model.decoder[: M // 4] + model.decoder_bias
        return explained_variance(prefix * model.scale, z)

    assert first_quarter((M // 4, M)) > first_quarter((M,)) + 0.1


def test_training_is_repeatable_and_depends_on_the_seed() -> None:
    z = data()
    first, second = fitted(z, n_epochs=2)[0], fitted(z, n_epochs=2)[0]
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.encoder, fresh(z, seed=1)[0].encoder)


def test_training_leaves_the_data_as_it_is() -> None:
    z = data()
    before = z.clone()
    fitted(z, n_epochs=1)
    assert torch.equal(z, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_data_does_not_matter(kind: str) -> None:
    z = data(1.0)
    small, large = fitted(z, kind, 3)[0], fitted(64 * z, kind, 3)[0]
    torch.testing.assert_close(small.encoder, large.encoder)
    torch.testing.assert_close(large.scale, 64 * small.scale)
    torch.testing.assert_close(to_dense(small.encode(z)), to_dense(large.encode(64 * z)))
    torch.testing.assert_close(64 * small(z), large(64 * z))


def sleepers(dead: str, kind: str = "topk") -> int:
    """How many of the latents that start much smaller than the others, and never fire, fire after training."""
    z = data()
    model, rng = fresh(z, kind)
    initialise(model, z, rng.manual_seed(0), "mean")
    model.encoder[: M // 2] *= 0.01
    if kind == "gated":
        model.encoder_bias[: M // 2] = -1.0
    config = TrainingConfig(batch_size=32, lr=1e-2, dead_after=64, dead=dead, aux_weight=1.0)  # type: ignore[arg-type]
    train(model, z, config, rng, n_epochs=20)
    assert bool(model.decoder.isfinite().all())
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    return int((to_dense(model.encode(z))[:, : M // 2] > 0).any(dim=0).sum())


@pytest.mark.parametrize("dead", ["aux", "resample"])
def test_dead_latents_are_revived(dead: str) -> None:
    assert sleepers(dead) >= sleepers("none") + M // 4


def test_dead_latents_of_gates_are_resampled() -> None:
    assert sleepers("resample", "gated") >= sleepers("none", "gated") + M // 4


def test_resampling_stays_away_from_living_latents() -> None:
    z = data()
    model, rng = fresh(z)
    model.encoder_bias[:4] = -100.0
    trainer = Trainer(model, TrainingConfig(dead="resample", dead_after=1000), rng)
    trainer.step(model.scaled(z))
    before = model.decoder.clone()
    trainer.silent_for[:4], trainer.silent_for[4:] = 1000, 999
    trainer._resample(model.scaled(z))
    assert torch.equal(model.decoder[4:], before[4:])
    assert not bool((model.decoder[:4] == before[:4]).all(dim=1).any())
    centered = torch.nn.functional.normalize(model.scaled(z) - model.decoder_bias, dim=1)
    torch.testing.assert_close((centered @ model.decoder[:4].T).max(dim=0).values, torch.ones(4))
    length = model.encoder[4:].norm(dim=1).mean()
    torch.testing.assert_close(model.encoder[:4].norm(dim=1), length.expand(4))
    assert model.encoder_bias[:4].tolist() == [0.0] * 4
    assert trainer.silent_for[:4].tolist() == [0] * 4
    for parameter in (model.encoder, model.decoder, model.encoder_bias):
        moment = trainer.optimizer.state[parameter]["exp_avg"]
        assert float(moment[:4].abs().sum()) == 0
        assert float(moment[4:].abs().sum()) > 0


def test_aux_k_where_it_cannot_reach_is_refused() -> None:
    model, rng = fresh(data(), "relu")
    with pytest.raises(InputError, match="dead='aux' has no effect with the activation 'relu'"):
        Trainer(model, TrainingConfig(dead="aux"), rng)


def test_an_explosion_is_said_and_leaves_the_model_as_it_was() -> None:
    z = data()
    model, rng = fresh(z)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    z[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"loss became (nan|inf) at step 1; lower lr \(0\.01\)"):
        train(model, z, TrainingConfig(batch_size=N, lr=1e-2), rng, n_epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_constant_data_does_not_explode() -> None:
    with pytest.warns(UserWarning, match="All inputs are equal"):
        model, rng = fresh(torch.zeros(40, D))
    assert train(model, torch.zeros(40, D), TrainingConfig(batch_size=8), rng, n_epochs=1) == [0.0]


def test_epochs_are_told() -> None:
    told: list[tuple[int, int, float]] = []
    model, rng = fresh(data())
    config = TrainingConfig(batch_size=32)
    losses = train(model, data(), config, rng, n_epochs=3, on_epoch=lambda *arguments: told.append(arguments))
    assert told == [(1, 3, losses[0]), (2, 3, losses[1]), (3, 3, losses[2])]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_size": 0}, "batch_size=0 is not positive"),
        ({"lr": float("nan")}, "lr=nan is not positive"),
        ({"dead_after": -1}, "dead_after=-1 is not positive"),
        ({"aux_weight": -1.0}, r"aux_weight=-1\.0 is not a finite number >= 0"),
        ({"mono_weight": float("inf")}, "mono_weight=inf is not a finite number >= 0"),
        ({"dead": "zombie"}, "dead='zombie' is unknown; choose 'aux', 'resample', 'none' or None"),
    ],
)
def test_bad_settings_are_named(settings: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        TrainingConfig(**settings)


def test_a_trainer_survives_pickling() -> None:
    z = data()
    model, rng = fresh(z, "batchtopk")
    trainer = Trainer(model, TrainingConfig(batch_size=32), rng)
    trainer.epoch(model.scaled(z))
    twin = pickle.loads(pickle.dumps(trainer))
    assert twin.epoch(twin.model.scaled(z)) == trainer.epoch(model.scaled(z))
    assert torch.equal(twin.model.encoder, model.encoder)


def test_a_constant_in_one_column_costs_no_explained_variance() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(24, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    z = (rng.uniform(0.5, 1.5, (800, 24)) * (rng.random((800, 24)) < 0.1)) @ directions
    scores = []
    for offset in (0.0, 3000.0):
        shifted = z + offset * (np.arange(16) == 5)
        sae = SparseAutoencoder(48, 4, n_epochs=40, batch_size=100, random_state=0).fit(shifted.astype(np.float32))
        error = shifted - sae.inverse_transform(sae.transform(shifted.astype(np.float32)))
        scores.append(1 - np.square(error).sum() / np.square(z - z.mean(axis=0)).sum())
    assert scores[0] > 0.5
    assert scores[1] > scores[0] - 0.03, "the decoder's bias takes the constant up"


def test_the_learning_rate_rises_stays_and_falls() -> None:
    schedule = Schedule.of_length(60)
    assert [schedule.factor(t) for t in (0, 1, 2, 39, 40)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert [schedule.factor(t) for t in (41, 50, 59)] == pytest.approx([19 / 20, 1 / 2, 1 / 20])
    assert [schedule.falls(t) for t in (0, 39, 40, 59)] == [False, False, True, True]
    assert [Schedule.of_length(None).factor(t) for t in (0, 10**6)] == [1, 1]
    assert not Schedule.of_length(None).falls(10**6)


def converged(z: torch.Tensor, max_steps: int, kind: str = "topk"):
    model, rng = fresh(z, kind)
    told: list[tuple[int, int, float]] = []
    config = TrainingConfig(batch_size=32, dead_after=200)
    course = train_to_convergence(
        model, z, config, rng, max_steps=max_steps, on_epoch=lambda *arguments: told.append(arguments)
    )
    return model, course, told


def test_training_ends_once_held_out_rows_gain_no_more() -> None:
    model, course, told = converged(data(), 50_000)
    assert course.converged
    # Looks after 200, 300, 450, ... steps, and half as many steps again in which the learning rate falls.
    looks = [200]
    while len(looks) < len(course.losses) - 1:
        looks.append(looks[-1] * 3 // 2)
    assert course.n_steps == looks[-1] + looks[-1] // 2
    batches = 270 // 32  # a tenth of 300 rows is held out
    assert [done for done, _, _ in told] == [-(-steps // batches) for steps in (*looks, course.n_steps)]
    assert [loss for _, _, loss in told] == course.losses
    longer = fitted(data(), n_epochs=4 * course.n_steps // batches, lr=3e-3)[0]
    z = data()
    ours, more = (explained_variance(m.decode(m.encode(z)), z) for m in (model, longer))
    assert ours > more - 0.04, "four times as many steps explain hardly more"


def test_rows_that_cannot_be_learned_end_training_at_the_first_comparison() -> None:
    # Held-out noise has nothing in common with noise that was trained on.
    z = torch.randn(60, D, generator=torch.Generator().manual_seed(1)) * torch.arange(60)[:, None].remainder(2)
    _, course, _ = converged(torch.cat([z, z.new_zeros(60, D)]), 50_000)
    assert course.converged
    assert course.n_steps <= 3 * 1012 // 2


def test_training_that_runs_out_of_steps_says_so() -> None:
    _, course, _ = converged(data(), 30)
    assert (course.n_steps, course.converged) == (30, False)
    with pytest.warns(ConvergenceWarning, match="still improved on held-out rows after 30 steps; raise max_steps"):
        SparseAutoencoder(M, K, batch_size=32, max_steps=30, random_state=0).fit(data().numpy())
    with pytest.raises(InputError, match="max_steps=0 is not positive"):
        SparseAutoencoder(M, K, max_steps=0).fit(data().numpy())


def test_few_rows_are_judged_on_themselves() -> None:
    _, course, _ = converged(data()[:9], 3_000)
    assert course.n_steps <= 3_000


def test_a_penalty_that_is_steered_is_given_its_time() -> None:
    z = torch.randn(2_000, D, generator=torch.Generator().manual_seed(0)).abs() ** 3
    model, course, _ = converged(z, 20_000, "relu")
    assert course.converged
    l0 = float((model.encode(z).values > 0).sum()) / len(z)
    assert l0 == pytest.approx(K, rel=0.25), "steered to k active latents on average"
