"""Contrastive heads on frozen embeddings."""

import math
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.encoders import heads
from monosemy.encoders.config import HeadConfig
from monosemy.encoders.contrastive_heads import ContrastiveHead
from monosemy.errors import InputError, MonosemyWarning
from monosemy.functional.losses import nt_xent

TINY = {"n_features": 12, "min_steps": 4, "max_steps": 6, "batch_size": 16, "random_state": 0}


def head(**changes) -> ContrastiveHead:
    return ContrastiveHead(**({"n_features": 64, "batch_size": 64, "random_state": 0, "lr": 3e-3} | changes))


def clusters(n: int = 800, seed: int = 0, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Twenty noisy directions in thirty columns, one of which is constant but for rounding and one far away."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((20, 30))
    y = rng.integers(0, 20, n)
    z = centres[y] + noise * rng.standard_normal((n, 30))
    z[:, 3], z[:, 4] = 1e-30 * rng.standard_normal(n), z[:, 4] + 3000
    return z.astype(np.float32), y


@parametrize_with_checks(
    [
        ContrastiveHead(**TINY),
        ContrastiveHead(**TINY, k=2),
        ContrastiveHead(**TINY, non_negative=False, augmentation="neighbours"),
        ContrastiveHead(**TINY, supervised=True, augmentation="noise"),
    ]
)
@pytest.mark.filterwarnings("ignore::monosemy.errors.MonosemyWarning")
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


def consistency(codes: np.ndarray, y: np.ndarray) -> float:
    """Mean share of the commonest class among the rows that activate a feature."""
    counts = np.stack([np.bincount(y[column > 0], minlength=20) for column in codes.T])
    support = counts.sum(axis=1)
    return float((counts.max(axis=1)[support >= 10] / support[support >= 10]).mean())


def test_training_makes_features_of_single_clusters() -> None:
    X, _ = clusters()
    new, labels = clusters(seed=1)
    untrained, ncl, csr = (
        head(**changes).fit(X).transform(new) for changes in ({"min_steps": 0, "max_steps": 0}, {}, {"k": 4})
    )
    assert consistency(untrained, labels) < 0.2
    assert consistency(ncl, labels) > 0.28
    assert consistency(csr, labels) > 0.6
    assert (ncl >= 0).all()
    assert (csr > 0).sum(axis=1).max() <= 4


def test_the_control_is_the_same_head_without_the_map() -> None:
    X, _ = clusters(200)
    kwargs = {"min_steps": 0, "max_steps": 0}
    signed, positive = (head(non_negative=n, **kwargs).fit(X).transform(X) for n in (False, True))
    np.testing.assert_array_equal(positive, np.maximum(signed, 0))
    # Untrained features have mean 0 and variance 1 by the exact moments of the rows; float32 sums of 200 rows.
    np.testing.assert_allclose(signed.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(signed.std(axis=0), 1, rtol=4e-3)  # BatchNorm divides by the unbiased deviation + 1e-5


def test_features_by_hand() -> None:
    model = heads.Head(2, 3, True, 2).eval()
    with torch.no_grad():
        model.mean.copy_(torch.tensor([1.0, 2.0]))
        model.scale.copy_(torch.tensor([0.5, 0.0]))
        model.weight.copy_(torch.tensor([[1.0, 9.0], [2.0, 9.0], [-1.0, 9.0]]))
        model.norm.running_mean.copy_(torch.tensor([0.0, 1.0, -3.0]))
    z = torch.tensor([[5.0, 70.0], [-3.0, 0.0]])  # x is (2, 0) and (-2, 0); h is (2, 3, 1) and (-2, -5, 5)
    wanted = [[2.0, 3.0, 0.0], [0.0, 0.0, 5.0]]
    np.testing.assert_allclose(model(z).detach().numpy(), wanted, rtol=1e-4)  # BatchNorm adds 1e-5 to the variance


def test_views_have_the_cosine_that_their_strength_is_for() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3000, generator=rng)
    for cosine in (0.5, 0.7, 0.95):
        dropped = heads.drop_columns(x, heads.strength_of(cosine, "dropout"), rng)
        noisy = heads.add_noise(x, heads.strength_of(cosine, "noise"), rng)
        for view in (dropped, noisy):
            found = torch.nn.functional.cosine_similarity(view, x).mean()
            assert float(found) == pytest.approx(cosine, abs=5e-3)  # standard error about 1e-3 with 3,000 columns
        kept = dropped[dropped != 0] / x[dropped != 0]
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / cosine**2))


