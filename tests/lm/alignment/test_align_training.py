"""Training from preferences: objectives, adapters, checkpoints, models to begin with."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_aligned import made_loaded, made_rows
from torch import Tensor

from monosemy.errors import InputError
from monosemy.lm import dpo_training
from monosemy.lm.config import AlignmentConfig, MeasureConfig, Objective, WarmUp
from monosemy.lm.dpo_evaluation import measure_alignment, pair_likelihoods, sample_texts
from monosemy.lm.dpo_training import align, resized, warm_up
from monosemy.lm.evaluation import measure_perplexity
from monosemy.lm.models import LoadedModel

QUICK = AlignmentConfig(batch_size=8, lr=1e-2, alpha=16)


def weights(loaded: LoadedModel) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def trained(config: AlignmentConfig = QUICK, objective: Objective | None = None, n: int = 24, **more) -> LoadedModel:
    loaded = made_loaded()
    reference = made_loaded() if config.method == "full" else None
    return align(loaded, reference, made_rows(n), config, objective or Objective(), **more)


def test_training_repeats_and_weight_0_is_dpo() -> None:
    first = weights(trained(seed=3))
    assert same(first, weights(trained(seed=3)))
    assert same(first, weights(trained(objective=Objective(regularizer="decorrelation", weight=0), seed=3)))
    assert not same(first, weights(trained(objective=Objective(regularizer="decorrelation", weight=0.1), seed=3)))
    assert not same(first, weights(trained(seed=4)))


@pytest.mark.parametrize("loss", ["ipo", "exo_pair", "robust"])
def test_other_losses_train(loss: str) -> None:
    assert not same(weights(trained(objective=Objective(loss=loss))), weights(trained()))


@pytest.mark.parametrize("method", ["lora", "monolora"])
def test_an_adapter_is_measured_against_itself_switched_off(method: str) -> None:
    config = QUICK.model_copy(update={"method": method, "target_modules": ("q_proj", "up_proj"), "epochs": 4})
    rows = made_rows(24)
    start = made_loaded()
    before = pair_likelihoods(start, rows)
    original = weights(start)
    loaded = align(start, None, rows, config, Objective(regularizer="decorrelation", weight=1e-3), seed=1)
    found = measure_alignment(
        loaded, None, before, rows, ["w1 w2 w3"], beta=0.1, config=MeasureConfig(answers=4, max_new_tokens=4)
    )
    assert found.values["margin"] > 0.01
    assert found.values["kl"] > 0
    with loaded.model.disable_adapter():
        base = LoadedModel("base", loaded.model, loaded.tokenizer)
        assert pair_likelihoods(base, rows).chosen == pytest.approx(before.chosen, rel=1e-6)
    left = {name: weight for name, weight in loaded.model.get_base_model().named_parameters() if "lora" not in name}
    assert all(torch.equal(weight, original[name.replace(".base_layer", "")]) for name, weight in left.items())


def test_what_is_measured_of_an_untrained_model() -> None:
    loaded, rows = made_loaded("gpt2"), made_rows(12)
    before = pair_likelihoods(loaded, rows)
    found = measure_alignment(
        loaded, made_loaded("gpt2"), before, rows, ["w1 w2 w3 w4"], beta=0.1, layers=["0", "-1"],
        config=MeasureConfig(answers=5, max_new_tokens=4), seed=2,
    )  # fmt: skip
    values = found.values
    assert values["margin"] == values["chosen_reward"] == 0
    assert values["accuracy"] == 0.5
    assert values["kl"] == pytest.approx(0, abs=1e-6)
    assert values["perplexity"] == measure_perplexity(loaded, ["w1 w2 w3 w4"]).perplexity
    assert len(found.answers) == len(found.prompts) == 5
    assert len(found.layers) == 3
    ends = (found.layers[0]["feature_decorrelation"] + found.layers[2]["feature_decorrelation"]) / 2
    assert values["feature_decorrelation"] == pytest.approx(ends, rel=1e-5)
    assert values["regulariser"] > 0


def test_the_regulariser_is_what_training_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured on one batch of pairs, it is what DecPO's trainer logs before its first step on them."""
    from monosemy.lm.decpo import DecPOTrainer, regularized_layers
    from monosemy.lm.dpo_evaluation import mean_regulariser

    rows, loaded, logged = made_rows(8), made_loaded(), []
    monkeypatch.setattr(
        DecPOTrainer, "_log_metric", lambda self, mode, name, value: logged.append((name, float(value)))
    )
    wanted = mean_regulariser(loaded, rows, regularized_layers(loaded.model, ["1"]), batch_size=8)
    config = QUICK.model_copy(update={"layers": ("1",)})
    align(loaded, made_loaded(), rows, config, Objective(regularizer="decorrelation", weight=0.1))
    assert dict(reversed(logged))["decorrelation"] == pytest.approx(wanted, rel=1e-4)


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpo_training, "_CHECKPOINT_EVERY", 2)
    objective = Objective(regularizer="decorrelation", weight=1e-3)
    whole = weights(trained(objective=objective, n=48))

    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(objective=objective, n=48, checkpoints=tmp_path / "kept", on_step=stop)
    assert (tmp_path / "kept" / "checkpoint-4").is_dir()
    (tmp_path / "kept" / "checkpoint-5").mkdir()  # one that was killed while it was written
    steps: list[int] = []
    again = trained(
        objective=objective, n=48, checkpoints=tmp_path / "kept", on_step=lambda done, total: steps.append(done)
    )
    assert steps == [5, 6]
    assert same(weights(again), whole)
    assert not (tmp_path / "kept").exists()


def test_warm_up_learns_the_pairs() -> None:
    rows = made_rows(40)
    texts = [row["prompt"] + row["chosen"] for row in rows]
    loaded = resized(made_loaded(), 24, seed=1)
    before = measure_perplexity(loaded, texts).perplexity
    warm = warm_up(loaded, rows, WarmUp(epochs=4, lr=1e-2, batch_size=8))
    assert measure_perplexity(warm, texts).perplexity < 0.9 * before


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_another_width(kind: str) -> None:
    loaded = made_loaded(kind)
    before = copy.deepcopy(loaded.model.config.to_dict())
    wide = resized(loaded, 32)
    config = wide.model.config
    assert (config.hidden_size, config.num_attention_heads) == (32, 4)
    assert len(pair_likelihoods(wide, made_rows(2)).chosen) == 2
    if kind == "llama":
        assert (config.num_key_value_heads, config.intermediate_size) == (2, 48)
    assert loaded.model.config.to_dict() == before
    assert same(weights(wide), weights(resized(loaded, 32)))
    with pytest.raises(InputError, match="not a multiple of 8"):
        resized(loaded, 20)


def test_own_texts_repeat() -> None:
    loaded = made_loaded()
    texts = sample_texts(loaded, 4, 8, seed=1)
    assert texts == sample_texts(loaded, 4, 8, seed=1) != sample_texts(loaded, 4, 8, seed=2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: align(made_loaded(), made_loaded(), [], QUICK, Objective()), "no pairs"),
        (lambda: align(made_loaded(), None, made_rows(4), QUICK, Objective()), "reference"),
        (lambda: trained(QUICK.model_copy(update={"lr": 1e30})), "not finite"),
        (lambda: trained(QUICK.model_copy(update={"method": "lora", "target_modules": ("nothing",)})), "nothing"),
        (lambda: Objective(regularizer="dropout", weight=1), "below 1"),
        (lambda: AlignmentConfig(batch_size=10, accumulation=3), "not divisible by accumulation=3"),
    ],
)
def test_bad_input(call: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()
