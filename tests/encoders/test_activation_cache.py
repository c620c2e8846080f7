"""Activations on disk: the numbers of the layer, no padding, on from any kill."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import through_kills
from torch import Tensor, nn

from monosemy.data.streams import open_stream
from monosemy.encoders.activation_cache import cache_activations, tokens_of
from monosemy.errors import InputError

D, T = 4, 5


class Language(nn.Module):
    """Two blocks like those of a language model; the second must not be reached for the first."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(9, D)
        self.blocks = nn.ModuleList([nn.Linear(D, D), nn.Linear(D, D)])
        self.drop = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        hidden = self.drop(self.blocks[0](self.drop(self.embed(input_ids))))
        self.calls += 1
        return (self.blocks[1](hidden),)


def batches(n: int = 6, seed: int = 0) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        lengths = torch.randint(1, T + 1, (3,), generator=rng)
        mask = (torch.arange(T) < lengths[:, None]).long()
        made.append({"input_ids": torch.randint(9, (3, T), generator=rng) * mask, "attention_mask": mask})
    return made


def stored(folder: Path) -> Tensor:
    return open_stream(folder).open().read(10_000)


def expected(tokens: str) -> Tensor:
    model, rows = Language().eval(), []
    for batch in batches():
        hidden = model.blocks[0](model.embed(batch["input_ids"])).detach()
        for sample, mask in zip(hidden, batch["attention_mask"], strict=True):
            own = sample[mask.bool()]
            rows.append({"all": own, "last": own[-1:], "mean": own.mean(dim=0, keepdim=True)}[tokens])
    return torch.cat(rows)


@pytest.mark.parametrize("tokens", ["all", "last", "mean"])
def test_the_rows_of_a_language_model(tokens: Any, tmp_path: Path) -> None:
    model = Language().train()
    model.blocks[1].eval()
    n = cache_activations(model, "blocks.0", batches(), tmp_path, tokens=tokens, shard_rows=7)
    torch.testing.assert_close(stored(tmp_path), expected(tokens))
    assert n == len(expected(tokens))
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert model.calls == 0
    assert model.training
    assert not model.blocks[1].training
    assert not model.blocks[0]._forward_hooks


def test_padding_may_stand_on_the_left() -> None:
    output = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    torch.testing.assert_close(tokens_of(output, mask, "last"), torch.tensor([[4.0, 5.0], [8.0, 9.0]]))
    torch.testing.assert_close(tokens_of(output, mask, "mean"), torch.tensor([[3.0, 4.0], [7.0, 8.0]]))
    assert tokens_of(output, mask, "all").tolist() == [[2, 3], [4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize(("tokens", "n"), [("all", 2 * 9), ("mean", 2), ("last", 2)])
def test_images(tokens: Any, n: int, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 2), nn.Flatten(), nn.Linear(45, 6))
    images = torch.rand(2, 3, 4, 4)
    assert cache_activations(model, "0", [images], tmp_path / "maps", tokens=tokens) == n
    maps = model[0](images).detach().flatten(2).transpose(1, 2)
    wanted = {"all": maps.reshape(-1, 5), "mean": maps.mean(dim=1), "last": maps[:, -1]}[tokens]
    torch.testing.assert_close(stored(tmp_path / "maps"), wanted)
    cache_activations(model, "2", [(images,)], tmp_path / "flat", tokens=tokens)
    torch.testing.assert_close(stored(tmp_path / "flat"), model(images).detach())


class Killed(Exception):
    pass


def cut_at(limit: int, seed: int = 0) -> Any:
    for number, batch in enumerate(batches(seed=seed)):
        if number == limit:
            raise Killed
        yield batch


@pytest.mark.parametrize("limit", range(6))
def test_it_goes_on_after_the_last_whole_shard(limit: int, tmp_path: Path) -> None:
    cache_activations(Language(), "blocks.0", batches(), tmp_path / "whole", shard_rows=12)
    with pytest.raises(Killed):
        cache_activations(Language(), "blocks.0", cut_at(limit), tmp_path / "cut", shard_rows=12)
    with pytest.raises(InputError, match=r"are not finished; run what makes them again|give '.*\*.safetensors'"):
        open_stream(tmp_path / "cut")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("*.safetensors")}
    cache_activations(Language(), "blocks.0", batches(), tmp_path / "cut", shard_rows=12)
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "cut").iterdir())
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    for name, when in kept.items():
        assert (tmp_path / "cut" / name).stat().st_mtime_ns == when
    assert len(kept) > 0 or limit < 3