def test_neighbours_are_those_of_a_full_sort() -> None:
    x = torch.randn(700, 6, generator=torch.Generator().manual_seed(1))
    unit = torch.nn.functional.normalize(x)
    order = (unit @ unit.T).fill_diagonal_(-2).argsort(dim=1, descending=True)
    assert torch.equal(heads.nearest_rows(x, 3), order[:, :3])
    assert torch.equal(heads.nearest_rows(x, 3, torch.tensor([650, 2])), order[[650, 2], :3])
    assert heads.nearest_rows(x[:3], 10).shape == (3, 2)
    fifth = (unit @ unit.T).fill_diagonal_(-2).sort(dim=1, descending=True).values[:, 4].median()
    assert heads.neighbour_cosine(x, torch.Generator()) == pytest.approx(min(float(fifth), 0.95), abs=1e-6)
    assert heads.neighbour_cosine(torch.eye(50), torch.Generator()) == 0.5, "no neighbours at all"


@pytest.mark.parametrize("augmentation", ["dropout", "noise", "neighbours"])
def test_strength_is_that_of_the_settings_or_of_the_neighbours(augmentation: str) -> None:
    X, _ = clusters(300)
    few = {"augmentation": augmentation, "min_steps": 9, "max_steps": 9}
    by_neighbours, given, stronger = (head(strength=s, **few).fit(X) for s in (None, 0.2, 0.9))
    x = given.head_.standardised(torch.from_numpy(X))
    wanted = heads.strength_of(heads.neighbour_cosine(x, torch.Generator()), augmentation)
    assert by_neighbours.strength_ == pytest.approx(wanted)  # all 300 rows are asked, in whatever order
    assert head(**few).partial_fit(X).strength_ == pytest.approx(wanted)
    assert (given.strength_, stronger.strength_) == (0.2, 0.9)
    assert not np.allclose(given.transform(X), stronger.transform(X)), "the views are those of the strength"


def test_k_falls_geometrically() -> None:
    assert [heads.annealed_k(step, 4, 1024, 64) for step in (0, 1, 2, 3, 4, 900)] == [1024, 512, 256, 128, 64, 64]
    assert heads.annealed_k(0, 0, 1024, 64) in (1024, 64)
    assert heads.annealed_k(1, 0, 1024, 64) == 64


def test_the_loss_is_that_of_the_features() -> None:
    X, _ = clusters(64)
    model = heads.Head(30, 8)
    heads.initialise(model, torch.from_numpy(X), torch.Generator().manual_seed(0))
    model.eval()
    trainer = heads.Trainer(model, HeadConfig(), torch.Generator())
    x = model.standardised(torch.from_numpy(X))
    first, second = x[:32], x[32:]
    with torch.no_grad():
        wanted = nt_xent(model.features(first), model.features(second), 0.2)
        assert float(trainer.loss(first, second, None)) == pytest.approx(float(wanted), rel=1e-6)
        different = trainer.loss(first, second, torch.arange(32))  # supervised contrast with classes of one
        assert float(different) == pytest.approx(float(wanted), rel=1e-5)


