"""A step of DecPO against a step of DPO: random Llama models, forward, backward and optimiser, in turns.

python benchmarks/decpo_step.py
"""

import statistics
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from record import write_record
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from monosemy.lm import DecPOConfig, DecPOTrainer

SIZES = {
    "width 256, 6 layers, 688 neurons": ((256, 6, 688), ((2, 128), (8, 128))),
    "width 512, 8 layers, 1376 neurons": ((512, 8, 1376), ((2, 128),)),
}
"""Width, layers, neurons of a model; pairs and tokens of a sequence of its batches."""
ROUNDS = 5
ASKED = {"up_proj": 1.10, "down_proj": 1.03}


def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(997))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def trainer(size: tuple[int, int, int], folder: str, layer: str | None) -> Any:
    """DPO for no layer, else DecPO on that projection of the middle layer, both with a full reference model."""
    width, layers, neurons = size
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=width, intermediate_size=neurons, num_hidden_layers=layers,
        num_attention_heads=width // 64, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "output_dir": folder, "bf16": False, "use_cpu": True, "report_to": [], "gradient_checkpointing": False,
    }  # fmt: skip
    args = DPOConfig(**settings)
    if layer is not None:
        args = DecPOConfig(**settings, decpo_weight=1e-4, decpo_layers=[f"model.layers.{layers // 2}.mlp.{layer}"])
    rows = Dataset.from_list([{"prompt": "w1 w2", "chosen": " w3", "rejected": " w4"}] * 4)
    make = DPOTrainer if layer is None else DecPOTrainer
    model, reference = LlamaForCausalLM(config), LlamaForCausalLM(config)
    made = make(model, reference, args=args, train_dataset=rows, processing_class=tokenizer())
    made.create_optimizer()
    return made


def batch(pairs: int, length: int) -> dict[str, torch.Tensor]:
    """Sequences of full length; the last quarter is the answer."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 1000, (2 * pairs, length), generator=rng)
    answer = torch.zeros_like(ids)
    answer[:, -length // 4 :] = 1
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": answer}


def step(made: Any, inputs: dict[str, torch.Tensor]) -> None:
    made.model.train()
    made.compute_loss(made.model, inputs).backward()
    made.optimizer.step()
    made.optimizer.zero_grad()


def ratios(size: tuple[int, int, int], pairs: int, length: int) -> dict[str, tuple[float, float, float]]:
    """Median and quartiles over rounds of each projection's time over DPO's in the same round; DPO's own seconds."""
    inputs = batch(pairs, length)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: trainer(size, folder, layer) for name, layer in
                (("DPO", None), ("up_proj", "up_proj"), ("down_proj", "down_proj"))}  # fmt: skip
        for made in runs.values():
            step(made, inputs)
        for number in range(ROUNDS):
            names = list(runs) if number % 2 == 0 else list(runs)[::-1]
            for name in names:
                started = time.process_time()
                step(runs[name], inputs)
                seconds.setdefault(name, []).append(time.process_time() - started)
    found = {"DPO": (statistics.median(seconds["DPO"]), 0.0, 0.0)}
    for name in ASKED:
        each = [own / dpo for own, dpo in zip(seconds[name], seconds["DPO"], strict=True)]
        low, middle, high = statistics.quantiles(each, n=4)
        found[name] = (middle, low, high)
    return found


def main() -> None:
    torch.set_num_threads(1)
    lines = ["| model | pairs x tokens | DPO, s | up_proj | down_proj |", "|---|---|---|---|---|"]
    worst = dict.fromkeys(ASKED, 0.0)
    for title, (size, batches) in SIZES.items():
        for pairs, length in batches:
            found = ratios(size, pairs, length)
            cells = []
            for name in ASKED:
                middle, low, high = found[name]
                worst[name] = max(worst[name], middle)
                cells.append(f"**{middle:.3f}** ({low:.3f} to {high:.3f})")
            lines.append(f"| {title} | {pairs} x {length} | {found['DPO'][0]:.2f} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    asked = "; ".join(f"{name} at most {limit:.2f}, worst {worst[name]:.3f}" for name, limit in ASKED.items())
    body = "\n".join(
        [
            "Random Llama models, full finetuning with a reference model, float32, one thread; forward, backward and "
            "AdamW. DPO, DecPO on `up_proj` and DecPO on `down_proj` of the middle layer take steps in turns on the "
            f"same batch; a cell is the median over {ROUNDS} rounds (and the quartiles) of the processor time over "
            "that of DPO's step in the same round. The term is taken over all tokens of both answers.",
            "",
            *lines,
            "",
            f"Asked for: {asked}.",
        ]
    )
    write_record(
        "decpo_step", "A step of DecPO against DPO's", "python benchmarks/decpo_step.py", body,
        ("transformers", "trl"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