def test_a_finished_folder_is_left_alone(tmp_path: Path) -> None:
    n = cache_activations(Language(), "blocks.0", batches(), tmp_path)
    assert cache_activations(Language(), "blocks.0", iter(()), tmp_path) == n


def test_half_precision(tmp_path: Path) -> None:
    cache_activations(Language(), "blocks.0", batches(), tmp_path, precision="bfloat16")
    torch.testing.assert_close(stored(tmp_path), expected("all").bfloat16().float())
    assert json.loads((tmp_path / "activations.json").read_text())["finished"] is True


def large(model: Language, value: float) -> Language:
    with torch.no_grad():
        model.blocks[0].bias.fill_(value)
    return model


def test_what_cannot_be_cached(tmp_path: Path) -> None:
    def cache(model: nn.Module, layer: str, given: Any, **more: Any) -> None:
        cache_activations(model, layer, given, tmp_path / "new", **more)

    model = Language()
    for call, message in [
        (lambda: cache(model, "block.0", batches()), "layer='block.0' does not exist; the closest match is 'blocks.0'"),
        (lambda: cache(model, "blocks.0", batches(), tokens="first"), "tokens='first' is unknown"),
        (lambda: cache(model, "blocks.0", batches(), precision="int8"), "precision='int8' is unknown"),
        (lambda: cache(model, "blocks.0", batches(), shard_rows=0), "shard_rows=0 is not positive"),
        (lambda: cache(large(Language(), torch.nan), "blocks.0", batches()), "infinity in its output of batch 1"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match="too large for float16; choose bfloat16 or float32"):
        cache_activations(large(model, 1e6), "blocks.0", batches(), tmp_path / "half", precision="float16")
    with pytest.raises(InputError, match="batches has no rows"):
        cache_activations(Language(), "blocks.0", [], tmp_path / "none")
    unused = nn.Sequential(nn.Linear(2, 2))
    unused.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(InputError, match="is not reached by the model's forward pass"):
        cache_activations(unused, "0", [torch.ones(1, 2)], tmp_path / "unused")
    with pytest.raises(InputError, match=r"has output of shape \(4,\)"):
        cache_activations(nn.Sequential(nn.Flatten(0)), "0", [torch.ones(2, 2)], tmp_path / "vector")


def test_a_folder_holds_one_thing(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        cache_activations(Language(), "blocks.0", cut_at(5), tmp_path / "a", shard_rows=7)
    for layer, model, given, message in [
        ("blocks.1", Language(), batches(), "contains activations with layer = 'blocks.0', not blocks.1"),
        ("blocks.0", Language(1), batches(), "contains activations with another model"),
        ("blocks.0", Language(), batches(seed=1), "was made from other batches"),
        ("blocks.0", Language(), batches(1), "batches ended after 1, but .* was made from more"),
    ]:
        with pytest.raises(InputError, match=message):
            cache_activations(model, layer, given, tmp_path / "a", shard_rows=7)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and does not contain activations"):
        cache_activations(Language(), "blocks.0", batches(), tmp_path / "other")
    shard = tmp_path / "a" / "activations-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(InputError, match="is not a complete shard"):
        cache_activations(Language(), "blocks.0", batches(), tmp_path / "a", shard_rows=7)


SCRIPT = """
import sys, time
from pathlib import Path
from test_activation_cache import *
def slowly():
    print("ready", flush=True)
    for batch in batches(400):
        time.sleep(0.005)
        yield batch
cache_activations(Language(), "blocks.0", slowly(), Path(sys.argv[1]), shard_rows=30)
"""


@pytest.mark.slow
def test_kill_minus_nine_again_and_again(tmp_path: Path) -> None:
    through_kills(SCRIPT, (tmp_path / "killed",), (0.3, 1.5), 4, [Path(__file__).parent])
    cache_activations(Language(), "blocks.0", batches(400), tmp_path / "whole", shard_rows=30)
    assert torch.equal(stored(tmp_path / "killed"), stored(tmp_path / "whole"))


def test_a_real_language_model(shared_data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(shared_data / "stories260k")
    ids = torch.randint(3, 500, (2, 7), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    cache_activations(model, "model.layers.2", [batch], tmp_path)
    with torch.inference_mode():
        hidden = model.eval()(**batch, output_hidden_states=True).hidden_states[3]
    torch.testing.assert_close(stored(tmp_path), hidden.reshape(14, -1))
    with pytest.raises(InputError, match=r"layer='layers.2' does not exist; the closest match is 'model.layers.2'"):
        cache_activations(model, "layers.2", [batch], tmp_path / "other")