def test_labels_that_are_trusted_help() -> None:
    X, _ = clusters()
    new, _ = clusters(seed=1)
    y, labels = ((rows[:, 7] > 0).astype(np.int64) for rows in (X, new))  # what views by dropout do not keep
    gaps = []
    for supervised in (False, True):
        features = head(supervised=supervised).fit(X, y).transform(new)
        cosines = cosine_similarity(features)
        same = labels[:, None] == labels
        gaps.append(cosines[same].mean() - cosines[~same].mean())
    assert gaps[1] > gaps[0] + 0.1
    with pytest.raises(InputError, match="supervised=True requires y"):
        head(supervised=True).fit(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        head(supervised=True).fit(X, y[:-1])


def test_names_of_classes_do_not_matter() -> None:
    X, y = clusters(200)
    numbers, names = (
        head(supervised=True, min_steps=6, max_steps=6).fit(X, labels).transform(X)
        for labels in (y, [f"class {label}" for label in y])
    )
    assert np.abs(numbers - names).max() < 1e-5


def test_training_ends_when_held_out_rows_gain_no_more() -> None:
    X, _ = clusters()
    seen = []
    short = head(min_steps=30, max_steps=3000, on_step=lambda *values: seen.append(values)).fit(X)
    assert short.converged_
    assert 30 <= short.n_steps_ < 3000
    assert seen[0][0] == 30
    assert [steps for steps, _, _ in seen][:3] == [30, 38, 48]
    assert len(seen) == len(short.losses_) - 1
    falls = -np.diff(short.losses_[:-1])  # the last loss is that after the fall of lr
    assert (falls[:-1] > 0.04).all()
    assert falls[-1] <= 0.04
    cut = head(min_steps=9, max_steps=9).fit(X)
    assert not cut.converged_
    assert cut.n_steps_ == 9


def test_held_out_rows_are_paired_with_their_eighth_neighbour() -> None:
    X, y = clusters(300)
    model = heads.Head(30, 8)
    heads.initialise(model, torch.from_numpy(X), torch.Generator().manual_seed(0))
    model.eval()
    x, held, config = model.standardised(torch.from_numpy(X)), torch.arange(100, 164), HeadConfig(strength=0.3)
    trainer = heads.Trainer(model, config, torch.Generator())
    unit = torch.nn.functional.normalize(x)
    eighth = (unit @ unit.T).fill_diagonal_(-2).argsort(dim=1, descending=True)[100:164, 7]
    with torch.no_grad():
        wanted = nt_xent(model.features(x[100:164]), model.features(x[eighth]), config.temperature)
    found = heads.HeldOut(x, held, config, torch.Generator(), None).loss(trainer)
    assert found == pytest.approx(float(wanted), rel=1e-5)
    supervised = heads.HeldOut(x, held, config, torch.Generator(), torch.from_numpy(y)).loss(trainer)
    assert np.log(2) < supervised < np.log(127) + 2


def test_same_seed_same_features_and_other_seed_others() -> None:
    X, _ = clusters(300)
    first, again, other = (head(max_steps=30, min_steps=30, random_state=s).fit(X).transform(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_rows_in_parts_have_the_same_features() -> None:
    X, _ = clusters(300)
    model = head(k=5, max_steps=9, min_steps=9).fit(X)
    whole = model.transform(X)
    parts = np.concatenate([model.transform(X[:7]), model.transform(X[7:])])
    np.testing.assert_allclose(whole, parts, atol=1e-5)  # products of matrices of other sizes are rounded otherwise
    sparse = clone(model).set_params(output="sparse").fit(X).transform(X)
    assert isinstance(sparse, sp.csr_array)
    np.testing.assert_array_equal(sparse.toarray(), whole)


def test_a_stream_trains_as_far_as_all_rows_at_once() -> None:
    X, _ = clusters(1200)
    new, labels = clusters(seed=1)
    model = head(k=4, min_steps=100)
    for _ in range(12):
        for rows in np.split(X, 3):
            model.partial_fit(rows)
    assert len(model.losses_) == 36
    assert model.n_steps_ == 36 * (400 // 64)
    assert model.losses_[-1] < model.losses_[0] - 0.5
    assert consistency(model.transform(new), labels) > 0.6
    before = model.n_steps_
    assert model.partial_fit(X[:64]).n_steps_ == before + 1


def test_a_stream_goes_on_after_a_copy() -> None:
    X, _ = clusters(300)
    model = head().partial_fit(X)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(model.partial_fit(X).transform(X), copy.partial_fit(X).transform(X), atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"k": 4}, {"non_negative": False}])
def test_files(changes: dict, tmp_path: Path) -> None:
    X, _ = clusters(200)
    model = head(max_steps=9, min_steps=9, **changes).fit(X)
    model.save(tmp_path / "head.safetensors")
    loaded = ContrastiveHead.load(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    assert {name: getattr(loaded, name) for name in ("n_features", "non_negative", "k")} == {
        name: getattr(model, name) for name in ("n_features", "non_negative", "k")
    }


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match=r"head\.safetensors"):
        ContrastiveHead.load(path)
    model = heads.Head(3, 4, True, 2)
    model.k = 9
    model.save(path)
    with pytest.raises(InputError, match=r"does not describe a contrastive head .its k=9 is outside 1 to 4"):
        ContrastiveHead.load(path)


def test_collapse_is_said() -> None:
    X, _ = clusters(300)
    model = head().fit(X)
    assert model.n_active_ > 48
    with torch.no_grad():
        model.head_.norm.bias[:60] = -1e3
        with pytest.warns(MonosemyWarning, match="has collapsed: 4 of 64 features are in use"):
            assert heads.check_collapse(model.head_, torch.from_numpy(X)) == 4
    with pytest.warns(MonosemyWarning, match="All embeddings are equal"):
        head().fit(np.ones((20, 4), np.float32))


def test_columns_without_variance_do_not_count() -> None:
    X, _ = clusters(300)
    model = head(max_steps=9, min_steps=9).fit(X)
    assert model.head_.scale[3] == 0, "rounding errors must not be blown up to variance 1"
    assert float(model.head_.scale[4]) == pytest.approx(1 / X[:, 4].astype(np.float64).std(), rel=1e-3)
    changed = X.copy()
    changed[:, 3] = 5
    np.testing.assert_array_equal(model.transform(changed), model.transform(X))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strength": 1.0}, "strength=1 drops every column; choose a probability below 1"),
        ({"strength": 0.0}, "strength is 0.0, but"),
        ({"batch_size": 1}, "batch_size is 1, but"),
        ({"k": 65}, "k=65 exceeds n_features=64; choose k <= 64"),
        ({"k": 3, "non_negative": False}, "k=3 selects among non-negative features; set non_negative=True"),
        ({"min_steps": 10, "max_steps": 5}, "min_steps=10 exceeds max_steps=5"),
        ({"augmentation": "dropuot"}, "augmentation is 'dropuot'"),
        ({"output": "csr"}, "output='csr' is unknown"),
        ({"output": "sparse", "non_negative": False}, "output='sparse' needs features with zeros"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"lr": 1e38}, "loss became"),
    ],
)
def test_settings_that_cannot_be(changes: dict, message: str) -> None:
    X, _ = clusters(100)
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        head(**changes).fit(X)


