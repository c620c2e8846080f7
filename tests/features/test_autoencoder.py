"""The autoencoder as a module: initialisation, training, files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monosemy import InputError
from monosemy.features.autoencoder import FORMAT, TopKAutoencoder, initialise, train
from monosemy.functional import explained_variance, to_dense

N, D, M, K = 300, 6, 24, 3


def data(scale: float = 5.0) -> torch.Tensor:
    """Sparse combinations of hidden directions, far from the origin."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(10, D, generator=rng), dim=1)
    codes = torch.rand(N, 10, generator=rng) * (torch.rand(N, 10, generator=rng) < 0.2)
    return scale * (codes @ directions) + 2 * scale


def fresh(z: torch.Tensor, seed: int = 0) -> tuple[TopKAutoencoder, torch.Generator]:
    model, rng = TopKAutoencoder(D, M, K), torch.Generator().manual_seed(seed)
    initialise(model, z, rng)
    return model, rng


def trained(z: torch.Tensor, n_epochs: int = 20, **changes) -> tuple[TopKAutoencoder, list[float]]:
    model, rng = fresh(z)
    options = {"batch_size": 32, "lr": 1e-2, "aux_weight": 1 / 32, "dead_after": 200}
    return model, train(model, z, n_epochs=n_epochs, rng=rng, **(options | changes))


def test_initialisation() -> None:
    z = data()
    model, _ = fresh(z)
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    torch.testing.assert_close(model.encoder, model.decoder)
    torch.testing.assert_close(model.decoder_bias * model.scale, z.mean(dim=0))
    assert float(((z - z.mean(dim=0)) / model.scale).pow(2).mean()) == pytest.approx(1)
    assert model.encoder_bias.abs().sum() == 0


def test_initialisation_on_constant_data_is_finite() -> None:
    model, _ = fresh(torch.full((5, D), 3.0))
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_training_learns_and_keeps_decoder_rows_at_length_one() -> None:
    z = data()
    before, _ = fresh(z)
    model, losses = trained(z, aux_weight=0)
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    assert losses[-1] < 0.5 * losses[0]
    assert explained_variance(model.decode(model.encode(z)), z) > 0.9
    assert explained_variance(model.decode(model.encode(z)), z) > explained_variance(before.decode(before.encode(z)), z)


def test_training_is_repeatable_and_depends_on_the_seed() -> None:
    z = data()
    first, second = trained(z, 2)[0], trained(z, 2)[0]
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.encoder, fresh(z, seed=1)[0].encoder)


def test_training_leaves_the_data_as_it_is() -> None:
    z = data()
    before = z.clone()
    trained(z, 1)
    assert torch.equal(z, before)


def test_the_scale_of_the_data_does_not_matter() -> None:
    z = data(1.0)
    small, large = trained(z, 3)[0], trained(64 * z, 3)[0]
    torch.testing.assert_close(small.encoder, large.encoder)
    torch.testing.assert_close(large.scale, 64 * small.scale)
    torch.testing.assert_close(to_dense(small.encode(z)), to_dense(large.encode(64 * z)))
    torch.testing.assert_close(64 * small.decode(small.encode(z)), large.decode(large.encode(64 * z)))


def test_aux_k_revives_dead_latents() -> None:
    # Latents whose activations start much smaller than the others' are never among the K largest.
    def alive(aux_weight: float) -> int:
        z = data()
        model, rng = fresh(z)
        model.encoder[: M // 2] *= 0.01
        options = {"n_epochs": 20, "batch_size": 32, "lr": 1e-2, "dead_after": 64}
        train(model, z, aux_weight=aux_weight, rng=rng, **options)
        return int((to_dense(model.encode(z))[:, : M // 2] > 0).any(dim=0).sum())

    assert alive(1.0) >= alive(0.0) + M // 4


def test_an_explosion_is_said() -> None:
    z = data()
    z[0, 0] = torch.inf
    model = fresh(data())[0]
    with pytest.raises(InputError, match=r"loss became (nan|inf) in epoch 1; lower lr \(0\.01\)"):
        train(model, z, n_epochs=1, batch_size=N, lr=1e-2, aux_weight=0, dead_after=10, rng=torch.Generator())


def test_epochs_are_told() -> None:
    told: list[tuple[int, int, float]] = []
    _, losses = trained(data(), 3, on_epoch=lambda *arguments: told.append(arguments))
    assert told == [(1, 3, losses[0]), (2, 3, losses[1]), (3, 3, losses[2])]


@pytest.mark.parametrize("k", [0, -1, M + 1])
def test_k_must_fit(k: int) -> None:
    with pytest.raises(InputError, match=rf"k={k} is outside \[1, n_latents={M}\]"):
        TopKAutoencoder(D, M, k)


def test_files_keep_everything(tmp_path: Path) -> None:
    z = data()
    model, _ = trained(z, 2)
    model.save(tmp_path / "sub" / "sae.safetensors")
    loaded = TopKAutoencoder.load(tmp_path / "sub" / "sae.safetensors")
    assert loaded.k == K
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert torch.equal(loaded.decode(loaded.encode(z)), model.decode(model.encode(z)))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["sae.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "foreign", "other-format", "no-json"])
def test_files_that_are_none_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "sae.safetensors"
    model, _ = fresh(data())
    model.save(path)
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "truncated", "text"):
        path.write_bytes({"empty": b"", "truncated": path.read_bytes()[:-9], "text": b"weights"}[damage])
    else:
        about = {
            "foreign": None,
            "other-format": {"monosemy": json.dumps({"format": "x"})},
            "no-json": {"monosemy": "{"},
        }
        save_file(model.state_dict(), path, metadata=about[damage])
    with pytest.raises(InputError) as caught:
        TopKAutoencoder.load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
    if damage in ("foreign", "other-format"):
        assert FORMAT in str(caught.value)


def test_loading_does_not_share_memory_with_numpy(tmp_path: Path) -> None:
    model, _ = fresh(data())
    model.save(tmp_path / "a.safetensors")
    first, second = (TopKAutoencoder.load(tmp_path / "a.safetensors") for _ in range(2))
    first.encoder.zero_()
    assert np.abs(second.encoder.numpy()).sum() > 0