def test_rows_that_cannot_be() -> None:
    X, _ = clusters(100)
    with pytest.raises(InputError, match="X has 1 sample of 30 features; training starts from at least 2"):
        head().fit(X[:1])
    with pytest.raises(InputError, match="X is a sparse matrix"):
        head().fit(sp.csr_array(X))
    X[7, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinity in 1 of 100 rows, the first of them row 7"):
        head().fit(X)
    with pytest.raises(InputError, match=r"Inputs of shape \(2, 5\) do not fit the head; give \(N, 30\)"):
        heads.Head(30, 4)(torch.zeros(2, 5))


def test_batches_are_whole_and_cover_the_rows() -> None:
    X, _ = clusters(100)
    model = heads.Head(30, 8)
    heads.initialise(model, torch.from_numpy(X), torch.Generator().manual_seed(0))
    config = HeadConfig(n_features=8, k=2, batch_size=40, strength=0.3)
    views = heads.Views(model.standardised(torch.from_numpy(X)), config, torch.Generator().manual_seed(0))
    seen: list[int] = []
    pairs = views.pairs
    views.pairs = lambda rows: seen.extend(rows.tolist()) or pairs(rows)  # type: ignore[method-assign]
    list(islice(heads.Trainer(model, config, torch.Generator().manual_seed(0)).steps(views, None), 2))
    assert len(seen) == len(set(seen)) == 80
